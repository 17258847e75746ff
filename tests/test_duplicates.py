"""What is the same is asked once: copies of files, images that look alike, ads with equal captions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat, draw_image

from ictc.engines.base import Task

NUM_IMAGES = 30
NUM_COPIES = 12
"""40 % of the collection."""


def draw_with_copies(folder: Path) -> Path:
    """Draw a collection of which two fifths are copies, in no order."""
    names = [f"ad_{number:03d}.png" for number in range(NUM_IMAGES)]
    Random(7).shuffle(names)
    originals, copies = names[NUM_COPIES:], names[:NUM_COPIES]
    for number, name in enumerate(originals):
        draw_image(folder / name, number)
    for number, name in enumerate(copies):
        (folder / name).write_bytes((folder / originals[number % 5]).read_bytes())
    return folder


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = load(out, "ictc_final_results.json")["results"]
    return rows


def test_a_collection_with_40_percent_copies_makes_60_percent_of_the_calls(
    ictc: Ictc, tmp_path: Path, asked: Counter[Task]
) -> None:
    ads = draw_with_copies(tmp_path / "ads")
    outcome = ictc.succeed(ads, tmp_path / "out")
    assert asked[Task.CAPTION] == NUM_IMAGES - NUM_COPIES
    assert asked[Task.LABEL] == asked[Task.ASSIGN] <= NUM_IMAGES - NUM_COPIES
    assert f"Step 1 captions: {NUM_COPIES} of {NUM_IMAGES} are equal to others and share their answer" in outcome.stderr
    assert f"{NUM_COPIES} are copies of others" in outcome.stdout


def test_sharing_changes_no_result(ictc: Ictc, tmp_path: Path, asked: Counter[Task]) -> None:
    ads = draw_with_copies(tmp_path / "ads")
    ictc.succeed(ads, tmp_path / "shared")
    asked.clear()
    ictc.succeed(ads, tmp_path / "alone", "--dedupe", "off")
    assert asked[Task.CAPTION] == NUM_IMAGES
    shared, alone = rows_of(tmp_path / "shared"), rows_of(tmp_path / "alone")
    assert shared == alone  # which are copies is told of the files, whoever was asked about
    caption_of = load(tmp_path / "shared", "step1_captions.json")
    assert sum(row["duplicate_of"] is not None for row in shared) > 0
    for row in shared:
        if row["duplicate_of"] is not None:
            assert row["duplicate_of"] < row["image_id"]  # the first in the order of the collection
            assert caption_of[row["image_id"]] == caption_of[row["duplicate_of"]]


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_division_into_shards_says_the_same(
    ictc: Ictc, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("divided")
    pictures = data.draw(st.lists(st.integers(0, 4), min_size=6, max_size=10).filter(lambda them: len(set(them)) > 3))
    for number, picture in enumerate(pictures):
        draw_image(folder / "ads" / f"ad_{number:03d}.png", picture)
    cut = data.draw(st.integers(0, len(pictures)))
    ictc.succeed(folder / "ads", folder / "whole", "--num_clusters", 2)
    ictc.succeed(folder / "ads", folder / "parts", "--end_index", cut, "--shard_id", "a")
    ictc.succeed(folder / "ads", folder / "parts", "--start_index", cut, "--shard_id", "b")
    parts = (folder / "parts" / "a", folder / "parts" / "b")
    merge = ("merge", *parts, "--output_dir", folder / "merged", "--engine", "scripted", "--num_clusters", 2)
    assert ictc(*merge).exit_code == 0
    assert exported_bytes(folder / "merged") == exported_bytes(folder / "whole")


def test_copies_share_a_rejection_and_are_tried_again_together(
    ictc: Ictc, tmp_path: Path, asked: Counter[Task]
) -> None:
    draw_image(tmp_path / "ads" / "ad_000.png", 0)
    for name in ("ad_001", "ad_002"):
        draw_image(tmp_path / "ads" / f"{name}.png", 1)
    for number in range(3, 8):
        draw_image(tmp_path / "ads" / f"ad_{number:03d}.png", number)
    ictc.succeed(tmp_path / "ads", tmp_path / "out", "--engine_options", '{"fail": ["ad_001"]}')
    rejected = (tmp_path / "out" / "rejected.jsonl").read_text()
    assert '"ad_001"' in rejected
    assert '"ad_002"' in rejected
    asked.clear()
    ictc.succeed(tmp_path / "ads", tmp_path / "out", "--retry_rejected")
    assert asked[Task.CAPTION] == 1
    assert {"ad_001", "ad_002"} <= load(tmp_path / "out", "step1_captions.json").keys()


def test_a_copy_that_is_added_later_needs_no_engine(ictc: Ictc, tmp_path: Path, asked: Counter[Task]) -> None:
    ads = draw_with_copies(tmp_path / "ads")
    ictc.succeed(ads, tmp_path / "out")
    asked.clear()
    (ads / "new.png").write_bytes((ads / "ad_004.png").read_bytes())
    ictc.succeed(ads, tmp_path / "out")
    assert asked[Task.CAPTION] == asked[Task.LABEL] == 0
    captions = load(tmp_path / "out", "step1_captions.json")
    assert captions["new"] == captions["ad_004"]


def test_an_original_that_was_replaced_leads_no_more(ictc: Ictc, tmp_path: Path, asked: Counter[Task]) -> None:
    ads = draw_with_copies(tmp_path / "ads")
    ictc.succeed(ads, tmp_path / "out")
    row = next(row for row in rows_of(tmp_path / "out") if row["duplicate_of"])
    draw_image(ads / f"{row['duplicate_of']}.png", 200, (320, 200))
    draw_image(ads / "new.png", 201)  # another list of images has their sizes looked at again
    asked.clear()
    ictc.succeed(ads, tmp_path / "out")
    assert asked[Task.CAPTION] == 2
    ictc.succeed(ads, tmp_path / "fresh")
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "fresh")


class TestNear:
    """`--dedupe near`: images that look alike share a caption."""

    @pytest.fixture
    def ads(self, tmp_path: Path) -> Path:
        folder = tmp_path / "ads"
        folder.mkdir()
        for number in range(8):
            scene = draw_scene(number)
            scene.save(folder / f"ad_{number}.jpg", quality=95)
        draw_scene(2).resize((300, 200)).save(folder / "ad_2_small.jpg", quality=80)
        draw_scene(5).save(folder / "ad_5_again.jpg", quality=50)
        return folder

    def test_copies_that_were_compressed_or_resized_share(
        self, ictc: Ictc, tmp_path: Path, ads: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(ads, tmp_path / "out", "--dedupe", "near")
        assert asked[Task.CAPTION] == 8
        said = {row["image_id"]: row["duplicate_of"] for row in rows_of(tmp_path / "out")}
        assert {one: first for one, first in said.items() if first} == {"ad_2_small": "ad_2", "ad_5_again": "ad_5"}

    def test_equal_bytes_are_all_that_the_default_shares(
        self, ictc: Ictc, tmp_path: Path, ads: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(ads, tmp_path / "out")
        assert asked[Task.CAPTION] == 10

    def test_plain_images_are_compared_by_their_bytes(self, ictc: Ictc, tmp_path: Path, asked: Counter[Task]) -> None:
        ictc.succeed(draw_flat(tmp_path / "plain", 8), tmp_path / "out", "--dedupe", "near")
        assert asked[Task.CAPTION] == 8

    def test_an_interrupted_run_ends_with_the_same(self, ictc: Ictc, tmp_path: Path, ads: Path) -> None:
        ictc.succeed(ads, tmp_path / "whole", "--dedupe", "near")
        failing = ("--engine_options", '{"fail": ["ad_1", "ad_2"]}', "--max_rejected", 1)
        ictc.succeed(ads, tmp_path / "out", "--dedupe", "near", *failing)
        ictc.succeed(ads, tmp_path / "out", "--dedupe", "near", "--retry_rejected")
        assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "whole")

    @pytest.mark.parametrize("is_replaced", [False, True])
    def test_what_followed_an_image_that_is_gone_is_made_anew(
        self, ictc: Ictc, tmp_path: Path, ads: Path, is_replaced: bool
    ) -> None:
        ictc.succeed(ads, tmp_path / "out", "--dedupe", "near")
        (ads / "ad_2.jpg").unlink()
        if is_replaced:
            draw_scene(20).save(ads / "ad_2.jpg")
        draw_scene(5).save(ads / "ab.jpg", quality=80)  # leads what ad_5 led
        ictc.succeed(ads, tmp_path / "out", "--dedupe", "near")
        ictc.succeed(ads, tmp_path / "fresh", "--dedupe", "near")
        assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "fresh")
        assert ictc("verify", tmp_path / "out").exit_code == 0


def draw_scene(number: int) -> Image.Image:
    """Draw something that no other number looks like."""
    random = Random(number)
    image = Image.new("RGB", (600, 400), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.randrange(500), random.randrange(300)
        color = tuple(random.randrange(256) for _ in range(3))
        draw.rectangle((x, y, x + random.randrange(60, 200), y + random.randrange(60, 200)), fill=color)
    return image
