"""`ictc run` when things go wrong on the way: dying and hanging engines, poison images, too many rejections."""

from __future__ import annotations

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
    assert "no result for 0 s" in outcome.stderr or "no result for 1 s" in outcome.stderr
    assert set(rejected(tmp_path / "out")) == {"ad_004"}
    assert len(captions_of(tmp_path / "out")) == 19


def test_an_engine_that_always_dies_is_given_up_soon(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    options = orjson.dumps({"die_on": [f"ad_{number:03d}" for number in range(20)]}).decode()
    outcome = ictc.run(ads, tmp_path / "out", "--engine_options", options, "--max_rejected", 0.5, "--steps", "1")
    assert outcome.exit_code == 0 or "died 3 times" in outcome.stderr
    assert outcome.stderr.count("restarting it") <= 2 * 20


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


def test_what_was_in_flight_at_a_kill_goes_first_and_alone(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    arguments = ("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", "--engine", "scripted", "--num_clusters", 3)
    process = start_ictc(*arguments, "--engine_options", '{"hang_on": ["ad_000", "ad_001"]}')
    while not any(
        b'+"ad_001"' in path.read_bytes() for path in (tmp_path / "out").glob("state/caption/*/in_flight.log")
    ):
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert "one at a time" in ictc.succeed(ads, tmp_path / "out").stderr
    assert rejected(tmp_path / "out") == {}
