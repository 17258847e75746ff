"""JPEG files that cost what photographs cost to decode, drawn on the spot, all different."""

from __future__ import annotations

from pathlib import Path
from random import Random

from PIL import Image

COARSENESS = 16
"""Pixels between two random colors: at 1080x1920, files of about 240 kB, as phones make of ads."""


def draw_photos(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Draw `count` images of `size` (width, height; px) into `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = (max(side // COARSENESS, 2) for side in size)
    for number in range(count):
        colors = Random(number).randbytes(3 * width * height)
        image = Image.frombytes("RGB", (width, height), colors).resize(size, Image.Resampling.BICUBIC)
        image.save(folder / f"ad_{number:05d}.jpg", quality=85)
    return folder
