"""`ictc plan` tells what a run would cost from the run's own flags, for people and for programs, and spends nothing."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.cli import Ictc
from support.collections import draw_flat

STEPS = ["Step 1 captions", "Step 2a labels", "Step 2b clusters", "Step 3 assignments", "Total"]


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    """12 images, of which 4 are copies."""
    folder = draw_flat(tmp_path / "ads", 8)
    for number in range(4):
        (folder / f"copy_{number}.png").write_bytes((folder / f"ad_{number:03d}.png").read_bytes())
    return folder


def plan(ictc: Ictc, ads: Path, *arguments: object) -> Any:
    outcome = ictc("plan", "--ads_dir", ads, "--json", *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return orjson.loads(outcome.stdout)


def test_it_tells_images_memory_steps_and_levers(ictc: Ictc, ads: Path) -> None:
    outcome = ictc("plan", "--ads_dir", ads, "--vlm_model", "Qwen/Qwen3.5-9B", "--gpu", "a100-40")
    assert outcome.exit_code == 0
    assert re.search(r"^Images +12 in ", outcome.stdout, re.MULTILINE)
    assert re.search(r"exact copies +about 4 \(33%\)", outcome.stdout)
    assert "fits: weights 18 GB" in outcome.stdout
    assert re.findall(r"^(Step \w+ \w+|Total) ", outcome.stdout, re.MULTILINE) == STEPS
    assert "What would change that:" in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 120


def test_it_takes_the_command_of_a_run_as_it_is(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--output_dir", out, "--steps", "1,2a", "--num_clusters", 8, "--track", "1,2,3", "--dedupe", "off")
    planned = plan(ictc, ads, *flags)
    assert [(step["step"], step["requests"]) for step in planned["steps"]] == [("caption", 36), ("label", 36)]
    assert not out.exists()


def test_copies_are_asked_about_once(ictc: Ictc, ads: Path) -> None:
    planned = plan(ictc, ads)
    assert planned["distinct_share"] == pytest.approx(8 / 12)
    assert planned["steps"][0]["requests"] == 8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), r"5 of at most 12 labels\n +context +Step 2b takes [\d,]+ to [\d,]+ tokens, of 4,096"),
        (("--num_clusters", 12, "--max_model_len", 512), r"no: Step 2b takes at least .* set --max_model_len to"),
        (("--num_clusters", 50), r"no: 12 images can't make 50 clusters: lower --num_clusters"),
        (("--engine", "openai", "--base_url", "http://localhost:1/v1"), r"Step 2b takes [\d,]+ to [\d,]+ tokens\n"),
    ],
)
def test_whether_clusters_labels_and_context_go_together(
    ictc: Ictc, ads: Path, flags: tuple[object, ...], words: str
) -> None:
    outcome = ictc("plan", "--ads_dir", ads, *flags)
    assert outcome.exit_code == 0, outcome.stderr
    assert re.search(words, outcome.stdout), outcome.stdout
    clusters = plan(ictc, ads, *flags)["clusters"]
    assert clusters["fits"] == ("no: " not in words)
    assert plan(ictc, ads, *flags, "--steps", "1,2a")["clusters"] is None


def test_many_clusters_are_planned_with_the_context_that_they_need(ictc: Ictc, ads: Path) -> None:
    for number in range(150):
        (ads / f"more_{number}.png").write_bytes((ads / "ad_001.png").read_bytes())
    clusters = plan(ictc, ads, "--num_clusters", 100)["clusters"]
    assert clusters["fits"]
    assert clusters["context"] >= clusters["context_needed"]["ample"] > 4096


def test_a_price_makes_costs(ictc: Ictc, ads: Path) -> None:
    planned = plan(ictc, ads, "--price_per_hour", 2.5, "--replicas", 2)
    assert planned["num_gpus"] == 2
    assert planned["cost"] == pytest.approx(planned["hours"] * 2.5 * 2)
    table = ictc("plan", "--ads_dir", ads, "--price_per_hour", 2.5).stdout
    assert re.search(r"limit +at peak +at 45% +cost$", table, re.MULTILINE)


def test_what_does_not_fit_is_told_with_what_would(ictc: Ictc, ads: Path) -> None:
    outcome = ictc("plan", "--ads_dir", ads, "--gpu", "l4")
    assert outcome.exit_code == 0
    assert "27B does not fit" in outcome.stdout
    assert re.search(r"What would run:(.*\n)+  --num_gpus 4 ", outcome.stdout)
    assert "Step 1" not in outcome.stdout


def test_calibrate_measures_the_engine_of_the_settings(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    slow = ("--engine", "scripted", "--engine_options", '{"latency_s": 0.05, "window": 1}')
    planned = plan(ictc, ads, *slow, "--calibrate", 8, "--output_dir", tmp_path / "out")
    caption, label, clusters, assignment = planned["steps"]
    assert 0 < caption["measured_per_second"] < 20
    assert caption["measured_tokens"] > 0
    assert caption["hours"] == pytest.approx(8 / caption["measured_per_second"] / 3600)
    assert label["hours"] > 0
    assert assignment["hours"] > 0
    assert clusters["hours"] is None
    assert planned["hours"] == pytest.approx(caption["hours"] + label["hours"] + assignment["hours"])
    assert not (tmp_path / "out").exists()


def test_measured_times_stand_beside_the_limits(ictc: Ictc, ads: Path) -> None:
    outcome = ictc("plan", "--ads_dir", ads, "--engine", "scripted", "--calibrate", 4, "--steps", "1,2a")
    assert outcome.exit_code == 0, outcome.stderr
    assert "measured" in outcome.stdout.splitlines()[5]
    assert re.search(r"Measured: Step 1 captions, 4 requests at [\d,.]+/s", outcome.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gpu", "h1000"), "--gpu h1000 is not known; did you mean h100? known are v100-16"),
        (("--price_per_hour", -1), "price_per_hour"),
        (("--track", "general"), "--track general needs --criterion"),
        (("--num_clusters", 1), "--num_clusters 1: "),
    ],
)
def test_a_wrong_command_is_refused_in_a_line(
    ictc: Ictc, ads: Path, arguments: tuple[object, ...], message: str
) -> None:
    refused = ictc("plan", "--ads_dir", ads, *arguments)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_images_in_tar_shards_are_looked_at_and_measured(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    with tarfile.open(folder / "ads-000.tar", "w") as shard:
        shard.add(ads, arcname="ads")
    cache = ("--cache_dir", tmp_path / "cache")
    planned = plan(ictc, folder, *cache, "--engine", "scripted", "--calibrate", 6)
    assert (planned["images"], planned["unreadable"], planned["distinct_share"]) == (12, 0, 1)
    assert planned["steps"][0]["measured_per_second"] > 0
    assert "not looked for" in ictc("plan", "--ads_dir", folder, *cache).stdout


def test_calibrating_needs_a_readable_image(ictc: Ictc, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    refused = ictc("plan", "--ads_dir", tmp_path, "--engine", "scripted", "--calibrate", 1)
    assert refused.exit_code == 1
    assert "no readable image" in refused.stderr
