"""Where the time of a run goes: what it waited for most is what was slow, and all of its time is told."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest
from PIL import Image
from support.cli import Ictc
from support.collections import draw_flat
from support.fault_server import MODEL, Reply, failure, say, serving
from support.faulty_reads import FaultyReads
from support.hostile_http import HostileServer, hostile_server
from support.side_by_side import Script, Texts, run_side_by_side

from ictc.dataset import patience
from ictc.dataset.fetching import http
from ictc.runs.waits import shares_of
from ictc.stages import supervisor

STEP_1 = ("--steps", "1", "--report", "off")
ONE_AT_A_TIME = ("--decode_workers", "1")


@pytest.fixture
def ictc(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ictc:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Ictc(capsys)


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 60)


def table_of(server: HostileServer, path: Path, count: int) -> Path:
    path.write_text("id,url\n" + "".join(f"{number},{server.url}/good/{number}\n" for number in range(count)))
    return path


def waited(ictc: Ictc, out: Path, stage: str = "caption") -> dict[str, float]:
    """Return the shares of a step's time by what it waited for, which together are all of it."""
    outcome = ictc("status", out, "--json")
    steps = {step["stage"]: step for step in orjson.loads(outcome.stdout)["steps"]}
    shares: dict[str, float] = steps[stage]["waited"]
    assert sum(shares.values()) == pytest.approx(1, abs=0.0005 * len(shares))
    assert 0 <= steps[stage]["computing"] <= 1
    return shares


def largest(shares: Mapping[str, float]) -> str:
    return max(shares, key=lambda wait: shares[wait])


def engine(**options: Any) -> tuple[str, str]:
    return ("--engine_options", orjson.dumps(options).decode())


def test_a_slow_engine_is_full(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", *engine(latency_s=0.2, window=4), *STEP_1)
    assert largest(waited(ictc, tmp_path / "out")) == "engine"
    assert "engine full" in ictc("status", tmp_path / "out").stdout.splitlines()[2]


def test_a_limit_of_the_user_counts_as_the_engine(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", *engine(latency_s=0.1), "--batch_vlm", 2, *STEP_1)
    assert largest(waited(ictc, tmp_path / "out")) == "engine"


def test_an_engine_with_room_for_all_is_waited_for_at_the_end(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", *engine(latency_s=2.0), *STEP_1)
    assert largest(waited(ictc, tmp_path / "out")) == "last_answers"


def test_a_slow_disk(ictc: Ictc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FaultyReads(tmp_path / "faults")
    monkeypatch.syspath_prepend(disk.hook)
    disk.begin("slow")
    ads = draw_flat(tmp_path / "many", 150)
    ictc.succeed(ads, tmp_path / "out", *ONE_AT_A_TIME, *STEP_1)
    assert largest(waited(ictc, tmp_path / "out")) == "disk"


def test_a_slow_server_of_images(ictc: Ictc, tmp_path: Path) -> None:
    with hostile_server() as server:
        server.delay_s = 0.3
        table = table_of(server, tmp_path / "images.csv", 60)
        web = ("--images", table, "--allow_private_addresses", "--download_concurrency", 4)
        outcome = ictc("run", "--output_dir", tmp_path / "out", "--engine", "scripted", *web, *STEP_1)
    assert outcome.exit_code == 0, outcome.stderr
    assert largest(waited(ictc, tmp_path / "out")) == "downloads"


def test_images_that_take_long_to_decode(ictc: Ictc, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(6):
        Image.effect_noise((1600, 1200), 90 + number).convert("RGB").save(folder / f"{number}.png", compress_level=1)
    ictc.succeed(folder, tmp_path / "out", *ONE_AT_A_TIME, *STEP_1)
    assert largest(waited(ictc, tmp_path / "out")) == "decoding"


def test_a_slow_disk_of_the_journal(ictc: Ictc, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def slow_fsync(descriptor: int) -> None:
        time.sleep(0.05)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow_fsync)
    ictc.succeed(ads, tmp_path / "out", *engine(latency_s=0.05, window=8), "--ckpt_vlm", 1, "--max_images", 40, *STEP_1)
    assert largest(waited(ictc, tmp_path / "out")) == "journal"


def test_a_folder_that_is_away(ictc: Ictc, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.05)
    disk = FaultyReads(tmp_path / "faults")
    monkeypatch.syspath_prepend(disk.hook)

    def heal() -> None:
        disk.wait_until_struck()
        disk.begin("ESTALE")
        time.sleep(3.0)
        disk.end()

    disk.begin("ESTALE", "ad_030.png")
    healing = Thread(target=heal)
    healing.start()
    ictc.succeed(ads, tmp_path / "out", *STEP_1)
    healing.join()
    assert largest(waited(ictc, tmp_path / "out")) == "outage"
    assert "waiting for the service" in ictc("status", tmp_path / "out").stdout


def test_a_server_of_images_that_asks_to_wait(ictc: Ictc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_BACKOFF_S", 0.01)
    with hostile_server() as server:
        table = tmp_path / "images.csv"
        table.write_text("id,url\n" + "".join(f"{n},{server.url}/busy?{n}\n" for n in range(12)))
        web = ("--images", table, "--allow_private_addresses")
        outcome = ictc("run", "--output_dir", tmp_path / "out", "--engine", "scripted", *web, *STEP_1)
    assert outcome.exit_code == 0, outcome.stderr
    assert largest(waited(ictc, tmp_path / "out")) == "outage"


def test_a_server_of_the_model_that_asks_to_wait(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    num_calls = 0

    def answer(body: Mapping[str, Any]) -> Reply:
        nonlocal num_calls
        num_calls += 1
        return failure(429, headers={"Retry-After": "3"}) if num_calls == 5 else say(body)

    with serving(answer) as server:
        options = engine(window=2)
        model = ("--base_url", server.url, "--vlm_model", MODEL)
        outcome = ictc.run(ads, tmp_path / "out", *model, *options, "--max_images", 20, *STEP_1, engine="openai")
    assert outcome.exit_code == 0, outcome.stderr
    assert largest(waited(ictc, tmp_path / "out")) == "pause"


def test_one_engine_of_four_that_does_not_come_back_is_a_quarter_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RELOAD_PAUSE_S", 0.0)
    works, fails = [Script(latency_s=0.05)], [Script(dies_after=0), Script(starts=False)]
    report = run_side_by_side(tmp_path, Texts(600), [works, works, works, fails])
    shares = shares_of(report.waited_s)
    assert shares["restart"] == pytest.approx(0.25, abs=0.03)
    assert shares["engine"] == pytest.approx(0.75, abs=0.15)


def test_several_tracks_over_the_same_images_share_their_times(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", "--track", "1,2", *engine(latency_s=0.2, window=8), *STEP_1)
    outs = [tmp_path / "out" / name for name in ("full_run", "track2_identity")]
    first, second = (waited(ictc, out) for out in outs)
    assert largest(first) == largest(second) == "engine"
    assert first["engine"] == pytest.approx(second["engine"], abs=0.02)


class TestTelling:
    def test_the_log_says_it_at_the_end_of_each_step(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "out")
        (log,) = (tmp_path / "out" / "logs").glob("ictc_*.log")
        said = [line for line in log.read_text().splitlines() if "ictc.runs.progress: Step " in line]
        assert [line.partition("progress: ")[2].partition(":")[0] for line in said] == [
            *("Step 1 captions", "Step 2a labels", "Step 3 assignments")
        ]
        assert all("%" in line for line in said)

    def test_a_progress_file_of_an_earlier_version(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "out", *STEP_1)
        path = tmp_path / "out" / "state" / "progress.json"
        saved = orjson.loads(path.read_bytes())
        for name in ("waited_s", "computed_s"):
            del saved["steps"]["caption"][name]
        path.write_bytes(orjson.dumps(saved))
        (step,) = orjson.loads(ictc("status", tmp_path / "out", "--json").stdout)["steps"]
        assert (step["done"], step["waited"], step["computing"]) == (60, None, None)
        assert len(ictc("status", tmp_path / "out").stdout.splitlines()) == 2
