"""Images that can't be read for a while, for good, or slowly: none is broken for that, and nothing done is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, Outcome, exported_bytes, load
from support.collections import draw_flat
from support.faulty_reads import FaultyReads
from support.hostile_http import HostileServer, hostile_server
from support.s3 import S3, s3_server

from ictc.cli.main import run_command
from ictc.dataset import patience
from ictc.dataset.decoding.pool import DecodePool
from ictc.dataset.fetching import files, http
from ictc.stages import rounds

NUM_IMAGES = 60
FROM = "ad_030.png"
"""The first image that can't be read; others are done by then."""

MANY = 300
FROM_OF_MANY = "ad_100.png"


@pytest.fixture
def ictc(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ictc:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(http, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(rounds, "PAUSES_S", (0.05, 0.1))
    return Ictc(capsys)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultyReads:
    reads = FaultyReads(tmp_path / "faults")
    monkeypatch.syspath_prepend(reads.hook)
    return reads


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_flat(tmp_path_factory.mktemp("collection") / "ads", NUM_IMAGES)


def run_undisturbed(ads: Path, out: Path) -> dict[str, bytes]:
    """Return what a run exports that nothing happens to."""
    common = ("--engine", "scripted", "--num_clusters", "3")
    assert run_command(["run", "--ads_dir", str(ads), "--output_dir", str(out), *common]) == 0
    return exported_bytes(out)


@pytest.fixture(scope="module")
def undisturbed(ads: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return run_undisturbed(ads, tmp_path_factory.mktemp("undisturbed") / "out")


@pytest.fixture(scope="module")
def many_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("many")
    return run_undisturbed(draw_flat(folder / "ads", MANY), folder / "out")


def during(action: Callable[[], None]) -> threading.Thread:
    """Do something while the run is under way."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def num_bad(output_dir: Path) -> tuple[int, int]:
    """Return how many images are recorded as broken, and as rejected."""
    records = b"".join(path.read_bytes() for path in (output_dir / "state").rglob("*.jsonl"))
    return records.count(b'"status":"broken"'), records.count(b'"status":"rejected"')


def assert_ended_by_outage(outcome: Outcome, output_dir: Path) -> None:
    assert outcome.exit_code == 1
    *_, last = outcome.stderr.splitlines()
    assert outcome.stderr.count("error") == 1
    assert last.startswith("ictc: error: images cannot be read since ")
    assert "what is done is kept" in last
    assert num_bad(output_dir) == (0, 0)
    assert not (output_dir / "broken_images.json").exists()


def assert_waited(outcome: Outcome, output_dir: Path) -> None:
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stderr.count("images cannot be read since") == outcome.stderr.count("images can be read again") == 1
    assert num_bad(output_dir) == (0, 0)


@pytest.mark.parametrize("effect", ["EIO", "ESTALE", "EACCES"])
def test_a_disk_that_fails_for_a_while_is_waited_for(
    ictc: Ictc, disk: FaultyReads, ads: Path, undisturbed: dict[str, bytes], tmp_path: Path, effect: str
) -> None:
    def heal() -> None:
        disk.wait_until_struck()
        disk.begin(effect)  # what was read before can't be read any more either
        time.sleep(0.6)
        disk.end()

    disk.begin(effect, FROM)
    healing = during(heal)
    outcome = ictc.run(ads, tmp_path / "out")
    healing.join()
    assert outcome.exit_code == 0, outcome.stderr
    assert num_bad(tmp_path / "out") == (0, 0)
    assert exported_bytes(tmp_path / "out") == undisturbed


def test_a_folder_that_is_away_for_three_seconds_is_waited_for(
    ictc: Ictc, disk: FaultyReads, many_undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    ads = draw_flat(tmp_path / "ads", MANY)

    def come_back() -> None:
        disk.wait_until_struck()
        ads.rename(tmp_path / "away")
        disk.end()
        time.sleep(3.0)
        (tmp_path / "away").rename(ads)

    disk.begin("ESTALE", FROM_OF_MANY)
    coming = during(come_back)
    outcome = ictc.run(ads, tmp_path / "out")
    coming.join()
    assert_waited(outcome, tmp_path / "out")
    assert exported_bytes(tmp_path / "out") == many_undisturbed


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_folder_that_is_away_for_good_ends_the_run_and_it_goes_on_later(
    ictc: Ictc, disk: FaultyReads, many_undisturbed: dict[str, bytes], tmp_path: Path, left: str
) -> None:
    ads = draw_flat(tmp_path / "ads", MANY)

    def vanish() -> None:
        disk.wait_until_struck()
        ads.rename(tmp_path / "away")
        if left != "nothing":
            ads.mkdir()
        disk.end()

    disk.begin("ESTALE", FROM_OF_MANY)
    vanishing = during(vanish)
    outcome = ictc.run(ads, tmp_path / "out", "--access_timeout_s", 1)
    vanishing.join()
    assert_ended_by_outage(outcome, tmp_path / "out")
    refused = ictc.run(ads, tmp_path / "out")
    assert refused.exit_code == 1, "nothing there to list"
    if left != "nothing":
        ads.rmdir()
    (tmp_path / "away").rename(ads)
    ictc.succeed(ads, tmp_path / "out")
    assert exported_bytes(tmp_path / "out") == many_undisturbed


def test_a_file_server_that_hangs_is_waited_for(
    ictc: Ictc,
    disk: FaultyReads,
    ads: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(DecodePool.__init__.__kwdefaults__, "timeout_s", 1)

    def heal() -> None:
        disk.wait_until_struck()
        disk.begin("hang")
        time.sleep(2.0)
        disk.end()

    disk.begin("hang", FROM)
    healing = during(heal)
    outcome = ictc.run(ads, tmp_path / "out")
    healing.join()
    assert outcome.exit_code == 0, outcome.stderr
    assert num_bad(tmp_path / "out") == (0, 0)
    assert exported_bytes(tmp_path / "out") == undisturbed


def test_a_slow_disk_is_but_slow(
    ictc: Ictc, disk: FaultyReads, many_undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    ads = draw_flat(tmp_path / "ads", MANY)
    disk.begin("slow")
    outcome = ictc.succeed(ads, tmp_path / "out")
    assert "cannot be read" not in outcome.stderr
    assert exported_bytes(tmp_path / "out") == many_undisturbed


@pytest.mark.parametrize("effect", ["EIO", "EACCES"])
def test_a_file_that_alone_cannot_be_read_stops_nobody(
    ictc: Ictc, disk: FaultyReads, ads: Path, undisturbed: dict[str, bytes], tmp_path: Path, effect: str
) -> None:
    disk.begin(effect, "ad_040.png", "ad_041.png")
    outcome = ictc.succeed(ads, tmp_path / "out")
    reasons = [
        line["reason"] for line in map(orjson.loads, (tmp_path / "out" / "rejected.jsonl").read_bytes().splitlines())
    ]
    assert len(reasons) == 2
    assert {reason.partition(": ")[0] for reason in reasons} == {"cannot be read"}
    assert "2 rejected" in outcome.stdout
    disk.end()
    assert ictc("retry", tmp_path / "out").exit_code == 0
    assert exported_bytes(tmp_path / "out") == undisturbed


def test_a_file_that_can_be_read_at_the_end_of_the_step_is_as_any_other(
    ictc: Ictc,
    disk: FaultyReads,
    ads: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def heal() -> None:
        disk.wait_until_struck()
        time.sleep(0.3)
        disk.end()

    monkeypatch.setattr(rounds, "PAUSES_S", (0.05, 1.0))  # it heals before the last round
    disk.begin("EIO", "ad_040.png", "ad_040.png")
    healing = during(heal)
    ictc.succeed(ads, tmp_path / "out")
    healing.join()
    assert num_bad(tmp_path / "out") == (0, 0)
    assert exported_bytes(tmp_path / "out") == undisturbed


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


@pytest.fixture
def table(server: HostileServer, tmp_path: Path) -> tuple[object, ...]:
    """The arguments of a run over forty addresses."""
    server.forget()
    rows = [f"ad_{number:02d},{server.url}/good/{number}" for number in range(40)]
    (tmp_path / "list.csv").write_text("\n".join(["id,url", *rows]) + "\n")
    fetching = ("--allow_private_addresses", "--download_concurrency", 2)
    return ("--images", tmp_path / "list.csv", *fetching, "--engine", "scripted", "--num_clusters", 3)


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_web_that_refuses_everything_for_a_while_is_waited_for(
    ictc: Ictc, server: HostileServer, table: tuple[object, ...], tmp_path: Path, status: int
) -> None:
    """A signature that is out of date, a limit of the rate, a server that restarts."""
    assert ictc("run", *table, "--output_dir", tmp_path / "well").exit_code == 0

    def heal() -> None:
        while not server.num_refused:
            time.sleep(0.05)
        time.sleep(0.5 if status == 403 else 4.5)  # longer than the four attempts at an image, where there are four
        server.refuse(None)

    server.refuse(status, after=15)
    healing = during(heal)
    outcome = ictc("run", *table, "--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "empty")
    healing.join()
    assert_waited(outcome, tmp_path / "out")
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "well")


def test_a_web_that_is_gone_for_good_ends_the_run_and_it_goes_on_later(
    ictc: Ictc, server: HostileServer, table: tuple[object, ...], tmp_path: Path
) -> None:
    server.refuse(503, after=15)
    command = ("run", *table, "--output_dir", tmp_path / "out")
    assert_ended_by_outage(ictc(*command, "--access_timeout_s", 1), tmp_path / "out")
    server.refuse(None)
    assert ictc(*command).exit_code == 0
    assert ictc("run", *table, "--output_dir", tmp_path / "well").exit_code == 0
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "well")


def test_a_host_that_is_dead_stops_nobody(
    ictc: Ictc, server: HostileServer, table: tuple[object, ...], tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text(path.read_text() + "dead_0,http://127.0.0.1:9/a.jpg\ndead_1,http://127.0.0.1:9/b.jpg\n")
    outcome = ictc("run", *table, "--output_dir", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    reasons = {name: entry["reason"] for name, entry in load(tmp_path / "out", "broken_images.json").items()}
    assert reasons == dict.fromkeys(["dead_0", "dead_1"], "HTTP: no connection to the server")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as running:
        yield running


@pytest.mark.parametrize(
    "error",
    [PermissionError("The provided token has expired."), ConnectionError("Could not connect"), TimeoutError("read")],
)
def test_object_storage_that_refuses_everything_breaks_no_image(
    ictc: Ictc, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    url = s3.put_tree(draw_flat(tmp_path / "ads", 12), "outage")
    download, num_fetched = files.download, 0

    def refuse(*arguments: object) -> None:
        nonlocal num_fetched
        num_fetched += 1
        if num_fetched > 5:
            raise error
        download(*arguments)  # type: ignore[arg-type]

    command = ("run", "--ads_dir", url, "--output_dir", tmp_path / "out", "--engine", "scripted", "--num_clusters", 3)
    monkeypatch.setattr(files, "download", refuse)
    assert_ended_by_outage(ictc(*command, "--access_timeout_s", 0.5), tmp_path / "out")
    monkeypatch.setattr(files, "download", download)
    assert ictc(*command).exit_code == 0
    ictc.succeed(tmp_path / "ads", tmp_path / "disk")
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "disk")
