"""Small image collections, drawn on the spot."""

from __future__ import annotations

from pathlib import Path

import orjson
from PIL import Image


def draw_image(path: Path, number: int = 0, size: tuple[int, int] = (96, 64)) -> Path:
    """Draw a plain image whose color depends on `number`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, ((number * 53) % 256, (number * 97) % 256, (number * 29) % 256)).save(path)
    return path


def draw_flat(folder: Path, count: int) -> Path:
    """Draw `count` images `ad_000.png`, … into `folder`."""
    for number in range(count):
        draw_image(folder / f"ad_{number:03d}.png", number)
    return folder


def draw_observation(ads_dir: Path, name: str, number: int = 0, **metadata: object) -> Path:
    """Make one folder of the observations layout."""
    draw_image(ads_dir / name / "image.jpg", number)
    (ads_dir / name / "full_data.json").write_bytes(orjson.dumps({"observation_id": name, **metadata}))
    return ads_dir / name
