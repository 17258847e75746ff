"""`ictc status` tells how far runs are and whether they live, and leaves everything as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.cli import Ictc, start_ictc
from support.collections import draw_flat

from ictc.storage.lock import SILENT_AFTER_S

REJECTIONS = {"fail": ["ad_001", "ad_002"], "invalid": ["ad_003"]}
COUNTED = {"refused by the engine": 2, "answer not valid": 1}


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 20)


@contextmanager
def run_in_background(ads: Path, out: Path, *arguments: object, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A run that is killed when the block ends; `options` script its engine."""
    clusters = () if "--num_clusters" in arguments else ("--num_clusters", 3)
    common = ("--ads_dir", ads, "--output_dir", out, "--engine", "scripted", *clusters)
    with start_ictc("run", *common, "--engine_options", orjson.dumps(options).decode(), *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read_status(ictc: Ictc, *directories: Path) -> list[dict[str, Any]]:
    """Return the objects of `ictc status --json`."""
    outcome = ictc("status", *directories, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    return [orjson.loads(line) for line in outcome.stdout.splitlines()]


def only_run(ictc: Ictc, out: Path) -> dict[str, Any]:
    (run,) = read_status(ictc, out)
    return run


def steps_of(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["stage"]: step for step in run["steps"]}


def progress(out: Path) -> dict[str, Any]:
    """Return what the progress file says of the captions, {} while there is none."""
    path = out / "state" / "progress.json"
    return orjson.loads(path.read_bytes())["steps"]["caption"] if path.exists() else {}


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return everything that writing would change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


class TestStates:
    def test_a_run_at_work(self, ictc: Ictc, ads: Path, out: Path) -> None:
        with run_in_background(ads, out, latency_s=0.6, window=1, **REJECTIONS) as process:
            wait_until(lambda: progress(out).get("done_now", 0) >= 5)
            run = only_run(ictc, out)
        caption = steps_of(run)["caption"]
        assert (run["state"], run["track"], run["criterion"]) == ("running", "marketing", "Marketing Strategy")
        assert f"process {process.pid} on " in run["owner"]
        assert (caption["state"], caption["total"]) == ("running", 20)
        assert 5 <= caption["done"] < 20
        assert 0.2 < caption["images_per_second"] < 1.7
        assert caption["eta_s"] == pytest.approx((20 - caption["done"]) / caption["images_per_second"])
        assert caption["last_result_s"] < 10
        assert caption["rejected"] == COUNTED
        assert max(caption["waited"], key=caption["waited"].get) == "engine"

    def test_the_progress_file_lives_while_nothing_finishes(self, ads: Path, out: Path) -> None:
        with run_in_background(ads, out, hang_on=["ad_011"], window=2):
            wait_until(lambda: progress(out).get("done_now", 0) == 19)
            before = progress(out)
            wait_until(lambda: progress(out)["updated_at"] > before["updated_at"])
        assert progress(out)["last_result_at"] == before["last_result_at"]

    def test_a_finished_run(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--engine_options", orjson.dumps(REJECTIONS).decode())
        run = only_run(ictc, out)
        steps = steps_of(run)
        assert run["state"] == "finished"
        assert [(name, step["state"], step["done"] == step["total"]) for name, step in steps.items()] == [
            (name, "finished", True) for name in ("caption", "label", "synthesize", "assign")
        ]
        assert steps["caption"]["rejected"] == COUNTED
        assert all(step["eta_s"] is None for step in steps.values())

    def test_a_stopped_run(self, ictc: Ictc, ads: Path, out: Path) -> None:
        with run_in_background(ads, out, latency_s=0.2, window=2) as process:
            wait_until(lambda: bool(progress(out)))
            process.send_signal(signal.SIGTERM)
            process.communicate()
        run = only_run(ictc, out)
        assert (run["state"], steps_of(run)["caption"]["state"]) == ("stopped", "stopped")

    def test_a_failed_run(self, ictc: Ictc, ads: Path, out: Path) -> None:
        fewer_ads = ("--engine_options", orjson.dumps(REJECTIONS).decode())
        assert ictc.run(ads, out, "--num_clusters", 20, *fewer_ads).exit_code == 1
        run = only_run(ictc, out)
        assert run["state"] == "failed"
        assert steps_of(run)["label"]["state"] == "finished"

    def test_a_killed_run_is_dead(self, ictc: Ictc, ads: Path, out: Path) -> None:
        with run_in_background(ads, out, hang_on=["ad_011"], window=2) as process:
            wait_until(lambda: progress(out).get("done_now", 0) == 19)
            process.kill()
            process.communicate()
        run = only_run(ictc, out)
        assert (run["state"], steps_of(run)["caption"]["state"]) == ("dead", "dead")
        assert steps_of(run)["caption"]["done"] == 19

    def test_a_run_elsewhere_is_judged_by_its_signs_of_life(self, ictc: Ictc, ads: Path, out: Path) -> None:
        with run_in_background(ads, out, hang_on=["ad_011"]):
            wait_until(lambda: bool(progress(out)))
        (lock,) = out.glob("state/lock-*.json")
        lock.write_bytes(orjson.dumps({**orjson.loads(lock.read_bytes()), "host": "elsewhere", "machine": "other"}))
        assert only_run(ictc, out)["state"] == "running"
        long_ago = time.time() - SILENT_AFTER_S - 1
        os.utime(lock, (long_ago, long_ago))
        run = only_run(ictc, out)
        assert (run["state"], steps_of(run)["caption"]["state"]) == ("stale", "stale")
        assert "on elsewhere" in run["owner"]

    def test_a_step_of_a_killed_run_waits_while_an_earlier_one_runs_again(
        self, ictc: Ictc, ads: Path, out: Path
    ) -> None:
        ictc.succeed(ads, out, "--steps", "1")
        with run_in_background(ads, out, hang_on=["ad_011"]):
            wait_until(lambda: steps_of(only_run(ictc, out)).get("label", {}).get("state") == "running")
        time.sleep(1.1)  # the start of a run is kept in whole seconds
        with run_in_background(ads, out, "--force_steps", "1", hang_on=["ad_005"]):
            wait_until(lambda: steps_of(only_run(ictc, out))["caption"]["state"] == "running")
            assert steps_of(only_run(ictc, out))["label"]["state"] == "waiting"


class TestCounts:
    def test_without_a_progress_file_the_journals_tell(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--engine_options", orjson.dumps(REJECTIONS).decode())
        counted = [(step["done"], step["total"], step["rejected"]) for step in only_run(ictc, out)["steps"]]
        for content in (b"", b'{"steps": {"caption": 1}}', b"{"):
            (out / "state" / "progress.json").write_bytes(content)
            again = only_run(ictc, out)
            assert [(step["done"], step["total"], step["rejected"]) for step in again["steps"]] == counted

    def test_counts_are_those_of_the_result_in_use(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        before = steps_of(only_run(ictc, out))["assign"]
        with run_in_background(ads, out, "--num_clusters", 4, hang_on=["ad_011"]):
            wait_until(lambda: steps_of(only_run(ictc, out))["assign"]["state"] == "running")
        ictc.succeed(ads, out)  # back to the first clusters, without asking anything again
        after = steps_of(only_run(ictc, out))["assign"]
        assert (after["state"], after["done"], after["total"]) == ("finished", before["done"], before["total"])

    def test_what_succeeded_later_is_not_rejected(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--engine_options", orjson.dumps(REJECTIONS).decode())
        ictc.succeed(ads, out, "--retry_rejected", "--engine_options", '{"fail": ["ad_002"]}')
        assert steps_of(only_run(ictc, out))["caption"]["rejected"] == {"refused by the engine": 1}


class TestLooking:
    def test_nothing_is_written_not_even_a_torn_tail_cut(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        (out / "state" / "progress.json").unlink()
        (segment,) = out.glob("state/caption/*/*.jsonl")
        segment.write_bytes(segment.read_bytes() + b"00000000 {")
        before = snapshot(out)
        assert ictc("status", out).exit_code == 0
        assert snapshot(out) == before

    def test_tracks_and_shards_are_found_below_the_output_folder(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--track", "1,2")
        ictc.succeed(ads, out, "--start_index", 2, "--end_index", 9, "--shard_id", "shard_0")
        ictc.succeed(ads, out, "--track", "1,3", "--shard_id", "deep")
        names = ["deep/full_run", "deep/track3_cultural", "full_run", "shard_0", "track2_identity"]
        assert [run["directory"] for run in read_status(ictc, out)] == [str(out / name) for name in names]
        assert len(read_status(ictc, out, out / "shard_0")) == len(names)

    def test_runs_in_the_folder_of_another_are_found(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        ictc.succeed(ads, out, "--track", "1,2")
        (out / "cycle").symlink_to("cycle")
        names = [str(out), *(str(out / name) for name in ("full_run", "track2_identity"))]
        assert [run["directory"] for run in read_status(ictc, out)] == names
        assert ictc("verify", out).stdout.splitlines() == [f"{name}: in order" for name in names]

    def test_the_table_has_a_row_for_each_step(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--engine_options", orjson.dumps(REJECTIONS).decode())
        lines = ictc("status", out).stdout.splitlines()
        assert lines[0].split() == ["RUN", "STATE", "STEP", "DONE", "OF", "IMAGES/S", "ETA", "LAST", "REJECTED"]
        assert lines[1].startswith(f"{out}  finished  Step 1 captions")
        assert lines[1].endswith("2 refused by the engine, 1 answer not valid")
        assert " 20 20 100% " in " ".join(lines[1].split())
        assert ["%" in line and "; the main thread computed " in line for line in lines[1:]] == [
            *(False, True, False, True),  # the two steps over images, each with where its time went
            *(False, False, True),
        ]

    def test_a_folder_without_a_run_is_a_wrong_command(self, ictc: Ictc, tmp_path: Path) -> None:
        outcome = ictc("status", tmp_path)
        assert outcome.exit_code == 2
        assert "no run directory here or below" in outcome.stderr

    def test_watching_ends_when_all_runs_have_finished(self, ads: Path, out: Path) -> None:
        with run_in_background(ads, out, latency_s=0.05, window=1):
            wait_until(lambda: bool(progress(out)))
            with start_ictc("status", out, "--watch", "--json", "--interval_s", 0.2) as watch:
                lines, _ = watch.communicate(timeout=60)
        states = [orjson.loads(line)["state"] for line in lines.splitlines()]
        assert watch.returncode == 0
        assert states[0] == "running"
        assert states[-1] == "finished"

    def test_watching_ends_at_control_c(self, ads: Path, out: Path) -> None:
        with run_in_background(ads, out, hang_on=["ad_011"]):
            wait_until(lambda: bool(progress(out)))
            with start_ictc("status", out, "--watch", "--interval_s", 0.2) as watch:
                assert watch.stdout is not None
                watch.stdout.readline()
                watch.send_signal(signal.SIGINT)
                _, stderr = watch.communicate(timeout=10)
        assert (watch.returncode, stderr) == (0, "")
