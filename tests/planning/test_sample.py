"""A sample tells image tokens from headers alone, finds exact copies, and calls unreadable what has no header."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.collections import draw_image, draw_observation

from ictc.config import InputSettings
from ictc.dataset.fetching.files import LocalFiles
from ictc.planning.sample import Sample
from ictc.planning.source import list_source


def look(ads_dir: Path, num_sampled: int = 1000, end: int | None = None, **settings: object) -> Sample:
    source = list_source(InputSettings.model_validate({"ads_dir": ads_dir, **settings}), LocalFiles(ads_dir))
    return asyncio.run(source.look(start=0, end=end, num_sampled=num_sampled, seed=1))


def test_image_tokens_are_those_of_the_decoder(tmp_path: Path) -> None:
    draw_image(tmp_path / "small.png", 1, (64, 64))
    draw_image(tmp_path / "phone.jpg", 2, (1080, 1920))
    assert look(tmp_path).image_tokens(1280) == [64, 1269]
    assert look(tmp_path).image_tokens(512)[1] <= 512


def test_a_header_is_enough(tmp_path: Path) -> None:
    whole = draw_image(tmp_path / "whole.png", 1, (640, 640))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:64])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    sample = look(tmp_path)
    assert (sample.num_images, sample.num_looked_at, sample.num_unreadable) == (4, 4, 2)
    assert sample.num_usable == 2


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """20 images, of which 8 are copies, and one of a copy's size that differs."""
    for number in range(12):
        draw_image(tmp_path / f"ad_{number:02d}.bmp", number)
    for number in range(12, 20):
        (tmp_path / f"ad_{number:02d}.bmp").write_bytes((tmp_path / f"ad_{number % 3:02d}.bmp").read_bytes())
    return tmp_path


def test_looking_at_everything_counts_the_copies_exactly(copies: Path) -> None:
    sample = look(copies)
    assert sample.num_distinct == 12
    assert (sample.copies.num_compared, sample.copies.error) == (20, 0)


def test_copies_are_looked_for_in_the_whole_collection(copies: Path) -> None:
    sample = look(copies, num_sampled=10)
    assert (sample.num_looked_at, sample.copies.num_compared) == (10, 20)
    assert sample.copies.distinct_share == 12 / 20


def test_only_the_part_that_will_run_is_counted(copies: Path) -> None:
    assert look(copies, end=5).num_images == 5
    assert look(copies, max_images=7).num_images == 7


def test_frames_of_observations_are_extrapolated(tmp_path: Path) -> None:
    for number in range(6):
        folder = draw_observation(tmp_path, f"observation_{number}", number)
        draw_image(folder / "image_2.jpg", number)
    assert look(tmp_path).num_images == 6
    assert look(tmp_path, frames="all").num_images == 12
    assert look(tmp_path, num_sampled=4, frames="all").num_images == 12


def test_images_are_copied_whatever_they_are_called(tmp_path: Path) -> None:
    drawn = draw_image(tmp_path / "ads" / "ad.png", 1)
    drawn.rename(drawn.with_name(f"v1.{'季' * 80}"))
    source = list_source(InputSettings.model_validate({"ads_dir": tmp_path / "ads"}), LocalFiles(tmp_path / "ads"))
    asyncio.run(source.copy(list(source.list_images(range(1))), tmp_path / "copies"))
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["000000"]
