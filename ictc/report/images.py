"""Finds the image files behind results and makes small copies of them.

Paths in results are foreign text: none leads out of the folder of the images.
"""

from __future__ import annotations

import asyncio
import base64
import io
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
import pandas as pd
from PIL import Image

from ictc.config.groups import user_folder
from ictc.dataset.decoding.pool import DecodePool
from ictc.dataset.fetching.cache import ContentCache
from ictc.dataset.fetching.places import ImagePlaces
from ictc.errors import ConfigError
from ictc.records import DecodedImage, ImageRecord
from ictc.steps.image_links import LinkNames, iter_names
from ictc.storage.manifest import Manifest, find_manifest
from ictc.storage.rundir import RunDirectory

IMAGE_TOKENS = 320
"""About 570 × 570 pixels: legible when shown large, small enough for hundreds in a page."""

WEBP_QUALITY = 66


@dataclass(frozen=True, kw_only=True)
class ImageFinder:
    """Where the images of a run lie.

    Attributes:
        ads_dir: the folder that results' paths start from, None if it is unknown.
        directory: of the run; `categorized_images/` inside holds the images too, unless it was moved away.
        copies: of images that are no files of this machine.
        manifest: of the run, None if it is lost.
    """

    ads_dir: Path | None
    directory: Path
    copies: CachedCopies | None = None
    manifest: Manifest | None = None

    def find(self, image_id: str, *, image_path: str) -> Path | None:
        """Return the file of an image, None if it is nowhere."""
        if self.ads_dir is not None and _stays_inside(image_path) and (self.ads_dir / image_path).is_file():
            return self.ads_dir / image_path
        link = self.directory / "categorized_images" / "valid_ads" / self._link_name(image_id, image_path=image_path)
        if link.is_file():
            return link
        return None if self.copies is None else self.copies.find(image_id)

    def _link_name(self, image_id: str, *, image_path: str) -> str:
        return self._link_names.get(image_id) or LinkNames().name(ImageRecord(image_id, path=image_path))

    @cached_property
    def _link_names(self) -> dict[str, str]:
        if self.manifest is None:
            return {}
        named = iter_names(self.manifest, self.manifest.key["ads_dir"])
        return {image.image_id: name for image, name in named if name is not None}


class CachedCopies:
    """The copies that a run made of images behind URLs and in tar shards, where the cache still has them."""

    def __init__(self, manifest: Manifest, cache: ContentCache) -> None:
        self._manifest = manifest
        self._places = ImagePlaces(manifest.key["base"])
        self._cache = cache

    @cached_property
    def _images(self) -> dict[str, ImageRecord]:
        return {image.image_id: image for image in self._manifest if not self._places.find(image).is_file}

    def find(self, image_id: str) -> Path | None:
        """Return the copy of an image, None if there is none."""
        image = self._images.get(image_id)
        return None if image is None else self._cache.locate(self._places.find(image).cache_key)


def build_finder(directory: Path, *, ads_dir: Path | None = None) -> ImageFinder:
    """Look for images in `ads_dir`, else where the run read them.

    Raises:
        ConfigError: `ads_dir` is no folder.
    """
    if ads_dir is not None and not ads_dir.is_dir():
        raise ConfigError(f"--ads_dir {ads_dir}: there is no such folder")
    settings = read_optional_json(directory / "run.json").get("settings")
    if not isinstance(settings, dict):
        settings = {}
    recorded = settings.get("ads_dir")
    folder = Path(recorded) if isinstance(recorded, str) else None
    manifest = find_manifest(RunDirectory(directory).manifest_path)
    cache_dir = Path(settings.get("cache_dir") or user_folder("cache") / "images")
    has_copies = manifest is not None and "base" in manifest.key and cache_dir.is_dir()
    copies = CachedCopies(manifest, ContentCache(cache_dir, 0)) if manifest is not None and has_copies else None
    return ImageFinder(ads_dir=ads_dir or folder, directory=directory, copies=copies, manifest=manifest)


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


def find_images(rows: pd.DataFrame, finder: ImageFinder) -> dict[str, Image.Image]:
    """Return a small copy of each row's image, by id, where it is found and can be decoded."""
    pairs = zip(rows["image_id"], rows["image_path"].fillna(""), strict=True)
    paths = {image_id: path for image_id, image_path in pairs if (path := finder.find(image_id, image_path=image_path))}
    return load_images(paths)


def load_images(paths: Mapping[str, Path]) -> dict[str, Image.Image]:
    """Decode images in worker processes, so that a hostile file costs itself alone; what is no image is left out.

    Args:
        paths: of each image, by its id.
    """
    with ThreadPoolExecutor(1) as thread:  # in a notebook, this one has a loop that runs
        return thread.submit(asyncio.run, _decode_all(paths)).result()


async def _decode_all(paths: Mapping[str, Path]) -> dict[str, Image.Image]:
    async with DecodePool() as pool:
        decoded = await asyncio.gather(*(pool.decode(path, IMAGE_TOKENS) for path in paths.values()))
    return {
        image_id: Image.frombytes("RGB", (image.width, image.height), image.rgb)
        for image_id, image in zip(paths, decoded, strict=True)
        if isinstance(image, DecodedImage)
    }


def encode_images(images: Mapping[str, Image.Image], max_bytes: float = math.inf) -> dict[str, str]:
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
