"""`ictc run` when things go wrong on the way: dying and hanging engines, poison images, too many rejections."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, load, start_ictc
from support.collections import draw_flat


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 20)


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


@pytest.mark.parametrize(
    ("num_images", "num_bad", "ends_well"), [(3, 1, True), (10, 2, True), (10, 3, False), (5, 5, False)]
)
def test_a_step_is_judged_at_its_end_whatever_the_number_of_images(
    ictc: Ictc, tmp_path: Path, num_images: int, num_bad: int, ends_well: bool
) -> None:
    ads = draw_flat(tmp_path / "ads", num_images)
    options = orjson.dumps({"fail": [f"ad_{number:03d}" for number in range(num_bad)]}).decode()
    common = ("--steps", "1", "--engine_options", options)
    for _ in range(2):
        outcome = ictc.run(ads, tmp_path / "out", *common)
        assert outcome.exit_code == (0 if ends_well else 1), outcome.stderr
        assert len(rejected(tmp_path / "out")) == num_bad
        if not ends_well:
            *_, last = outcome.stderr.splitlines()
            assert f"{num_bad} of {num_images} images are rejected, more than --max_rejected 0.2 allows" in last
            assert f"most often ({num_bad}): " in last
            assert f"`ictc retry {tmp_path / 'out'}` tries them again" in last
    retried = ictc("retry", tmp_path / "out")
    assert retried.exit_code == outcome.exit_code
    ictc.succeed(ads, tmp_path / "out", *common, "--max_rejected", 1)


def test_copies_of_a_rejected_image_count_once(ictc: Ictc, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 12)
    for number in range(1, 6):
        (ads / f"ad_{number:03d}.png").write_bytes((ads / "ad_000.png").read_bytes())
    ictc.succeed(ads, tmp_path / "out", "--steps", "1", "--engine_options", '{"fail": ["ad_000"]}')
    assert len(rejected(tmp_path / "out")) == 6


def test_broken_images_have_a_brake_of_their_own(ictc: Ictc, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 10)
    for number in range(6):
        (ads / f"ad_{number:03d}.png").write_text("version https://git-lfs.github.com/spec/v1")
    stopped = ictc.run(ads, tmp_path / "out")
    assert stopped.exit_code == 1
    *_, last = stopped.stderr.splitlines()
    assert "6 of 10 images are broken, more than --max_broken 0.5 allows; most often (6): is a Git LFS pointer" in last
    assert not (tmp_path / "out" / "step2b_dynamic_clusters.json").exists()
    ictc.succeed(ads, tmp_path / "out", "--max_broken", 0.6, "--num_clusters", 2)


def test_a_run_without_any_image_to_cluster_names_the_reason(ictc: Ictc, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 4)
    for path in ads.iterdir():
        path.write_text(f"no image {path.name}")
    for tolerance in (0.5, 1):
        failed = ictc.run(ads, tmp_path / "out", "--max_broken", tolerance)
        assert failed.exit_code == 1
        *_, last = failed.stderr.splitlines()
        assert "is not an image, or not of a supported format" in last
        assert "num_clusters" not in last
    ictc.succeed(ads, tmp_path / "shard", "--max_broken", 1, "--steps", "1,2a")


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
