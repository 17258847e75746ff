"""`ictc sample` draws as many ads of each cluster as asked, the same ones every time, into files that harm nobody."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image
from support.cli import Ictc
from support.collections import draw_image
from support.result_folders import write_results

np = pytest.importorskip("numpy")
pytest.importorskip("pandas", reason="the sample needs the extra analysis")

CLUSTERS = {f"ad_{number:02d}": "Trust" if number < 24 else "Bargains" for number in range(26)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run about red images, with labels that are formulas to a spreadsheet."""
    for image_id in CLUSTERS:
        draw_image(tmp_path / "ads" / image_id / "image.jpg", number=0)
    labels = dict.fromkeys(CLUSTERS, '=HYPERLINK("http://example.org")')
    return write_results(tmp_path / "run", CLUSTERS, label=labels)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_cluster_has_its_ads_and_a_seed_its_sample(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    outcome = ictc("sample", run, "--per_cluster", 5, "--seed", 1)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout.startswith("7 ads of 2 clusters")
    rows = read(run / "sample" / "sample.csv")
    assert [row["cluster"] for row in rows] == ["Trust"] * 5 + ["Bargains"] * 2
    for seed, folder in ((1, "same"), (2, "other")):
        ictc("sample", run, "--per_cluster", 5, "--seed", seed, "--output_dir", tmp_path / folder)
    assert read(tmp_path / "same" / "sample.csv") == rows
    assert read(tmp_path / "other" / "sample.csv") != rows


def test_no_cell_is_a_formula(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    ictc("sample", run, "--output_dir", tmp_path / "out")
    assert all(row["label"].startswith("'=") for row in read(tmp_path / "out" / "sample.csv"))


def test_the_sheet_shows_the_images(ictc: Ictc, run: Path, tmp_path: Path) -> None:
    drawn = Image.open(tmp_path / "ads" / "ad_00" / "image.jpg").convert("RGB").getpixel((5, 5))
    ictc("sample", run, "--output_dir", tmp_path / "with", "--ads_dir", tmp_path / "ads")
    ictc("sample", run, "--output_dir", tmp_path / "without")
    areas = [count_pixels(tmp_path / folder / "contact_sheet.jpg", drawn) for folder in ("with", "without")]
    assert areas[0] > 12 * 160 * 90
    assert areas[1] < 12 * 160


def count_pixels(path: Path, color: object) -> int:
    """Return how many pixels of an image are nearly of `color`."""
    with Image.open(path) as image:
        distances = np.abs(np.asarray(image.convert("RGB"), dtype=int) - np.array(color))
    return int((distances.max(axis=-1) < 12).sum())


def test_a_sheet_beyond_all_bounds_is_refused(ictc: Ictc, tmp_path: Path) -> None:
    many = write_results(tmp_path / "many", {f"ad_{number:05d}": "Trust" for number in range(3300)})
    outcome = ictc("sample", many, "--per_cluster", 3300)
    assert outcome.exit_code == 2
    assert "--per_cluster" in outcome.stderr
    assert not (many / "sample").exists()
