"""`ictc run --executor ray` on a real cluster of two nodes: what a local run gives, whatever dies."""

from __future__ import annotations

import importlib.util
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat
from support.ray_cluster import TwoNodes, recorded_ids, run_on, start_on, wait_for_records

pytest.importorskip("ray")

pytestmark = pytest.mark.timeout(300)

FEW = ("--num_clusters", 3, "--engine", "scripted", "--decode_workers", 2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with TwoNodes() as cluster:
        yield cluster


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_ads(tmp_path / "ads", 60)


def draw_ads(folder: Path, count: int) -> Path:
    """Draw images of which every sixth is a copy, and two broken files."""
    draw_flat(folder, count)
    for number in range(5, count, 6):
        (folder / f"ad_{number:03d}.png").write_bytes((folder / f"ad_{number // 6:03d}.png").read_bytes())
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    return folder


def options(**scripted: Any) -> tuple[str, str]:
    return "--engine_options", orjson.dumps(scripted).decode()


def test_it_gives_what_a_local_run_gives(ictc: Ictc, cluster: TwoNodes, ads: Path, tmp_path: Path) -> None:
    trouble = options(window=8, latency_s=0.01, fail=["ad_002"], invalid=["ad_004"], die_on=["ad_013"])
    given = (*trouble, "--allow_none", "--evidence")
    ictc.succeed(ads, tmp_path / "local", *given)
    stderr = run_on(cluster, "run", "--ads_dir", ads, "--output_dir", tmp_path / "ray", *FEW, *given, "--replicas", 2)
    assert exported_bytes(tmp_path / "ray") == exported_bytes(tmp_path / "local")
    assert "quarantined: the engine died 2 times with this image" in (tmp_path / "ray" / "rejected.jsonl").read_text()
    assert "Step 1 captions: 10 of 62 are equal to others and share their answer" in stderr
    assert not re.search(r"WARNING|Dataset|core_worker", stderr), stderr
    assert ictc("verify", tmp_path / "ray").exit_code == 0
    for step in orjson.loads(ictc("status", tmp_path / "ray", "--json").stdout)["steps"]:
        known = {name for name, share in (step["waited"] or {}).items() if share > 0.02}
        assert known <= {"cluster", "journal"}, "all else is the workers' affair"


def test_two_tracks_look_at_each_image_once(ictc: Ictc, cluster: TwoNodes, ads: Path, tmp_path: Path) -> None:
    both = ("--track", "marketing,identity", "--steps", 1, *options(fail=["1:ad_003"]))
    ictc.succeed(ads, tmp_path / "local", *both)
    run_on(cluster, "run", "--ads_dir", ads, "--output_dir", tmp_path / "ray", *FEW, *both)
    for local in (tmp_path / "local").glob("*_*"):
        assert exported_bytes(tmp_path / "ray" / local.name) == exported_bytes(local)


def test_a_node_that_is_lost_costs_nothing(ictc: Ictc, cluster: TwoNodes, tmp_path: Path) -> None:
    ads = draw_ads(tmp_path / "ads", 240)
    ictc.succeed(ads, tmp_path / "local", "--steps", 1)
    slow = (*FEW, *options(window=4, latency_s=0.1), "--steps", 1, "--replicas", 2)
    out = tmp_path / "ray"
    process = start_on(cluster, "run", "--ads_dir", ads, "--output_dir", out, *slow)
    wait_for_records(process, out, 60)
    cluster.replace_node()
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stdout + stderr
    assert "raylet" not in stdout + stderr
    assert exported_bytes(out) == exported_bytes(tmp_path / "local")
    ids = recorded_ids(out, "caption")
    assert len(set(ids)) == len(ids) == 242


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_another_executor_goes_on_where_the_driver_died(
    ictc: Ictc, cluster: TwoNodes, tmp_path: Path, death: signal.Signals
) -> None:
    ads, out = draw_ads(tmp_path / "ads", 240), tmp_path / "out"
    slow = (*FEW, *options(window=2, latency_s=0.3, fail=["ad_002"]), "--replicas", 2)
    process = start_on(cluster, "run", "--ads_dir", ads, "--output_dir", out, *slow)
    wait_for_records(process, out, 20)
    process.send_signal(death)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if death == signal.SIGKILL else 128 + signal.SIGTERM), stderr
    done = len(recorded_ids(out, "caption"))
    assert 20 <= done < 242
    assert "Step 1 captions" in ictc("status", out).stdout
    ictc.succeed(ads, out, *options(fail=["ad_002"]))
    ictc.succeed(ads, tmp_path / "local", *options(fail=["ad_002"]))
    assert exported_bytes(out) == exported_bytes(tmp_path / "local")


class TestErrors:
    """Each is one line that says what to do, before anything starts."""

    def test_no_cluster(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        refused = ictc.run(ads, tmp_path / "out", "--executor", "ray", "--ray_address", "127.0.0.1:1")
        assert refused.exit_code == 1
        assert "--ray_address 127.0.0.1:1: no Ray cluster answers there" in refused.stderr

    def test_no_cluster_where_the_last_one_was(
        self, ictc: Ictc, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        refused = ictc.run(ads, tmp_path / "out", "--executor", "ray")
        assert refused.exit_code == 1
        assert "no Ray cluster answers at 127.0.0.1:1, where the last one here was" in refused.stderr

    def test_no_ray(self, ictc: Ictc, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find_spec(name))
        refused = ictc.run(ads, tmp_path / "out", "--executor", "ray")
        assert "pip install 'ictc[ray]'" in refused.stderr

    def test_too_few_gpus(self, cluster: TwoNodes, ads: Path, tmp_path: Path) -> None:
        model = ("--engine", "vllm", "--vlm_model", tmp_path, "--vlm_tp", 4)
        stderr = run_on(cluster, "run", "--ads_dir", ads, "--output_dir", tmp_path / "out", *model, exit_code=1)
        assert "is to run on 4 GPUs an engine, and the Ray cluster has 2 nodes with 4 CPUs and 2 GPUs" in stderr

    def test_an_engine_that_does_not_start(self, cluster: TwoNodes, ads: Path, tmp_path: Path) -> None:
        stderr = run_on(
            cluster, "run", "--ads_dir", ads, "--output_dir", tmp_path / "out", *FEW, *options(what=1), exit_code=2
        )
        assert stderr.splitlines()[-1].startswith("ictc: error: --engine_options: what: Extra inputs"), stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--ray_address", "auto"), "--ray_address belongs to --executor ray"),
            (("--executor", "ray", "--ray_address", "ray://head:10001"), "takes no URL"),
            (("--executor", "ray", "--gpu_ids", "0,1"), "chooses them itself"),
        ],
    )
    def test_impossible_commands(
        self, ictc: Ictc, ads: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
    ) -> None:
        refused = ictc.run(ads, tmp_path / "out", *arguments)
        assert refused.exit_code == 2
        assert message in refused.stderr


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_the_real_vllm_on_two_nodes(cluster: TwoNodes, tiny_checkpoint: Path, tmp_path: Path) -> None:
    ads, out = draw_ads(tmp_path / "ads", 10), tmp_path / "out"
    track = Path(__file__).parents[1] / "support" / "short_ads_track.py"
    run_on(
        *(cluster, "run", "--ads_dir", ads, "--output_dir", out, "--vlm_model", tiny_checkpoint, "--steps", 1),
        *("--track", track, "--enforce_eager", "--max_rejected", 1, "--replicas", 2),
    )
    ids = recorded_ids(out, "caption")
    assert len(set(ids)) == len(ids) == 12
    assert set(load(out, "broken_images.json")) == {"empty", "text"}
    assert load(out, "step1_captions.json")
