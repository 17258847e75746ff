"""A few ads of every cluster for a closer look: as a table and on one sheet of pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ictc.analytics.results import RunResults
from ictc.analytics.tables import printable, write_csv
from ictc.errors import ConfigError
from ictc.report.images import ImageFinder, find_images
from ictc.report.sampling import random_ranks
from ictc.report.words import TEXTS, words_for
from ictc.storage.atomic import write_atomic

TABLE = "sample.csv"
SHEET = "contact_sheet.jpg"
TILES_PER_ROW = 10
TILE_PX = 160
GAP_PX = 12
CAPTION_PX = 34
HEADING_PX = 46
MAX_SHEET_PX = 65_000
"""Of the longer side; JPEG ends at 65,535."""

INK, MUTED, PAPER, EMPTY = "#18191b", "#5c5f66", "#ffffff", "#efefec"


@dataclass(frozen=True)
class Fonts:
    """Pillow's own typeface in the sizes of the sheet; it has Latin letters only."""

    heading: ImageFont.FreeTypeFont | ImageFont.ImageFont
    caption: ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_sample(results: RunResults, *, per_cluster: int, seed: int) -> pd.DataFrame:
    """Return a simple random sample of `per_cluster` rows of each cluster, by cluster; last, of those that fit none."""
    rows = results.named
    drawn = rows[random_ranks(rows["cluster"], seed) < per_cluster]
    return drawn.sort_values("cluster", kind="stable")


def write_sample(results: RunResults, finder: ImageFinder, output_dir: Path, *, per_cluster: int, seed: int) -> int:
    """Write `sample.csv` and, unless there are texts alone, `contact_sheet.jpg`; return how many ads they show.

    Raises:
        ConfigError: the sheet would be too large to be an image.
        StorageError: the disk refused.
    """
    sample = draw_sample(results, per_cluster=per_cluster, seed=seed)
    if words_for(results.metadata) is TEXTS:
        write_csv(sample, output_dir / TABLE)
        return len(sample)
    sizes = results.named["cluster"].value_counts()
    sheet = draw_contact_sheet(sample, sizes, find_images(sample, finder))
    write_csv(sample, output_dir / TABLE)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    write_atomic(output_dir / SHEET, buffer.getvalue())
    return len(sample)


def draw_contact_sheet(sample: pd.DataFrame, sizes: pd.Series, images: dict[str, Image.Image]) -> Image.Image:
    """Draw the sample, a block of rows for each cluster under its name and size.

    Args:
        sizes: of the whole clusters, by name.

    Raises:
        ConfigError: the sheet would be too large to be an image.
    """
    groups = [(str(name), group) for name, group in sample.groupby("cluster", observed=True)]
    heights = [HEADING_PX + -(-len(group) // TILES_PER_ROW) * (TILE_PX + CAPTION_PX + GAP_PX) for _, group in groups]
    columns = min(TILES_PER_ROW, max(len(group) for _, group in groups))
    width, height = GAP_PX + max(columns, 4) * (TILE_PX + GAP_PX), GAP_PX + sum(heights)
    if height > MAX_SHEET_PX:
        raise ConfigError(f"the contact sheet would be {height:,} pixels high; take a smaller --per_cluster")
    sheet = Image.new("RGB", (width, height), PAPER)
    fonts = Fonts(ImageFont.load_default(20), ImageFont.load_default(12))
    tops = GAP_PX + np.cumsum([0, *heights[:-1]])
    for (name, group), top in zip(groups, tops.tolist(), strict=True):
        title = f"{printable(name)}   {sizes[name]:,} ads, {sizes[name] / sizes.sum():.0%}"
        ImageDraw.Draw(sheet).text((GAP_PX, top + 8), title, fill=INK, font=fonts.heading)
        draw_tiles(sheet, group, top + HEADING_PX, images, fonts)
    return sheet


def draw_tiles(sheet: Image.Image, rows: pd.DataFrame, top: int, images: dict[str, Image.Image], fonts: Fonts) -> None:
    """Draw the ads of one cluster, each with its label and confidence."""
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows[["image_id", "label", "confidence"]].itertuples(index=False)):
        line, column = divmod(number, TILES_PER_ROW)
        x = GAP_PX + column * (TILE_PX + GAP_PX)
        y = top + line * (TILE_PX + CAPTION_PX + GAP_PX)
        draw.rectangle((x, y, x + TILE_PX - 1, y + TILE_PX - 1), fill=EMPTY)
        if row.image_id in images:
            picture = ImageOps.contain(images[row.image_id], (TILE_PX, TILE_PX))
            sheet.paste(picture, (x + (TILE_PX - picture.width) // 2, y + (TILE_PX - picture.height) // 2))
        draw.text((x, y + TILE_PX + 3), printable(row.label or "")[:26], fill=INK, font=fonts.caption)
        sure = "" if pd.isna(row.confidence) else f"{row.confidence:.0%}"
        draw.text((x, y + TILE_PX + 17), sure, fill=MUTED, font=fonts.caption)
