"""`ictc run --executor ray` with images that are no files: what a local run gives, and as politely."""

from __future__ import annotations

import asyncio
import pickle
import tarfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat
from support.hostile_http import HostileServer, hostile_server
from support.ray_cluster import TwoNodes, run_on
from support.s3 import S3, s3_server

from ictc.config import ModelSpec
from ictc.dataset.fetching.files import ImageFiles
from ictc.executors.engine_host import HostLimits
from ictc.executors.jobs import Finished, Job, iter_buffers, pack, unpack
from ictc.executors.ray_workers import Ask, LaneWork
from ictc.executors.remote_reader import RemoteReader
from ictc.records import DecodedImage, ImageRecord
from ictc.stages.outcome import Status
from ictc.stages.retry import FIRST
from ictc.stages.work import no_items
from ictc.steps.caption import CaptionStage
from ictc.tracks import load_track

pytest.importorskip("ray")

pytestmark = pytest.mark.timeout(300)

SCRIPTED = ("--engine", "scripted", "--steps", 1)
MOST_AT_ONCE = 4


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(s3: S3) -> Iterator[TwoNodes]:
    """Two nodes that find the S3 server by their environment."""
    with TwoNodes() as cluster:
        yield cluster


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def ictc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ictc:
    """The command line of a user with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Ictc(capsys)


def write_table(path: Path, rows: dict[str, str]) -> Path:
    """Write a table of images: addresses by id."""
    path.write_bytes(b"\n".join(orjson.dumps({"id": image_id, "url": url}) for image_id, url in rows.items()))
    return path


def write_shards(ads: Path, folder: Path) -> Path:
    """Write the images of a folder into tar shards of 10."""
    folder.mkdir()
    for number, path in enumerate(sorted(ads.iterdir())):
        with tarfile.open(folder / f"{number // 10}.tar", "a") as shard:
            shard.add(path, path.name)
    return folder


def test_addresses_of_all_kinds_are_asked_as_politely_as_by_one_machine(
    ictc: Ictc, s3: S3, server: HostileServer, cluster: TwoNodes, tmp_path: Path
) -> None:
    bucket = s3.put_tree(draw_flat(tmp_path / "ads", 16), "table")
    rows = {
        **{f"object{number}": f"ad_{number:03d}.png" for number in range(16)},
        **{name: f"{server.url}/{name}" for name in ("missing", "healing", "page", "to_good")},
        **{f"slow{number}": f"{server.url}/slow?{number}" for number in range(64)},
        **{f"good{number}": f"{server.url}/good/{number}" for number in range(20, 60)},
        "gone": "nothing.png",
    }
    images = ("--images", write_table(tmp_path / "list.jsonl", rows), "--ads_dir", bucket)
    options = orjson.dumps({"invalid": ["good30", "object5"], "fail": ["good31"]}).decode()
    flags = (*images, "--allow_private_addresses", *SCRIPTED, "--engine_options", options)
    local = ictc("run", "--output_dir", tmp_path / "local", *flags, "--downloads_per_host", 64)
    assert local.exit_code == 0, local.stderr
    server.forget()
    run_on(cluster, "run", "--output_dir", tmp_path / "ray", *flags, "--downloads_per_host", MOST_AT_ONCE)
    assert exported_bytes(tmp_path / "ray") == exported_bytes(tmp_path / "local")
    assert load(tmp_path / "ray", "broken_images.json").keys() == {"missing", "page", "gone"}
    assert 1 < server.most_at_once <= MOST_AT_ONCE
    assert server.requests["/healing"] >= 2


def test_shards_in_object_storage(ictc: Ictc, s3: S3, cluster: TwoNodes, tmp_path: Path) -> None:
    shards = write_shards(draw_flat(tmp_path / "ads", 40), tmp_path / "tars")
    ictc.succeed(shards, tmp_path / "local", "--steps", 1)
    url = s3.put_tree(shards, "tars")
    run_on(cluster, "run", "--ads_dir", url, "--output_dir", tmp_path / "ray", *SCRIPTED)
    assert exported_bytes(tmp_path / "ray") == exported_bytes(tmp_path / "local")


class NotHere:
    """Images that this machine cannot get."""

    def open(self, num_sharing: int = 1) -> AbstractAsyncContextManager[ImageFiles]:
        raise AssertionError("an image was fetched")

    def max_sharing(self) -> int:
        return 1


def test_an_image_that_is_asked_about_again_is_not_fetched_again() -> None:
    reader = RemoteReader(NotHere(), "off")
    stage = CaptionStage(
        items=no_items,
        track=load_track("marketing"),
        criterion="strategy",
        reader=reader,
        max_image_tokens=64,
        seed=0,
    )
    record, image = (
        ImageRecord("ad", path="https://example.org/ad.png"),
        DecodedImage(width=256, height=256, rgb=bytes(256 * 256 * 3)),
    )
    spec = ModelSpec(engine="scripted", model="scripted", options={"invalid": ["ad"]})

    async def answer() -> list[Finished]:
        elsewhere = pickle.dumps(([LaneWork(stage, "")], spec, HostLimits(window=None, hang_timeout_s=60), reader))
        reader.keep(record, image)
        job = Job(number=0, lane=0, item=record, request=await stage.build_request(record, FIRST))
        (buffer,) = iter_buffers(await Ask(*pickle.loads(elsewhere))(pack([[job]])))
        return unpack(buffer)

    (finished,) = asyncio.run(answer())
    assert finished.outcome.data["reason"].startswith("answer not valid")
    assert finished.outcome.status is Status.REJECTED
