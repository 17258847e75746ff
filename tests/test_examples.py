"""The example collection: what `examples/draw_ads.py` writes, and that its text is legible and stays in its box."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

import yaml  # noqa: E402
from adset.canvas import Box, Canvas, Style  # noqa: E402
from adset.collection import plan_observations, write_observation  # noqa: E402
from adset.color import contrast  # noqa: E402
from adset.content import STYLE_PATH, Palette, load_ads  # noqa: E402
from adset.layouts import LAYOUTS, draw_ad  # noqa: E402
from adset.typesetting import Face, MissingGlyphError, TextOverflowError, fit  # noqa: E402

STYLE = yaml.safe_load(STYLE_PATH.read_text(encoding="utf-8"))


def run_script(out_dir: Path, seed: int = 42) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "draw_ads.py"), str(out_dir), "--seed", str(seed)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("examples")
    done = run_script(out_dir)
    assert done.returncode == 0, done.stderr
    assert "72 ads in 8 categories" in done.stdout
    return out_dir


@pytest.fixture(scope="session")
def truth(collection: Path) -> list[dict[str, str]]:
    with (collection / "truth.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def folders_of(kind: str, collection: Path, truth: list[dict[str, str]]) -> list[Path]:
    return [collection / "ads" / row["image_id"] for row in truth if row["kind"] == kind]


def images_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.name != "full_data.json"]


def full_data(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "full_data.json").read_text(encoding="utf-8"))
    return data


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


# The collection as a whole


def test_the_table_names_every_folder_and_nothing_else(collection: Path, truth: list[dict[str, str]]) -> None:
    assert list(truth[0]) == ["image_id", "kind", "category", "strategy", "brand"]
    assert sorted(path.name for path in (collection / "ads").iterdir()) == [row["image_id"] for row in truth]
    assert all(UUID(row["image_id"]).version == 5 for row in truth)
    assert sorted(path.name for path in collection.iterdir()) == ["ads", "truth.csv"]


def test_there_are_enough_ads_of_every_category_strategy_and_kind(truth: list[dict[str, str]]) -> None:
    ads = [row for row in truth if row["kind"] == "ad"]
    assert Counter(row["kind"] for row in truth) == {"ad": 72, "ui_only": 4, "broken": 4}
    assert set(Counter(row["category"] for row in ads).values()) == {9}
    assert len({row["category"] for row in ads}) == 8
    assert len({(row["category"], row["strategy"]) for row in ads}) == 8 * 6
    assert not any(row["category"] or row["strategy"] or row["brand"] for row in truth if row["kind"] != "ad")


def test_the_same_seed_gives_the_same_bytes(collection: Path, tmp_path: Path) -> None:
    assert run_script(tmp_path).returncode == 0
    assert digest(tmp_path) == digest(collection)


def test_another_seed_gives_other_ids_and_other_pictures(truth: list[dict[str, str]], tmp_path: Path) -> None:
    observations = plan_observations(seed=7)
    ids = {observation.image_id(7) for observation in observations}
    assert len(ids) == len(truth)
    assert ids.isdisjoint(row["image_id"] for row in truth)
    ad = load_ads()[0]
    pictures = {draw_ad(ad, Random(seed)).finish().tobytes() for seed in range(3)}
    assert len(pictures) == 3
    row = write_observation(tmp_path, 7, observations[0])
    assert images_in(tmp_path / row["image_id"])


def test_a_collection_is_never_drawn_over(collection: Path) -> None:
    before = digest(collection)
    done = run_script(collection, seed=7)
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert "Traceback" not in done.stderr
    assert digest(collection) == before


# The files


def test_every_ad_and_screen_can_be_decoded(collection: Path, truth: list[dict[str, str]]) -> None:
    folders = folders_of("ad", collection, truth) + folders_of("ui_only", collection, truth)
    for path in (path for folder in folders for path in images_in(folder)):
        with Image.open(path) as image:
            image.load()
            assert min(image.size) >= 600


def test_every_format_is_there(collection: Path, truth: list[dict[str, str]]) -> None:
    seen = set()
    for folder in folders_of("ad", collection, truth):
        with Image.open(images_in(folder)[0]) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            seen.add((image.format, image.mode, turned, "transparency" in image.info))
    assert seen == {
        ("JPEG", "RGB", False, False),
        ("JPEG", "RGB", True, False),
        ("JPEG", "CMYK", False, False),
        ("PNG", "RGB", False, False),
        ("PNG", "P", False, True),
        ("WEBP", "RGB", False, False),
        ("GIF", "P", False, False),
        ("TIFF", "RGB", False, False),
        ("BMP", "RGB", False, False),
    }


def test_the_palette_image_is_see_through_in_its_corners_only(collection: Path, truth: list[dict[str, str]]) -> None:
    for folder in folders_of("ad", collection, truth):
        with Image.open(images_in(folder)[0]) as image:
            if "transparency" in image.info:
                alpha = image.convert("RGBA").getchannel("A")
                assert alpha.getpixel((0, 0)) == 0
                assert alpha.getpixel((image.width // 2, image.height // 2)) == 255


def test_two_ads_have_two_frames(collection: Path, truth: list[dict[str, str]]) -> None:
    names = [[path.name for path in images_in(folder)] for folder in folders_of("ad", collection, truth)]
    assert names.count(["image_1040.jpg", "image_480.jpg"]) == 2
    assert sum(len(frames) == 1 for frames in names) == 70


def test_the_broken_files_are_broken_in_four_ways(collection: Path, truth: list[dict[str, str]]) -> None:
    reasons = []
    for folder in folders_of("broken", collection, truth):
        images = images_in(folder)
        if not images:
            reasons.append("missing")
        elif images[0].stat().st_size == 0:
            reasons.append("empty")
        else:
            with pytest.raises(OSError, match=r"truncated|cannot identify") as error, Image.open(images[0]) as image:
                image.load()
            reasons.append("text" if error.type is UnidentifiedImageError else "truncated")
    assert sorted(reasons) == ["empty", "missing", "text", "truncated"]


# The metadata


def test_demographics_are_nowhere_but_in_the_observer(collection: Path, truth: list[dict[str, str]]) -> None:
    seen = 0
    for row in truth:
        data = full_data(collection / "ads" / row["image_id"])
        demographics = (data.pop("observer") or {}).get("demographics", {})
        seen += bool(demographics)
        assert not set(demographics) & set(json.dumps(data).split('"'))
    assert seen == len(truth) - 1
    assert "demographics" not in (collection / "truth.csv").read_text(encoding="utf-8")


def test_metadata_names_its_folder_wherever_it_has_an_id(collection: Path, truth: list[dict[str, str]]) -> None:
    sources: Counter[str] = Counter()
    for row in truth:
        data = full_data(collection / "ads" / row["image_id"])
        uuid = (data["observation"] or {}).get("uuid")
        assert {data.get("observation_id"), uuid} <= {row["image_id"], None}
        sources["top" if data.get("observation_id") else "uuid" if uuid else "folder"] += 1
    assert sources == {"top": 78, "uuid": 1, "folder": 1}


def test_observations_spread_over_two_months_and_four_platforms(collection: Path, truth: list[dict[str, str]]) -> None:
    data = [full_data(collection / "ads" / row["image_id"]) for row in truth]
    days = {item["timestamp"] // 86_400_000 for item in data if item.get("timestamp")}
    assert max(days) - min(days) in range(50, 61)
    observations = [item["observation"] or {} for item in data]
    assert {item.get("platform") for item in observations} == {"Facebook", "Instagram", "TikTok", "YouTube", None}
    formats = {"FEED_BASED", "REEL_BASED", "STORY_BASED", "MARKETPLACE_BASED", "PREVIEW_LANDSCAPE_BASED"}
    assert formats | {None} <= {item.get("ad_format") for item in observations}
    assert sum("platform" not in item for item in observations) == 2


# The copy and the type


def test_every_ad_has_words_of_its_own() -> None:
    ads = load_ads()
    for words in ([ad.headline for ad in ads], [ad.body for ad in ads]):
        assert len(set(words)) == len(ads)


def test_looks_are_shared_across_categories_and_differ_within_them() -> None:
    looks: dict[tuple[str, Palette], set[str]] = {}
    palettes: dict[str, set[Palette]] = {}
    for ad in load_ads():
        looks.setdefault((ad.layout, ad.palette), set()).add(ad.category)
        palettes.setdefault(ad.category, set()).add(ad.palette)
    assert sum(len(categories) > 1 for categories in looks.values()) >= 5
    assert all(len(different) >= 3 for different in palettes.values())


@pytest.mark.parametrize("name", STYLE["palettes"])
def test_text_stands_out_from_its_ground(name: str) -> None:
    palette = Palette(**STYLE["palettes"][name])
    assert contrast(palette.ink, palette.ground) >= 7
    assert contrast(palette.ink, palette.soft) >= 4.5
    assert contrast(palette.on_accent, palette.accent) >= 4.5
    assert contrast(palette.on_pop, palette.pop) >= 3, "large type"


@pytest.mark.parametrize("name", STYLE["faces"])
def test_text_stays_in_its_box(name: str) -> None:
    canvas, box = Canvas(640, 400, "#ffffff"), Box(80, 60, 480, 280)
    style = Style(Face(**STYLE["faces"][name]), 120, "#000000", leading=1.14)
    canvas.text(box, "Jumpy quartz jigs fly by, boxing Wm. Kvetch", style)
    ink = ImageChops.invert(canvas.finish().convert("L")).getbbox()
    assert ink is not None
    assert ink[0] >= 80 - 2
    assert ink[1] >= 60 - 2
    assert ink[2] <= 560 + 2
    assert ink[3] <= 340 + 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_refuses_copy_that_does_not_fit(layout: str) -> None:
    ad = next(ad for ad in load_ads() if ad.layout == layout)
    with pytest.raises(TextOverflowError, match="shorten it"):
        draw_ad(replace(ad, headline="far too many words " * 60), Random(1))


def test_text_shrinks_only_as_far_as_it_is_legible() -> None:
    face = Face()
    assert fit("Short", face, 60, 400, 100).size == 60
    assert 18 <= fit("A line that needs a smaller size to fit", face, 60, 400, 60).size < 60
    with pytest.raises(TextOverflowError, match="18 px"):
        fit("Unbreakableheadlineword", face, 60, 100, 400)


def test_a_character_without_a_glyph_is_refused() -> None:
    with pytest.raises(MissingGlyphError, match="€"):
        fit("Only 5 €", Face(), 40, 400, 100)
