"""The copy of the ads and the looks of their brands, loaded from `ads.yaml` and `style.yaml`.

Knows the words and the names of layouts and illustrations; knows nothing of drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from adset.color import most_legible
from adset.typesetting import Face

ADS_PATH = Path(__file__).parent.parent / "ads.yaml"
STYLE_PATH = Path(__file__).parent.parent / "style.yaml"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colors by role, as `style.yaml` explains them."""

    ground: str
    ink: str
    accent: str
    on_accent: str
    pop: str
    stage: str
    soft: str
    dark: str
    light: str

    @property
    def on_pop(self) -> str:
        """Color of text on `pop`."""
        return most_legible(self.pop, self.dark, self.light)

    def for_illustration(self, main: str | None = None) -> dict[str, str]:
        """Return the colors that an illustration names."""
        return {**asdict(self), "main": main or self.accent}


@dataclass(frozen=True, slots=True)
class Brand:
    """An invented advertiser; `mark` names the shape of its logo."""

    name: str
    palette: str
    face: Face
    mark: str
    site: str


@dataclass(frozen=True, slots=True)
class Ad:
    """One ad before it is drawn.

    Attributes:
        strategy: the marketing strategy of its copy.
        by: the customer who is quoted; the headline is then the quotation.
        offer: a few words or a price, for a badge.
        end_frame: layout of a second frame, for a video ad.
    """

    category: str
    brand: Brand
    palette: Palette
    strategy: str
    layout: str
    illustration: str
    headline: str
    body: str
    cta: str
    offer: str | None = None
    by: str | None = None
    end_frame: str | None = None

    @property
    def key(self) -> str:
        """What tells this ad from all others, whatever its place in the file."""
        return f"{self.brand.name}/{self.headline}"


@cache
def load_ads() -> tuple[Ad, ...]:
    """Load all ads, in the order of the file."""
    style = _load_yaml(STYLE_PATH)
    palettes = {name: Palette(**colors) for name, colors in style["palettes"].items()}
    faces = {name: Face(**cut) for name, cut in style["faces"].items()}
    return tuple(ad for group in _load_yaml(ADS_PATH) for ad in _build_ads(group, palettes, faces))


def _build_ads(group: dict[str, Any], palettes: dict[str, Palette], faces: dict[str, Face]) -> Iterator[Ad]:
    brands = {item["name"]: Brand(**{**item, "face": faces[item["face"]]}) for item in group["brands"]}
    for item in group["ads"]:
        brand = brands[item["brand"]]
        palette = palettes[item.get("palette", brand.palette)]
        yield Ad(**{**item, "category": group["category"], "brand": brand, "palette": palette})


def _load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
