"""Draws the ads of `sets.yaml`, and plain interface screens, in layouts that a seed chooses."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml
from PIL import Image, ImageDraw, ImageFont

from ictc.records import DecodedImage

SIZES = ((640, 640), (576, 1024), (800, 448), (736, 928))
PALETTES = (
    ("white", "black", "firebrick"),
    ("midnightblue", "white", "gold"),
    ("mistyrose", "darkslategray", "crimson"),
    ("honeydew", "darkgreen", "darkorange"),
    ("black", "whitesmoke", "deepskyblue"),
    ("lightyellow", "saddlebrown", "teal"),
)
BUTTONS = ("Shop now", "Learn more", "Find out more", "Get started", "Order today", "See offers")
BADGES = ("NEW", "SALE", "Only this week", "-20%", "Best price", "Sponsored", "")


@dataclass(frozen=True)
class DrawnAd:
    """One ad: what it says, its true category, its picture."""

    image_id: str
    category: str
    brand: str
    headline: str
    body: str
    image: DecodedImage


@cache
def read_sets() -> dict[str, dict[str, list[str]]]:
    """Return set -> category -> lines of "brand | headline | body"."""
    sets: dict[str, dict[str, list[str]]] = yaml.safe_load((Path(__file__).parent / "sets.yaml").read_text("utf-8"))
    return sets


def draw_set(name: str, seed: int = 0) -> list[DrawnAd]:
    """Draw all ads of a set in a shuffled order."""
    random = Random(f"{name}/{seed}")
    lines = [(category, line) for category, ads in read_sets()[name].items() for line in ads]
    random.shuffle(lines)
    return [draw_ad(f"{name}_{number:03d}", category, line, random) for number, (category, line) in enumerate(lines)]


def draw_ad(image_id: str, category: str, line: str, random: Random) -> DrawnAd:
    """Draw one ad: brand, headline, body, a button and perhaps a badge, among plain shapes."""
    brand, headline, body = (part.strip() for part in line.split("|"))
    size, (paper, ink, accent) = random.choice(SIZES), random.choice(PALETTES)
    picture = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(picture)
    draw_shapes(draw, size, accent, random)
    parts = [(brand, 0.035, accent), (headline, 0.07, ink), (body, 0.036, ink)]
    if random.random() < 0.3:
        parts = [*parts[1:], parts[0]]
    write_column(draw, size, parts, centered=random.random() < 0.5)
    write_badges(draw, size, ink, random)
    return DrawnAd(image_id, category, brand, headline, body, decoded(picture))


def draw_shapes(draw: ImageDraw.ImageDraw, size: tuple[int, int], accent: str, random: Random) -> None:
    """Draw shapes into the lower part, where no text is."""
    width, height = size
    for _ in range(random.randint(1, 4)):
        x, y = random.uniform(0.05, 0.8) * width, random.uniform(0.66, 0.8) * height
        radius = random.uniform(0.03, 0.08) * min(size)
        shape = random.choice((draw.ellipse, draw.rectangle))
        shape((x, y, x + 2 * radius, y + 2 * radius), outline=accent, width=4)


def write_column(draw: Any, size: tuple[int, int], parts: list[tuple[str, float, str]], centered: bool) -> None:
    """Write `parts`, each with its size as a share of the diagonal and its color, from top to bottom."""
    width, height = size
    diagonal, y = (width**2 + height**2) ** 0.5, 0.08 * height
    for text, share, color in parts:
        font_px = round(share * diagonal * 0.8)
        font = ImageFont.load_default(font_px)
        for line in textwrap.wrap(text, max(12, int(width * 0.86 / (font_px * 0.52)))):
            x = (width - draw.textlength(line, font)) / 2 if centered else 0.07 * width
            draw.text((x, y), line, color, font)
            y += font_px * 1.25
        y += font_px * 0.5


def write_badges(draw: Any, size: tuple[int, int], ink: str, random: Random) -> None:
    """Write what any ad may say: a button, perhaps a badge."""
    width, height = size
    font = ImageFont.load_default(max(18, height // 32))
    draw.text((0.08 * width, 0.92 * height), random.choice(BUTTONS), ink, font)
    draw.text((0.6 * width, 0.92 * height), random.choice(BADGES), ink, font)


def draw_screen(lines: list[str], seed: int = 0) -> DecodedImage:
    """Draw an app's screen: one entry a row, with a rule below each."""
    random = Random(seed)
    paper, ink, _ = random.choice(PALETTES[:2])
    picture = Image.new("RGB", (576, 1024), paper)
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        y = 60 + row * 90
        draw.text((40, y), line, ink, ImageFont.load_default(30))
        draw.line((40, y + 60, 536, y + 60), fill="gray")
    return decoded(picture)


def decoded(picture: Image.Image) -> DecodedImage:
    """Return the picture as engines get it."""
    return DecodedImage(width=picture.width, height=picture.height, rgb=picture.tobytes())
