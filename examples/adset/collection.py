"""The whole collection: which observations it has, and how each becomes a folder and a row of the truth table.

The seed decides ids, metadata, file formats and decoration; the words, brands and layouts stay the same.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from uuid import NAMESPACE_DNS, uuid5

from PIL import Image

from adset.canvas import Canvas
from adset.content import Ad, load_ads
from adset.files import DEFECTS, FORMATS, save_frames
from adset.layouts import draw_ad
from adset.metadata import GAPS, FullData, build_full_data
from adset.screens import SCREENS, draw_screen

NAMESPACE = uuid5(NAMESPACE_DNS, "ictc.example")
RARE_FORMATS = {"png": 10, "webp": 10, "gif": 3, "cmyk": 2, "palette": 2, "rotated": 2, "tiff": 1, "bmp": 1}
"""How many ads are stored in each format; all others are plain JPEG."""
TRUTH_COLUMNS = ("image_id", "kind", "category", "strategy", "brand")

TruthRow = dict[str, str]


@dataclass(frozen=True, slots=True)
class Observation:
    """One folder of the collection: an ad, an interface screen, or a broken file.

    Attributes:
        file_format: a key of `FORMATS`; unused for video ads and broken files.
        gap: what its metadata lacks.
    """

    ad: Ad | None = None
    screen: str | None = None
    defect: str | None = None
    file_format: str = "jpeg"
    gap: Callable[[FullData], None] | None = None

    @property
    def key(self) -> str:
        return self.defect or self.screen or (self.ad.key if self.ad else "")

    @property
    def kind(self) -> str:
        return "broken" if self.defect else "ui_only" if self.screen else "ad"

    def image_id(self, seed: int) -> str:
        return str(uuid5(NAMESPACE, f"{seed}/{self.kind}/{self.key}"))


def draw_collection(out_dir: Path, seed: int) -> list[TruthRow]:
    """Draw the collection into `out_dir/ads` and its truth table into `out_dir/truth.csv`.

    Returns:
        The rows of the truth table, sorted by image id.

    Raises:
        FileExistsError: `out_dir/ads` is there already.
    """
    ads_dir, partial_dir = out_dir / "ads", out_dir / "ads.partial"
    if ads_dir.exists():
        raise FileExistsError(f"{ads_dir} is there already: remove it or name another folder")
    shutil.rmtree(partial_dir, ignore_errors=True)
    partial_dir.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(partial(write_observation, partial_dir, seed), plan_observations(seed)))
    rows.sort(key=lambda row: row["image_id"])
    _write_truth(out_dir / "truth.csv", rows)
    partial_dir.rename(ads_dir)
    return rows


def plan_observations(seed: int) -> list[Observation]:
    """Return every observation of the collection, formats and gaps dealt out by `seed`."""
    rng, ads = Random(f"{seed}/plan"), load_ads()
    formats = [name for name, count in RARE_FORMATS.items() for _ in range(count)]
    stills = [ad for ad in ads if not ad.end_frame]
    format_of = dict(zip((ad.key for ad in rng.sample(stills, len(formats))), formats, strict=True))
    gap_of = dict(zip((ad.key for ad in rng.sample(ads, len(GAPS))), GAPS, strict=True))
    return [
        *(Observation(ad=ad, file_format=format_of.get(ad.key, "jpeg"), gap=gap_of.get(ad.key)) for ad in ads),
        *(Observation(screen=name, file_format="png") for name in SCREENS),
        *(Observation(ad=ads[0], defect=name) for name in DEFECTS),
    ]


def write_observation(ads_dir: Path, seed: int, observation: Observation) -> TruthRow:
    """Draw one observation into its own folder below `ads_dir`; return its row of the truth table."""
    image_id = observation.image_id(seed)
    rng = Random(f"{seed}/{image_id}")
    folder = ads_dir / image_id
    folder.mkdir()
    canvas = _draw(observation, rng)
    _save(observation, canvas.finish(), folder, rng)
    data = build_full_data(image_id, observation.ad.layout if observation.ad else None, canvas.texts, rng)
    if observation.gap:
        observation.gap(data)
    (folder / "full_data.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return _truth_row(image_id, observation)


def _draw(observation: Observation, rng: Random) -> Canvas:
    if observation.screen:
        return draw_screen(observation.screen, rng)
    assert observation.ad is not None
    return draw_ad(observation.ad, rng)


def _save(observation: Observation, image: Image.Image, folder: Path, rng: Random) -> None:
    if observation.defect:
        DEFECTS[observation.defect](image, folder)
    elif observation.ad and observation.ad.end_frame:
        save_frames(image, draw_ad(observation.ad, rng, observation.ad.end_frame).finish(), folder)
    else:
        FORMATS[observation.file_format](image, folder)


def _truth_row(image_id: str, observation: Observation) -> TruthRow:
    ad = observation.ad if observation.kind == "ad" else None
    values = (ad.category, ad.strategy, ad.brand.name) if ad else ("", "", "")
    return dict(zip(TRUTH_COLUMNS, (image_id, observation.kind, *values), strict=True))


def _write_truth(path: Path, rows: list[TruthRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, TRUTH_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
