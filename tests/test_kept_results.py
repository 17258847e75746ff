"""Finished results stay until what replaces them can be made, and a step that is forced is forced once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat, draw_image
from support.faulty_disk import ANY, Fault, When
from support.fork_server import Finished
from support.scripted_run import REJECTED, WINDOW, Reference, ScriptedRun

NO_ENGINE = ("--engine_options", '{"window": 0}')
"""Under which no engine can be loaded."""


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    ads = draw_flat(tmp_path / "ads", 12)
    for path in ads.iterdir():
        os.utime(path, (0, 0))  # of files just written a stamp tells nothing, so the next run stamps them anew
    return ads


def contents(root: Path) -> dict[Path, bytes]:
    """Return every file but logs and locks."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("lock"))
    return {path: path.read_bytes() for path in files if "logs" not in path.parts}


def fail_to_load(ictc: Ictc, ads: Path, out: Path, *arguments: object) -> None:
    refused = ictc.run(ads, out, *arguments, *NO_ENGINE)
    assert refused.exit_code == 2
    assert "--engine_options" in refused.stderr


@pytest.mark.parametrize(
    "change",
    [
        ("--seed", "7"),
        ("--criterion", "Emotional Tone"),
        ("--num_clusters", "4"),
        ("--criterion", "Emotional Tone", "--steps", "2b,3"),
        ("--force_steps", "1"),
        ("--force_steps", "2b,3"),
        ("--retry_rejected",),
    ],
    ids=" ".join,
)
def test_settings_whose_engine_does_not_load_change_nothing(
    ictc: Ictc, ads: Path, tmp_path: Path, change: tuple[str, ...]
) -> None:
    ictc.succeed(ads, tmp_path / "out", "--engine_options", '{"fail": ["ad_003"]}')
    before = contents(tmp_path / "out")
    fail_to_load(ictc, ads, tmp_path / "out", *change)
    assert contents(tmp_path / "out") == before
    assert ictc("verify", tmp_path / "out").exit_code == 0


@pytest.mark.parametrize("edit", ["added", "removed"])
def test_results_of_other_images_stay_until_there_is_an_engine_and_are_told_from_current_ones(
    ictc: Ictc, ads: Path, tmp_path: Path, edit: str
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    before = exported_bytes(tmp_path / "out")
    if edit == "added":
        draw_image(ads / "new.png", 99)
    else:
        (ads / "ad_004.png").unlink()
    fail_to_load(ictc, ads, tmp_path / "out")
    kept = exported_bytes(tmp_path / "out")
    assert kept["results.parquet"] == before["results.parquet"]
    assert kept["ictc_final_results.json"] == before["ictc_final_results.json"]
    for command in ("verify", "status"):
        assert "exported from an earlier state" in ictc(command, tmp_path / "out").stdout
    assert ictc("verify", tmp_path / "out").exit_code == 1
    ictc.succeed(ads, tmp_path / "out")
    ictc.succeed(ads, tmp_path / "direct")
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "direct")
    assert ictc("verify", tmp_path / "out").exit_code == 0
    assert "earlier state" not in ictc("status", tmp_path / "out").stdout


def test_images_that_were_not_meant_are_taken_back_without_an_engine(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out")
    before = exported_bytes(tmp_path / "out")
    added = draw_image(ads / "new.png", 99)
    fail_to_load(ictc, ads, tmp_path / "out")
    added.unlink()
    assert ictc.run(ads, tmp_path / "out", *NO_ENGINE).exit_code == 0
    assert exported_bytes(tmp_path / "out") == before
    assert ictc("verify", tmp_path / "out").exit_code == 0


@pytest.mark.parametrize("steps", ["1,2a,2b,3", "2b,3", "3"])
def test_missing_exports_are_written_from_the_journals_without_an_engine(
    ictc: Ictc, ads: Path, tmp_path: Path, steps: str
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    before = exported_bytes(tmp_path / "out")
    for name in ("step1_captions.json", "step2a_hooks.json", "step2b_metadata.json", "results.parquet"):
        (tmp_path / "out" / name).unlink()
    assert ictc.run(ads, tmp_path / "out", "--steps", steps, *NO_ENGINE).exit_code == 0
    assert exported_bytes(tmp_path / "out") == before


def test_links_follow_an_image_that_was_replaced_or_renamed(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out")
    draw_image(tmp_path / "other.png", 98).replace(ads / "ad_004.png")
    (ads / "ad_005.png").rename(ads / "ad_005.PNG")
    ictc.succeed(ads, tmp_path / "out")
    links = [path for path in (tmp_path / "out" / "categorized_images").rglob("ad_*") if path.is_file()]
    assert {path.name: path.read_bytes() for path in links} == {path.name: path.read_bytes() for path in ads.iterdir()}


@pytest.mark.parametrize("way", ["replaced", "another folder"])
def test_links_follow_files_that_others_with_the_same_content_have_replaced(
    ictc: Ictc, ads: Path, tmp_path: Path, way: str
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    former = ads.rename(tmp_path / "former")
    shutil.copytree(former, ads)
    for path in ads.iterdir():
        os.utime(path, (0, 1))
    now = ads if way == "replaced" else ads.rename(tmp_path / "copy")
    ictc.succeed(now, tmp_path / "out")
    for path in former.iterdir():  # nobody's business any more
        path.write_bytes(b"no image")
    links = [path for path in (tmp_path / "out" / "categorized_images").rglob("ad_*") if path.is_file()]
    assert len(links) == 12
    assert all(path.samefile(now / path.name) for path in links)
    assert ictc("verify", tmp_path / "out").exit_code == 0


def test_a_target_of_recluster_keeps_its_results_until_there_is_an_engine(
    ictc: Ictc, ads: Path, tmp_path: Path
) -> None:
    common = ("recluster", "--source_dir", tmp_path / "out", "--output_dir", tmp_path / "other")
    ictc.succeed(ads, tmp_path / "out")
    assert ictc(*common, "--num_clusters", 3).exit_code == 0
    before = exported_bytes(tmp_path / "other")
    assert ictc(*common, "--num_clusters", 4, *NO_ENGINE).exit_code == 2
    assert exported_bytes(tmp_path / "other") == before
    draw_image(ads / "new.png", 99)
    ictc.succeed(ads, tmp_path / "out")
    assert ictc(*common, "--num_clusters", 4, *NO_ENGINE).exit_code == 2
    assert exported_bytes(tmp_path / "other")["results.parquet"] == before["results.parquet"]
    assert ictc("verify", tmp_path / "other").exit_code == 1
    assert ictc(*common, "--num_clusters", 4).exit_code == 0
    ictc.succeed(ads, tmp_path / "direct", "--num_clusters", 4)
    assert exported_bytes(tmp_path / "other") == exported_bytes(tmp_path / "direct")


def force(run: ScriptedRun, steps: str, *others: object, **trouble: Any) -> Finished:
    """Run the command once with steps forced."""
    arguments = ("--force_steps", steps, *others)
    options = orjson.dumps({"window": WINDOW, "fail": [REJECTED]}).decode()
    common = ("--ads_dir", run.ads, "--output_dir", run.path, "--engine", "scripted", "--engine_options", options)
    return run.server.run("run", *common, "--num_clusters", 3, *arguments, root=run.path, **trouble)


@pytest.mark.parametrize(
    "point",
    [
        "label forced.json: replace",
        "label journal: write record",
        "synthesize forced.json: replace",
        "synthesize definitions.json: replace",
        "assign journal: write record",
        *["random"] * 3,
    ],
)
def test_a_step_is_forced_once_whenever_the_command_is_killed(
    run: ScriptedRun, reference: Reference, point: str, request: pytest.FixtureRequest
) -> None:
    run.finish()
    undisturbed = force(run, "2a,2b,3")
    assert undisturbed.exit_code == 0
    fault = Fault(point, when="after", nth=5 if "record" in point else 1)
    if point == "random":
        random = Random(request.node.name)
        end = undisturbed.points.index("assign forced.json: delete")  # the command has finished
        fault = Fault(ANY, when=random.choice(["before", "after"]), nth=random.randint(1, end))
    killed = force(run, "2a,2b,3", fault=fault)
    resumed = force(run, "2a,2b,3")
    assert killed.was_killed
    assert resumed.exit_code == 0, resumed.stderr
    asked = killed.asked + resumed.asked
    assert set(asked) == set(undisturbed.asked)
    assert len(asked) <= len(undisturbed.asked) + WINDOW
    run.check(reference)


def test_forcing_again_after_it_has_finished_begins_anew(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out")
    for _ in range(2):
        assert "Step 3 assignments: 0/" in ictc.succeed(ads, tmp_path / "out", "--force_steps", "3").stderr
    assert load(tmp_path / "out", "run.json")["status"] == "finished"


def test_several_tracks_are_forced_once_together(run: ScriptedRun) -> None:
    arguments = ("1", "--track", "1,2")
    assert force(run, *arguments).exit_code == 0
    undisturbed = force(run, *arguments)
    killed = force(run, *arguments, fault=Fault(ANY, nth=len(undisturbed.points) // 2))
    resumed = force(run, *arguments)
    assert killed.was_killed
    assert len(undisturbed.asked) <= len(killed.asked + resumed.asked) <= len(undisturbed.asked) + 2 * WINDOW


KILLS = (
    *("manifest.jsonl: replace", "manifest.key.json: replace", "stale_exports.json: replace"),
    *("run.json: replace", "caption current.json: replace", "caption journal: write record", "results.parquet: delete"),
)


@pytest.mark.parametrize("change", [("--max_images", 15), ("--seed", 7)], ids=["images", "seed"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_no_kill_leaves_results_that_look_current_and_are_not(
    run: ScriptedRun, reference: Reference, change: tuple[str, int], when: When
) -> None:
    run.finish()
    for point in KILLS:
        was_killed = run.interrupt(*change, fault=Fault(point, when=when))
        looks_current = run.server.run("verify", run.path, root=run.path).exit_code == 0
        if was_killed and looks_current:  # then they are those of before, and their keys, too
            assert reference.exports.items() <= exported_bytes(run.path).items(), point
        run.check(reference)
