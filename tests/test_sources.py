"""Wherever the images lie, a run gives the same results: on a disk, behind URLs, in tar shards, named by a table."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from pyarrow import parquet
from support.cli import Ictc, Outcome, exported_bytes, load, start_ictc
from support.collections import draw_flat, draw_image, draw_observation
from support.gcs import Gcs, gcs_for_nobody, gcs_server
from support.hub import TOKEN, hub_server
from support.s3 import S3, s3_server
from support.s3_listing import many_keys

from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.errors import InputError
from ictc.report.images import build_finder

NUM_MANY = 100_000
LISTED_WITHIN_CPU_S = 30.0


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def gs() -> Iterator[Gcs]:
    with gcs_server() as server:
        yield server


@pytest.fixture(params=["s3", "gs"])
def store(request: pytest.FixtureRequest) -> S3 | Gcs:
    """A bucket of each service."""
    bucket: S3 | Gcs = request.getfixturevalue(request.param)
    return bucket


@pytest.fixture
def ictc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ictc:
    """The command line of a user with empty folders of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return Ictc(capsys)


@pytest.fixture
def observations(tmp_path: Path) -> Path:
    """Observation folders with everything that a listing has to tell apart."""
    ads = tmp_path / "ads"
    for number in range(12):
        draw_observation(ads, f"ad_{number:02d}", number, observation={"platform": "Facebook"}, timestamp=1_745_000_000)
    (ads / "ad_03" / "full_data.json").write_text("{")
    (ads / "ad_03" / "data.json").write_text('{"observation_id": "third"}')
    (ads / "ad_04" / ".hidden.jpg").write_bytes(b"x")
    draw_image(ads / "ad_07" / "image.jpg", 6)  # a copy
    (ads / "empty").mkdir()
    (ads / "empty" / "full_data.json").write_text('{"observation_id": "nothing"}')
    (ads / "torn").mkdir()
    (ads / "torn" / "image.jpg").write_bytes(b"\xff\xd8 torn")
    return ads


def manifest_lines(output_dir: Path) -> list[dict[str, Any]]:
    """Return what a manifest says of each image but its version: places have words of their own for that."""
    lines = map(orjson.loads, (output_dir / "state" / "manifest.jsonl").read_bytes().splitlines())
    return [{name: value for name, value in line.items() if name != "version"} for line in lines]


def test_images_in_and_exports_out_of_a_bucket_are_those_of_a_disk(
    ictc: Ictc, store: S3 | Gcs, observations: Path, tmp_path: Path
) -> None:
    ictc.succeed(observations, tmp_path / "out")
    url = store.put_tree(observations, "observations")
    results = url.replace("observations", "results")
    outcome = ictc.run(url, results, "--work_dir", tmp_path / "work")
    assert outcome.exit_code == 0, outcome.stderr
    assert "warning" not in outcome.stderr
    assert f"Exports: {results}" in outcome.stdout
    local, published = exported_bytes(tmp_path / "out"), store.read_folder("results")
    assert exported_bytes(tmp_path / "work") == local
    assert {name: published[name] for name in local} == local
    assert b'"duplicate_of":"ad_06"' in b"".join(local["ictc_final_results.json"].split())
    assert {"run.json", "config.yaml"} < published.keys()
    assert manifest_lines(tmp_path / "work") == manifest_lines(tmp_path / "out")
    assert ictc("verify", tmp_path / "work").exit_code == 0


def test_names_of_objects_are_taken_by_the_letter(ictc: Ictc, store: S3 | Gcs, tmp_path: Path) -> None:
    ads = tmp_path / "ads"
    for number, name in enumerate(["ad [1]", "ad [2]", "what?", "x*y", "a#b", "50%", "a::b", "é", "plus+", "a&b=c"]):
        draw_observation(ads, name, number, observation_id=f"id of {name}", observation={"platform": name})
    draw_image(ads / "blob.png", 20).rename(ads / "blob")
    (ads / "_SUCCESS").touch()
    ictc.succeed(ads, tmp_path / "disk")
    url = store.put_tree(ads, "letters")
    ictc.succeed(url, tmp_path / "bucket")
    assert manifest_lines(tmp_path / "bucket") == manifest_lines(tmp_path / "disk")
    assert exported_bytes(tmp_path / "bucket") == exported_bytes(tmp_path / "disk")
    said = "left out: 1 other file (1 without suffix: '_SUCCESS')"
    assert list_collection(url).left_out.describe().startswith(said)


def test_keys_that_no_disk_has(s3: S3) -> None:
    keys = ["odd/a//b.png", "odd//c.png", "odd/folder/", "odd/full/", "odd/https://host/x.png", "odd/d.tar/e.png"]
    for key in [*keys, "oddly/not.png"]:
        body = b"" if key == "odd/folder/" else b"\x89PNG\r\n\x1a\n"
        s3.client.put_object(Bucket="ads-bucket", Key=key, Body=body)
    collection = list_collection("s3://ads-bucket/odd")
    records = {record.path: record for record in iter_images(collection)}
    assert sorted(records) == ["/c.png", "a//b.png", "d.tar/e.png", "https://host/x.png"]
    assert records["https://host/x.png"].problem == "its name looks like a URL; copy it to another name"
    assert collection.left_out.describe() == "left out: 1 name of neither a file nor a folder ('full/')"
    (record,) = iter_images(list_collection("s3://ads-bucket/odd/d.tar/"))
    assert record.image_id == "e"
    with pytest.raises(InputError, match=r"d\.tar does not exist; .* end a folder's address in a slash"):
        list_collection("s3://ads-bucket/odd/d.tar")


def test_what_is_left_out_is_told_by_every_command_that_lists(ictc: Ictc, tmp_path: Path) -> None:
    for number in range(4):
        draw_observation(tmp_path / "ads", f"ad_{number}", number)
        draw_image(tmp_path / "ads" / f"ad_{number}" / "more.png", 10 + number)
        (tmp_path / "ads" / f"ad_{number}" / "notes.txt").touch()
    (tmp_path / "ads" / ".DS_Store").touch()
    said = (
        "Step 0: left out: 1 hidden name ('.DS_Store'), 4 other files (4 .txt: 'ad_0/notes.txt', 'ad_1/notes.txt', …), "
        "4 further images of a folder or key that has one, which --frames all takes"
    )
    for _ in range(2):  # the second time, the list of images is there already
        outcome = ictc.run(tmp_path / "ads", tmp_path / "out")
        assert said in outcome.stderr + outcome.stdout
    for shard in range(2):
        part = ("--num_shards", 2, "--shard_index", shard, "--steps", "1,2a")
        ictc.run(tmp_path / "ads", tmp_path / "parts", *part)
    ictc("merge", *(tmp_path / "parts" / f"shard_{n}" for n in range(2)), "--output_dir", tmp_path / "merged")
    merged, whole = (load(tmp_path / out / "state", "manifest.key.json")["left_out"] for out in ("merged", "out"))
    assert merged == whole
    planned = ictc("plan", "--ads_dir", tmp_path / "ads", "--engine", "scripted")
    assert "left out: 1 hidden name ('.DS_Store')" in planned.stdout, planned.stderr


def test_a_listing_that_fails_midway_is_no_listing(tmp_path: Path) -> None:
    with many_keys(5_000, fail_at=3_000) as url, pytest.raises(InputError, match="cannot be listed"):
        list_collection(url)


def test_a_table_in_a_bucket_gives_what_it_gives_on_a_disk(ictc: Ictc, gs: Gcs, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 6)
    rows = {"path": sorted(path.name for path in ads.iterdir()), "year": list(range(2020, 2026))}
    parquet.write_table(pa.table(rows), ads / "list.parquet")
    common = ("--engine", "scripted", "--num_clusters", 2, "--output_dir")
    for out, table in {"disk": ads / "list.parquet", "gs": f"{gs.put_tree(ads, 'table')}/list.parquet"}.items():
        outcome = ictc("run", "--images", table, *common, tmp_path / out)
        assert outcome.exit_code == 0, outcome.stderr
    assert exported_bytes(tmp_path / "gs") == exported_bytes(tmp_path / "disk")


def run_with_hub(hub: str, ads: str, output_dir: Path, token: str = "") -> Outcome:
    """Run in a process of its own, as the Hub's client reads its settings once."""
    of_hub = {"HF_ENDPOINT": hub, "HF_TOKEN": token, "HF_HOME": str(output_dir / "hub"), "HF_HUB_OFFLINE": "0"}
    folders = ("--ads_dir", ads, "--output_dir", output_dir)
    process = start_ictc("run", *folders, "--engine", "scripted", "--num_clusters", 3, env={**os.environ, **of_hub})
    stdout, stderr = process.communicate(timeout=60)
    return Outcome(process.returncode, stdout, stderr)


def test_datasets_of_a_hub_give_the_results_of_their_files(ictc: Ictc, observations: Path, tmp_path: Path) -> None:
    tars = tmp_path / "tars"
    write_shard(tars / "a.tar", {path.name: path for path in sorted(draw_flat(tmp_path / "flat", 5).iterdir())})
    ictc.succeed(observations, tmp_path / "disk")
    ictc.succeed(tars, tmp_path / "disk_tars")
    with hub_server({"team/ads": observations, "team/tars-private": tars}) as hub:
        outcomes = [
            run_with_hub(hub, "hf://datasets/team/ads@main", tmp_path / "hub"),
            run_with_hub(hub, "hf://datasets/team/tars-private", tmp_path / "hub_tars", TOKEN),
        ]
    assert [outcome.exit_code for outcome in outcomes] == [0, 0], outcomes
    assert manifest_lines(tmp_path / "hub") == manifest_lines(tmp_path / "disk")
    assert exported_bytes(tmp_path / "hub") == exported_bytes(tmp_path / "disk")
    assert exported_bytes(tmp_path / "hub_tars") == exported_bytes(tmp_path / "disk_tars")


def test_datasets_that_a_hub_does_not_give_are_told_in_a_line(observations: Path, tmp_path: Path) -> None:
    said = {
        "no-such": "cannot be listed (not found); check the address and access.",
        "ads-private": "cannot be listed (not found); check the address and access.",
        "ads-private/folder": "cannot be listed (not found); check the address and access.",
        "ads-gated": "Cannot access gated repo",
    }
    with hub_server({f"team/{name}": observations for name in ("ads-private", "ads-gated")}) as hub:
        for name, words in said.items():
            refused = run_with_hub(hub, f"hf://datasets/team/{name}", tmp_path / "out")
            assert refused.exit_code == 1
            assert words in refused.stderr
            assert refused.stderr.count("\n") == 2, refused.stderr


def test_what_is_published_follows_the_run(ictc: Ictc, s3: S3, tmp_path: Path) -> None:
    draw_flat(tmp_path / "ads", 8)
    for num_clusters in (3, 4):
        outcome = ictc.run(tmp_path / "ads", "s3://ads-bucket/again", "--num_clusters", num_clusters)
        assert outcome.exit_code == 0, outcome.stderr
        final = json.loads(s3.read_folder("again")["ictc_final_results.json"])
        assert len(final["cluster_definitions"]) == num_clusters
    (work_dir,) = (tmp_path / "home" / "ictc" / "runs").iterdir()
    (work_dir / "prompts.json").unlink()
    outcome = ictc.run(tmp_path / "ads", "s3://ads-bucket/again", "--num_clusters", 4, "--steps", "1")
    assert outcome.exit_code == 0, outcome.stderr
    assert s3.read_folder("again").keys() == exported_bytes(work_dir).keys() | {"run.json", "config.yaml"}


def test_a_retry_publishes_each_track_where_it_was(ictc: Ictc, s3: S3, tmp_path: Path) -> None:
    draw_flat(tmp_path / "ads", 6)
    failing = ("--engine_options", '{"fail": ["0:ad_002", "1:ad_003"]}')
    work = ("--work_dir", tmp_path / "work", "--track", "1,2", "--num_clusters", 2)
    outcome = ictc.run(tmp_path / "ads", "s3://ads-bucket/tracks", *work, *failing)
    assert outcome.exit_code == 0, outcome.stderr
    before = set(s3.read_folder("tracks"))
    outcome = ictc("retry", tmp_path / "work")
    assert outcome.exit_code == 0, outcome.stderr
    assert set(s3.read_folder("tracks")) == before
    for track in ("full_run", "track2_identity"):
        assert s3.read_folder(f"tracks/{track}")["rejected.jsonl"] == b""
        assert exported_bytes(tmp_path / "work" / track).items() <= s3.read_folder(f"tracks/{track}").items()


def test_listing_a_hundred_thousand_keys() -> None:
    with many_keys(NUM_MANY) as url:
        started = time.process_time()
        collection = list_collection(url)
        records = list(iter_images(collection, start=10, end=20))
        seconds = time.process_time() - started
    assert (len(collection), collection.units[-1]) == (NUM_MANY, "099999.jpg")
    assert [(record.image_id, record.num_bytes) for record in records] == [(f"{n:06d}", 7) for n in range(10, 20)]
    assert seconds < LISTED_WITHIN_CPU_S


def write_shard(path: Path, images: dict[str, Path], **members: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, image in images.items():
            shard.add(image, name)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))


def test_tar_shards_give_the_results_of_their_files(ictc: Ictc, s3: S3, gs: Gcs, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 9)
    names = sorted(path.name for path in ads.iterdir())
    facts = {"ad_002.json": json.dumps({"observation": {"platform": "TikTok"}}).encode()}
    for number in range(3):
        images = {name: ads / name for name in names[3 * number : 3 * number + 3]}
        write_shard(tmp_path / "tars" / f"shard-{number:03d}.tar", images, **(facts if number == 0 else {}))
    ictc.succeed(ads, tmp_path / "files")
    ictc.succeed(tmp_path / "tars", tmp_path / "folder")
    ictc.succeed(tmp_path / "tars" / "shard-{000..002}.tar", tmp_path / "pattern")
    ictc.succeed(s3.put_tree(tmp_path / "tars", "tars"), tmp_path / "s3")
    ictc.succeed(gs.put_tree(tmp_path / "tars", "tars"), tmp_path / "gs")
    expected = load(tmp_path / "files", "step1_captions.json")
    for out in ("folder", "pattern", "s3", "gs"):
        assert load(tmp_path / out, "step1_captions.json") == expected
        assert exported_bytes(tmp_path / out) == exported_bytes(tmp_path / "folder")
        assert not list((tmp_path / out / "categorized_images" / "valid_ads").iterdir())
        assert build_finder(tmp_path / out).find("ad_007", image_path="shard-002.tar/ad_007.png") is not None
    mapping = load(tmp_path / "folder", "image_mapping.json")
    assert (mapping["ad_002"]["path"], mapping["ad_002"]["platform"]) == ("shard-000.tar/ad_002.png", "TikTok")


def test_a_shard_that_is_torn_loses_nothing_silently(tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 4)
    write_shard(tmp_path / "tars" / "a.tar", {path.name: path for path in sorted(ads.iterdir())})
    with tarfile.open(tmp_path / "tars" / "a.tar") as shard:
        third = shard.getmembers()[2]
    with (tmp_path / "tars" / "a.tar").open("r+b") as file:
        file.truncate(third.offset + 100)
    (tmp_path / "tars" / "b.tar").write_bytes(b"no tar")
    records = list(iter_images(list_collection(tmp_path / "tars")))
    assert [record.image_id for record in records] == ["ad_000", "ad_001", "a.tar", "b.tar"]
    assert [bool(record.problem) for record in records] == [False, False, True, True]


def test_members_outside_of_a_shard_are_but_names(ictc: Ictc, tmp_path: Path) -> None:
    image = draw_image(tmp_path / "ad.png")
    names = ["../../escape.png", "/etc/absolute.png", "a/b.seg.png", "a/b.png", ".hidden.png", "plain.png"]
    write_shard(tmp_path / "tars" / "x.tar", dict.fromkeys(names, image))
    ictc.run(tmp_path / "tars", tmp_path / "out", "--steps", "1")
    assert sorted(load(tmp_path / "out", "step1_captions.json")) == ["../../escape", "a/b", "etc/absolute", "plain"]
    assert not list(tmp_path.rglob("escape*"))


def test_missing_packages_are_named(ictc: Ictc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    (tmp_path / "list.csv").write_text("url\nhttp://127.0.0.1:9/a.jpg\nhttp://127.0.0.1:9/b.jpg\n")
    for arguments in (("--ads_dir", "s3://bucket/x"), ("--images", tmp_path / "list.csv")):
        refused = ictc("run", *arguments, "--output_dir", tmp_path / "out", "--engine", "scripted", "--num_clusters", 2)
        assert refused.exit_code == 2
        assert "pip install 'ictc[remote]'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ads_dir", "s3://no-such-bucket/x"), "cannot be listed"),
        (("--ads_dir", "s3://ads-bucket/nothing-here"), "is empty or does not exist"),
        (("--ads_dir", "nosuch://x/y"), "Protocol not known"),
        (("--ads_dir", "abfs://container@account/x"), "needs a package that is missing: Install adlfs"),
        (("--ads_dir", "https://example.org/ads"), "--images"),
        (("--ads_dir", "ftp://me:hush@example.org/ads"), "no password in a URL"),
        (("--ads_dir", "tars-{0..3}.tar"), "does not exist"),
        (("--images", "list.txt"), "must end in"),
        (("--images", "s3://ads-bucket/nowhere.csv"), "cannot be read (not found)"),
        (("--ads_dir", "gs://no-such-bucket/x"), "cannot be listed (not found)"),
        (("--ads_dir", "gs://ads-bucket/nothing-here"), "is empty or does not exist"),
        (("--images", "gs://ads-bucket/nowhere.csv"), "cannot be read (not found)"),
    ],
)
def test_places_that_cannot_be_read_are_told_in_a_line(
    ictc: Ictc, s3: S3, gs: Gcs, tmp_path: Path, arguments: tuple[str, str], said: str
) -> None:
    refused = ictc("run", *arguments, "--output_dir", tmp_path / "out", "--engine", "scripted")
    assert refused.exit_code in {1, 2}
    assert said in refused.stderr
    assert "hush" not in refused.stderr
    assert refused.stderr.count("\n") <= 2, refused.stderr


def test_a_bucket_that_takes_nothing_is_told_before_a_step_begins(ictc: Ictc, s3: S3, gs: Gcs, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 3)
    for url in ("s3://no-such-bucket/x", "gs://no-such-bucket/x"):
        refused = ictc.run(ads, url, "--work_dir", tmp_path / "work")
        assert refused.exit_code == 1
        assert refused.stderr.startswith(f"ictc: error: cannot write to {url}: ")
        assert refused.stderr.count("\n") == 1
        assert not (tmp_path / "work" / "state" / "manifest.jsonl").exists()


def test_a_stranger_to_google_is_told_in_a_line(ictc: Ictc, tmp_path: Path) -> None:
    with gcs_for_nobody():
        refused = ictc(
            "run", "--ads_dir", "gs://ads-bucket/x", "--output_dir", tmp_path / "out", "--engine", "scripted"
        )
    _, error = refused.stderr.splitlines()
    assert error.startswith("ictc: error: gs://ads-bucket/x cannot be listed (Anonymous caller does not have")
