"""`ictc run` when things go wrong on the way: dying and hanging engines, poison images, too many rejections."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, load, start_ictc
from support.collections import draw_flat


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 20)


@pytest.fixture
def ictc(capsys: pytest.CaptureFixture[str]) -> Ictc:
    return Ictc(capsys)


def rejected(output_dir: Path) -> dict[str, str]:
    """Return the reasons of the rejected images."""
    rows = [orjson.loads(line) for line in (output_dir / "rejected.jsonl").read_bytes().splitlines()]
    return {row["image_id"]: row["reason"] for row in rows}


def captions_of(output_dir: Path) -> dict[str, object]:
    return {**load(output_dir, "step1_captions.json"), **load(output_dir, "ui_only_images.json")}


@pytest.mark.parametrize("poison", [["ad_007"], ["ad_000", "ad_001"], ["ad_003", "ad_010", "ad_019"]])
@pytest.mark.parametrize("window", [1, 5, 64])
def test_an_image_that_kills_the_engine_every_time_costs_itself_alone(
    ictc: Ictc, ads: Path, tmp_path: Path, poison: list[str], window: int
) -> None:
    options = orjson.dumps({"die_on": poison, "window": window}).decode()
    outcome = ictc.succeed(ads, tmp_path / "out", "--engine_options", options)
    assert "restarting it" in outcome.stderr
    assert set(rejected(tmp_path / "out")) == set(poison)
    assert all("quarantined: the engine died 2 times" in reason for reason in rejected(tmp_path / "out").values())
    ictc.succeed(ads, tmp_path / "healthy")
    expected = {key: value for key, value in captions_of(tmp_path / "healthy").items() if key not in poison}
    assert captions_of(tmp_path / "out") == expected


def test_an_image_that_hangs_the_engine_costs_itself_alone(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    outcome = ictc.succeed(
        ads, tmp_path / "out", "--engine_options", '{"hang_on": ["ad_004"]}', "--hang_timeout_s", 0.5, "--steps", "1"
    )
    assert "no result for 0.5 s" in outcome.stderr
    assert set(rejected(tmp_path / "out")) == {"ad_004"}
    assert len(captions_of(tmp_path / "out")) == 19


def test_an_engine_that_always_dies_is_given_up_soon(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    options = orjson.dumps({"die_on": [f"ad_{number:03d}" for number in range(20)]}).decode()
    outcome = ictc.run(ads, tmp_path / "out", "--engine_options", options, "--max_rejected", 0.5, "--steps", "1")
    assert outcome.exit_code == 1
    assert "it failed 5 times in a row" in outcome.stderr
    assert outcome.stderr.count("restarting it") <= 20
    assert rejected(tmp_path / "out") == {}  # an engine that has answered nothing convicts nobody


def test_an_engine_that_dies_in_step_2b_is_restarted_once(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    outcome = ictc.run(ads, tmp_path / "out", "--engine_options", '{"die_on": ["synthesize"]}')
    assert outcome.exit_code == 1
    assert outcome.stderr.count("restarting it") == 1
    assert "died on 'synthesize'" in outcome.stderr
    ictc.succeed(ads, tmp_path / "out")


def test_a_run_that_goes_wrong_is_stopped(ictc: Ictc, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 260)
    options = orjson.dumps({"fail": [f"ad_{number:03d}" for number in range(0, 260, 3)]}).decode()
    stopped = ictc.run(ads, tmp_path / "out", "--steps", "1", "--engine_options", options)
    assert stopped.exit_code == 1
    assert "more than --max_rejected 0.2" in stopped.stderr
    assert len(rejected(tmp_path / "out")) > 60
    ictc.succeed(ads, tmp_path / "out", "--steps", "1", "--engine_options", options, "--max_rejected", 1)


def test_rejected_images_are_tried_again_when_asked(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", "--engine_options", '{"fail": ["ad_002"], "die_on": ["ad_009"]}')
    assert set(rejected(tmp_path / "out")) == {"ad_002", "ad_009"}
    ictc.succeed(ads, tmp_path / "out")
    assert set(rejected(tmp_path / "out")) == {"ad_002", "ad_009"}
    retried = ictc.succeed(ads, tmp_path / "out", "--retry_rejected")
    assert "Step 1 captions: 18/20" in retried.stderr
    assert rejected(tmp_path / "out") == {}


def kill_in_flight(ads: Path, output_dir: Path, num_in_flight: int, **options: object) -> None:
    """Run until so many images are in flight, and kill the process."""
    arguments = ("run", "--ads_dir", ads, "--output_dir", output_dir, "--engine", "scripted", "--num_clusters", 3)
    left = read_in_flight(output_dir)
    process = start_ictc(*arguments, "--engine_options", orjson.dumps(options).decode())
    while (log := read_in_flight(output_dir)) == left or log.count(b'+"') - log.count(b'-"') < num_in_flight:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()


def read_in_flight(output_dir: Path) -> bytes:
    return b"".join(path.read_bytes() for path in output_dir.glob("state/caption/*/in_flight.log"))


def test_what_was_in_flight_at_one_kill_is_no_suspect(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    kill_in_flight(ads, tmp_path / "out", 20, hang_on=["ad_000", "ad_001"], latency_s=60)
    assert "go first" not in ictc.succeed(ads, tmp_path / "out").stderr
    assert rejected(tmp_path / "out") == {}


def test_what_was_in_flight_at_two_kills_goes_first_in_halves(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    for _ in range(2):
        kill_in_flight(ads, tmp_path / "out", 20, hang_on=["ad_000", "ad_001"], latency_s=60)
    assert "20 images that were in flight at earlier deaths go first, in 2 groups" in (
        ictc.succeed(ads, tmp_path / "out").stderr
    )
    assert rejected(tmp_path / "out") == {}


@pytest.mark.clock
@pytest.mark.parametrize("num_kills", [1, 2])
def test_kills_with_a_hundred_images_in_flight_cost_the_rest_little(ictc: Ictc, tmp_path: Path, num_kills: int) -> None:
    ads = draw_flat(tmp_path / "ads", 300)
    for _ in range(num_kills):
        kill_in_flight(ads, tmp_path / "out", 100, window=100, latency_s=60)
    shutil.copytree(tmp_path / "out", tmp_path / "undisturbed", symlinks=True)
    for path in (tmp_path / "undisturbed").glob("state/caption/*/in_flight.log"):
        path.unlink()
    seconds = []
    for name in ("undisturbed", "out"):
        begun = time.monotonic()
        ictc.succeed(ads, tmp_path / name, "--steps", 1, "--engine_options", '{"window": 100, "latency_s": 1.0}')
        seconds.append(time.monotonic() - begun)
    assert rejected(tmp_path / "out") == {}
    assert seconds[1] <= 1.5 * seconds[0]
