"""Images from the web: servers that fail in every way cost one image each, and are asked politely."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli import Ictc, load, start_ictc
from support.hostile_http import HostileServer, draw_bytes, hostile_server

from ictc.dataset.decoding.pool import DecodePool
from ictc.dataset.fetching import http
from ictc.dataset.fetching.addresses import is_public
from ictc.dataset.fetching.bodies import Body, NoImageError
from ictc.dataset.fetching.files import FetchOptions, ImageFile, LocalFiles, open_image_files
from ictc.dataset.fetching.http import HttpLimits, parse_retry_after
from ictc.dataset.fetching.locations import hide_secrets
from ictc.dataset.fetching.places import ImagePlaces
from ictc.dataset.reader import Dedupe, ImageReader
from ictc.records import ImageRecord, Source, UnreadableImage
from ictc.report.images import build_finder
from ictc.stages import rounds

LIMITS = HttpLimits(concurrency=16, per_host=16, deadline_s=30.0, allow_private=True)


@pytest.fixture(scope="module")
def module_server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def server(module_server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> HostileServer:
    """The server with fresh books, and a client that doesn't take its time."""
    module_server.forget()
    monkeypatch.setattr(http, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(rounds, "PAUSES_S", (0.01, 0.02))
    monkeypatch.setattr(http, "MAX_BYTES", 2**22)
    return module_server


def fetch(cache: Path, *urls: str, limits: HttpLimits = LIMITS) -> list[bytes | str]:
    """Return what each URL gives: its content, or the reason why it gives none."""

    async def fetch_all() -> list[bytes | str]:
        places = ImagePlaces("", are_remote=True, on_web=True)
        async with AsyncExitStack() as stack:
            files = await stack.enter_async_context(open_image_files(places, FetchOptions(cache, 2**30, limits)))

            async def read(url: str) -> bytes | str:
                async with files.open(ImageRecord(url, path=url)) as file:
                    return file.path.read_bytes() if isinstance(file, ImageFile) else file.reason

            return await asyncio.gather(*map(read, urls))

    return asyncio.run(fetch_all())


@pytest.mark.parametrize(
    ("path", "expected", "num_requests"),
    [
        ("good/5", draw_bytes(5), 1),
        ("to_good", draw_bytes(7), 1),
        ("healing", draw_bytes(3), 3),
        ("endless", "HTTP: larger than 4 MB", 1),
        ("huge", "HTTP: larger than 4 MB", 1),
        ("short", "HTTP: the connection broke off", 4),
        ("unended", "HTTP: the connection broke off", 4),
        ("loop", "HTTP: more than 5 redirects", 5),
        ("to_file", "HTTP: redirected to what is not a valid address", 1),
        ("page", "HTTP: the server sent text/html, no image", 1),
        ("empty", "HTTP: the server sent nothing", 1),
        ("ill", "HTTP: 503 Service Unavailable", 4),
        ("nowhere", "HTTP: 404 Not Found", 1),
        ("status/203", draw_bytes(6), 1),
        ("status/206", "HTTP: 206 Partial Content", 1),
        ("status/403", "HTTP: 403 Forbidden", 1),
        ("status/404", "HTTP: 404 Not Found", 1),
        ("status/410", "HTTP: 410 Gone", 1),
        ("status/501", "HTTP: 501 Not Implemented", 1),
    ],
)
def test_what_a_server_does(
    server: HostileServer, tmp_path: Path, path: str, expected: bytes | str, num_requests: int
) -> None:
    assert fetch(tmp_path, f"{server.url}/{path}") == [expected]
    assert server.requests[f"/{path}"] == num_requests
    assert not list((tmp_path / "drafts").iterdir())


CONTENT_TYPES = """
image/png image/jpg img/png application/jpg application/x-www-form-urlencoded application/force-download text/plain
text/html application/json application/octetstream application/pdf video/mp4 nonsense
"""


@pytest.mark.parametrize("kind", CONTENT_TYPES.split())
def test_an_image_under_any_name_is_an_image(server: HostileServer, tmp_path: Path, kind: str) -> None:
    found = fetch(tmp_path, f"{server.url}/named?type={kind}", f"{server.url}/named?type=")
    assert found == [draw_bytes(4), draw_bytes(4)]


@pytest.mark.parametrize("size", [0, 100_000])
def test_a_page_is_no_image_whatever_it_is_called(server: HostileServer, tmp_path: Path, size: int) -> None:
    kinds = ("image/jpeg", "application/octet-stream", "text/html", "text/plain", "application/json")
    found = fetch(tmp_path, *(f"{server.url}/false_page?size={size}&type={kind}" for kind in kinds))
    page, other = "HTTP: the server sent a page, no image", "HTTP: the server sent {}, no image"
    assert found == [page, page, *(other.format(kind) for kind in kinds[2:])]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("encoding=gzip", draw_bytes(4)),
        ("encoding=x-gzip", draw_bytes(4)),
        ("encoding=GZIP", draw_bytes(4)),
        ("encoding=deflate&how=zlib", draw_bytes(4)),
        ("encoding=deflate&how=raw", draw_bytes(4)),
        ("encoding=gzip&how=not", draw_bytes(4)),
        ("encoding=deflate&how=not", draw_bytes(4)),
        ("encoding=br&how=not", draw_bytes(4)),
        ("encoding=utf-8&how=not", draw_bytes(4)),
        ("encoding=identity&how=not", draw_bytes(4)),
        ("encoding=br", "HTTP: the server sent it compressed (br), which was not asked for"),
        ("encoding=gzip, identity", draw_bytes(4)),
        ("encoding=aws-chunked,gzip", draw_bytes(4)),
        ("encoding=gzip,gzip", "HTTP: the server sent it compressed (gzip, gzip), which was not asked for"),
        ("encoding=gzip&how=bomb", "HTTP: larger than 4 MB"),
        ("encoding=deflate", "HTTP: its compressed body is damaged"),
        ("encoding=gzip&how=cut", "HTTP: its compressed body ends too early"),
    ],
)
def test_a_compressed_body_is_unpacked(
    server: HostileServer, tmp_path: Path, query: str, expected: bytes | str
) -> None:
    assert fetch(tmp_path, f"{server.url}/packed?{query}") == [expected]


@given(
    st.lists(st.binary(max_size=200).map(partial(gzip.compress, mtime=0)), max_size=4),
    st.sampled_from([b"", bytes(7), bytes(1000), b"more"]),
    st.integers(1, 700),
)
def test_a_gzip_body_may_have_several_members(members: list[bytes], tail: bytes, size: int) -> None:
    """However it comes in, with padding or other bytes behind it."""
    first = gzip.compress(draw_bytes(4)[:50])
    sent, expected = b"".join((first, *members, tail)), draw_bytes(4)[:50] + b"".join(map(gzip.decompress, members))
    body = Body("image/png", encoding="gzip")
    chunks = [sent[start : start + size] for start in range(0, len(sent), size)]
    pieces = [piece for chunk in chunks for piece in body.feed(chunk)]
    assert b"".join((*pieces, *body.finish())) == expected


def test_a_gzip_body_that_ends_within_a_later_member_is_cut() -> None:
    body = Body("image/png", encoding="gzip")
    member = gzip.compress(draw_bytes(4))
    with pytest.raises(NoImageError, match="ends too early"):
        _ = [*body.feed(member + member[:15]), *body.finish()]


@pytest.mark.parametrize("dedupe", ["exact", "near"])
def test_an_image_is_the_same_wherever_it_was_found(server: HostileServer, tmp_path: Path, dedupe: Dedupe) -> None:
    url = f"{server.url}/good/5"
    (tmp_path / "local.png").write_bytes(draw_bytes(5))
    places, options = ImagePlaces("", are_remote=True, on_web=True), FetchOptions(tmp_path / "cache", 2**30, LIMITS)

    async def find_sources() -> list[Source | UnreadableImage | None]:
        async with open_image_files(places, options) as fetched, DecodePool(1) as pool:
            found = []
            for files, path in ((fetched, url), (LocalFiles(tmp_path), "local.png")):
                async with ImageReader(pool, files, dedupe) as reader:
                    found.append(await reader.find_source(ImageRecord("any", path=path)))
            return found

    downloaded, local = asyncio.run(find_sources())
    assert downloaded == local is not None


def test_a_server_that_trickles_is_given_up(server: HostileServer, tmp_path: Path) -> None:
    impatient = replace(LIMITS, deadline_s=0.6)
    assert fetch(tmp_path, f"{server.url}/slow_loris", limits=impatient) == ["HTTP: took longer than 1 s"]


def test_a_server_is_left_alone_for_as_long_as_it_asks(server: HostileServer, tmp_path: Path) -> None:
    started = time.monotonic()
    assert fetch(tmp_path, f"{server.url}/busy") == [draw_bytes(2)]
    assert 1.0 <= time.monotonic() - started < 10.0
    assert server.requests["/busy"] == 2


@pytest.mark.parametrize("concurrency", [2, 5])
def test_no_more_at_a_time_than_allowed(server: HostileServer, tmp_path: Path, concurrency: int) -> None:
    urls = [f"{server.url}/good/{number}" for number in range(30)]
    for limits in (replace(LIMITS, per_host=concurrency), replace(LIMITS, concurrency=concurrency)):
        server.most_at_once = 0
        assert fetch(tmp_path / str(limits), *urls, limits=limits) == [draw_bytes(number) for number in range(30)]
        assert server.most_at_once == concurrency


def test_addresses_of_this_network_are_refused_at_the_first_hop_and_later(
    server: HostileServer, tmp_path: Path
) -> None:
    guarded = replace(LIMITS, allow_private=False)
    port = server.url.rpartition(":")[2]
    hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0")
    for reason in fetch(tmp_path, *(f"http://{host}:{port}/good/1" for host in hosts), limits=guarded):
        assert isinstance(reason, str)
    assert not server.requests


def test_a_name_that_changes_its_meaning_does_not_get_past(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding, and a redirect: what is checked is the address that is connected to."""
    refused: list[str] = []

    def is_public_here(address: str) -> bool:
        refused.append(address)
        return address == "127.0.0.1"  # plays the public server

    monkeypatch.setattr("ictc.dataset.fetching.addresses.is_public", is_public_here)
    (reason,) = fetch(tmp_path, f"{server.url}/to_private", limits=replace(LIMITS, allow_private=False))
    assert reason == "HTTP: its address is private; --allow_private_addresses permits that"
    assert refused == ["127.0.0.1", "169.254.169.254"]


PRIVATE = """
127.0.0.1 10.0.0.1 192.168.1.1 172.16.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
::1 fe80::1%eth0 fc00::1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ::
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_is_as_private_inside_another_as_by_itself(address: object) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))


def test_public_addresses() -> None:
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


def test_retry_after() -> None:
    assert parse_retry_after("7") == 7
    assert parse_retry_after("999999") == http.MAX_RETRY_AFTER_S
    assert 50 < parse_retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    for nothing in ("", "soon", "-1", formatdate(time.time() - 60, usegmt=True)):
        assert parse_retry_after(nothing) == 0


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:hush@example.org/a.jpg", "https://example.org/a.jpg"),
        ("https://hush@example.org/a.jpg", "https://example.org/a.jpg"),
        (
            "https://b.s3.amazonaws.com/a.jpg?X-Amz-Signature=hush",
            "https://b.s3.amazonaws.com/a.jpg?X-Amz-Signature=***",
        ),
        ("https://example.org/a?w=80&access_token=hush", "https://example.org/a?w=80&access_token=***"),
        ("https://example.org/a?design=1&author=x", "https://example.org/a?design=1&author=x"),
        ("https://h/a?n=caf%E9+%7e&&b&c=&token=hush&d=%2F/;é", "https://h/a?n=caf%E9+%7e&&b&c=&token=***&d=%2F/;é"),
        ("https://h/a?to%6Ben=hush&x=%e9", "https://h/a?to%6Ben=***&x=%e9"),
        ("HTTPS://h/a?x#", "HTTPS://h/a?x#"),
        ("https://[hush@/x", "https://***"),
        ("folder/a@b?.jpg", "folder/a@b?.jpg"),
        ("abfs://container@account/a.jpg", "abfs://container@account/a.jpg"),
    ],
)
def test_secrets_are_hidden(address: str, shown: str) -> None:
    assert hide_secrets(address) == shown


def cached(folder: Path) -> list[Path]:
    """Return the contents that were downloaded."""
    return list((folder / "cache" / "objects").glob("*/*"))


def num_sorted(output_dir: Path) -> int:
    """Return how many images a model has seen."""
    return len(load(output_dir, "step1_captions.json")) + len(load(output_dir, "ui_only_images.json"))


def run_table(ictc: Ictc, server: HostileServer, folder: Path, *paths: str, out: str = "out") -> tuple[str, ...]:
    """Write a table of URLs and return the arguments of a run over it."""
    lines = [f"ad_{number:02d},{server.url}/{path}" for number, path in enumerate(paths)]
    (folder / "list.csv").write_text("\n".join(["id,url", *lines]) + "\n")
    flags = ("--allow_private_addresses", "--cache_dir", folder / "cache", "--engine", "scripted", "--num_clusters", 3)
    return ("run", "--images", folder / "list.csv", "--output_dir", folder / out, *flags)  # type: ignore[return-value]


def test_a_run_accounts_for_every_url_and_downloads_each_once(
    ictc: Ictc, server: HostileServer, tmp_path: Path
) -> None:
    paths = [*(f"good/{number}" for number in range(8)), "nowhere", "page", "ill"]
    command = run_table(ictc, server, tmp_path, *paths)
    outcome = ictc(*command)
    assert outcome.exit_code == 0, outcome.stderr
    broken = {"ad_08": "HTTP: 404 Not Found", "ad_10": "HTTP: 503 Service Unavailable"}
    broken["ad_09"] = "HTTP: the server sent text/html, no image"
    assert {i: data["reason"] for i, data in load(tmp_path / "out", "broken_images.json").items()} == broken
    assert num_sorted(tmp_path / "out") == 8
    assert all(server.requests[f"/good/{number}"] for number in range(8))
    assert len(cached(tmp_path)) == 8
    copies = {path: path.stat().st_ino for path in cached(tmp_path)}
    assert server.requests["/nowhere"] == 1
    assert server.requests["/ill"] >= 4 * 3, "what is ill is tried again at the end"
    assert ictc(*command, "--force_steps", "1").exit_code == 0
    assert {path: path.stat().st_ino for path in cached(tmp_path)} == copies, "not from the cache"
    copy = build_finder(tmp_path / "out").find("ad_05", image_path=f"{server.url}/good/5")
    assert copy is not None
    assert copy.read_bytes() == draw_bytes(5)


def test_what_cannot_be_decoded_is_asked_for_again_by_whoever_tries_again(
    ictc: Ictc, server: HostileServer, tmp_path: Path
) -> None:
    """In another folder, over the same cache, as well as in the same; the rest is asked for once."""
    paths = ("cut", "excuse", *(f"good/{number}" for number in range(6)), "cut")
    for out, flag in (("out", "--yes"), ("other", "--yes"), ("out", "--retry_rejected")):
        outcome = ictc(*run_table(ictc, server, tmp_path, *paths, out=out), flag)
        assert outcome.exit_code == 0, outcome.stderr
        broken = load(tmp_path / out, "broken_images.json").keys()
        assert broken == (set() if flag == "--retry_rejected" else {"ad_00", "ad_01", "ad_08"})
    assert (server.requests["/cut"], server.requests["/excuse"], server.requests["/good/1"]) == (3, 3, 1)
    assert num_sorted(tmp_path / "out") == 9


def test_a_copy_that_is_no_good_serves_this_process_and_no_other(server: HostileServer, tmp_path: Path) -> None:
    places, options = ImagePlaces("", are_remote=True, on_web=True), FetchOptions(tmp_path, 2**30, LIMITS)
    first, same = (ImageRecord(url, path=url) for url in (f"{server.url}/excuse", f"{server.url}/excuse?same"))

    async def read(*images: ImageRecord, forget: bool) -> list[bytes]:
        contents = []
        async with open_image_files(places, options) as files:
            for image in images:
                async with files.open(image) as file:
                    assert isinstance(file, ImageFile)
                    contents.append(file.path.read_bytes())
                    if forget and image is first:
                        await files.forget(image, file)
        return contents

    bad = b'{"error": "later"}'
    assert asyncio.run(read(first, first, same, same, first, forget=True)) == [bad] * 5
    assert server.requests["/excuse"] == 2
    assert asyncio.run(read(same, first, forget=False)) == [draw_bytes(11)] * 2


def test_relative_paths_of_a_table_may_start_at_a_web_address(
    ictc: Ictc, server: HostileServer, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("path\n5\nno/5\n")
    images = ("--images", tmp_path / "list.csv", "--ads_dir", f"{server.url}/good", "--allow_private_addresses")
    flags = ("--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "cache", "--engine", "scripted", "--steps", 1)
    outcome = ictc("run", *images, *flags)
    assert outcome.exit_code == 0, outcome.stderr
    assert load(tmp_path / "out", "step1_captions.json").keys() == {"5"}
    assert load(tmp_path / "out", "broken_images.json").keys() == {"no/5"}


def test_secrets_in_addresses_stay_out_of_everything_written(ictc: Ictc, server: HostileServer, tmp_path: Path) -> None:
    command = run_table(ictc, server, tmp_path, *(f"good/{number}?token=hush{number}" for number in range(6)), "page")
    table = (tmp_path / "list.csv").read_text().replace("http://", "http://me:hush@")
    (tmp_path / "list.csv").write_text(table)
    outcome = ictc(*command, "--verbose")
    assert outcome.exit_code == 0, outcome.stderr
    assert len(server.credentials) == 7
    assert load(tmp_path / "out", "image_mapping.json")["ad_00"]["path"].endswith("/good/0?token=***")
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if b"hush" in path.read_bytes()]
    assert "hush" not in outcome.stdout + outcome.stderr


def test_killed_while_downloading_and_resumed(ictc: Ictc, server: HostileServer, tmp_path: Path) -> None:
    paths = [*(f"good/{number}" for number in range(6)), "slow", "slow_loris"]
    command = run_table(ictc, server, tmp_path, *paths)
    with start_ictc(*command) as process:
        while not (server.requests["/slow_loris"] and len(cached(tmp_path)) >= 6):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    before = server.requests.copy()
    outcome = ictc(*command, "--download_timeout_s", 1)
    assert outcome.exit_code == 0, outcome.stderr
    assert list(load(tmp_path / "out", "broken_images.json")) == ["ad_07"]
    assert num_sorted(tmp_path / "out") == 7
    assert not [path for path in before if server.requests[path] > before[path] and path.startswith("/good")]
    assert len(cached(tmp_path)) == 7
