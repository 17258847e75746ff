"""Finds the image files behind results and makes small copies of them.

Paths in results are foreign text: none leads out of the folder of the images.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
from PIL import Image

from ictc.dataset.pool import DecodePool
from ictc.records import BrokenImage, ImageRecord
from ictc.stages.image_links import link_name

IMAGE_TOKENS = 320
"""About 570 × 570 pixels: legible when shown large, small enough for hundreds in a page."""

WEBP_QUALITY = 66


@dataclass(frozen=True)
class ImageFinder:
    """Where the images of a run lie.

    Attributes:
        ads_dir: the folder that results' paths start from, None if it is unknown.
        directory: of the run; `categorized_images/` inside holds the images too, unless it was moved away.
    """

    ads_dir: Path | None
    directory: Path

    def find(self, image_id: str, image_path: str) -> Path | None:
        """Return the file of an image, None if it is nowhere."""
        name = link_name(ImageRecord(image_id, image_path))
        candidates = [self.directory / "categorized_images" / "valid_ads" / name]
        if self.ads_dir is not None and _stays_inside(image_path):
            candidates.insert(0, self.ads_dir / image_path)
        return next((path for path in candidates if path.is_file()), None)


def build_finder(directory: Path, ads_dir: Path | None = None) -> ImageFinder:
    """Look for images in `ads_dir`, else in the folder that the run read."""
    return ImageFinder(ads_dir or _recorded_ads_dir(directory), directory)


def _recorded_ads_dir(directory: Path) -> Path | None:
    settings = read_optional_json(directory / "run.json").get("settings")
    ads_dir = settings.get("ads_dir") if isinstance(settings, dict) else None
    return Path(ads_dir) if isinstance(ads_dir, str) else None


def read_optional_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, an empty one if the file is missing or damaged."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path


def load_images(paths: Mapping[str, Path]) -> dict[str, Image.Image]:
    """Decode images in worker processes, so that a hostile file costs itself alone; what is no image is left out.

    Args:
        paths: of each image, by its id.
    """
    return asyncio.run(_decode_all(paths))


async def _decode_all(paths: Mapping[str, Path]) -> dict[str, Image.Image]:
    async with DecodePool() as pool:
        decoded = await asyncio.gather(*(pool.decode(path, IMAGE_TOKENS) for path in paths.values()))
    return {
        image_id: Image.frombytes("RGB", (image.width, image.height), image.rgb)
        for image_id, image in zip(paths, decoded, strict=True)
        if not isinstance(image, BrokenImage)
    }


def encode_images(images: Mapping[str, Image.Image], max_bytes: int) -> dict[str, str]:
    """Return images as `data:` URIs, in their order, until `max_bytes` of image files are reached."""
    encoded: dict[str, str] = {}
    for image_id, image in images.items():
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=WEBP_QUALITY)
        max_bytes -= buffer.tell()
        if max_bytes < 0:
            break
        encoded[image_id] = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return encoded
