"""The list of images that a run is about, frozen in a file: one line an image, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from ictc.errors import StorageError
from ictc.records import ImageRecord
from ictc.storage.atomic import atomic_writer, write_atomic
from ictc.storage.keys import StageKey

FIELDS = tuple(one.name for one in fields(ImageRecord))
OPTIONAL_FIELDS = ("offset", "metadata", "version")
values_of = attrgetter(*FIELDS)


@dataclass(frozen=True)
class Manifest:
    """A finished manifest. Iterating reads the file, so memory does not grow with the collection.

    Attributes:
        key: what it was made from.
        left_out: counts of what lay among the images and is none, in a form that JSON has.
    """

    path: Path
    key: StageKey
    num_images: int
    left_out: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.num_images

    def __iter__(self) -> Iterator[ImageRecord]:
        return iter_manifest(self.path)


def iter_manifest(path: Path) -> Iterator[ImageRecord]:
    """Yield the images of the manifest at `path`."""
    with path.open("rb") as file:
        for line in file:
            yield ImageRecord(**orjson.loads(line))


def find_manifest(path: Path) -> Manifest | None:
    """Return the manifest at `path`, whatever it was made from, None if it is missing or unfinished."""
    try:
        marker: dict[str, Any] = orjson.loads(_marker_path(path).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    if not isinstance(marker, dict) or not path.is_file():
        return None
    return Manifest(path, marker["key"], marker["num_images"], marker.get("left_out", {}))


def load_manifest(path: Path, key: StageKey) -> Manifest | None:
    """Return the manifest at `path` if it was made from `key`, else None."""
    manifest = find_manifest(path)
    return manifest if manifest is not None and manifest.key == key else None


def save_manifest(
    path: Path, key: StageKey, images: Iterable[ImageRecord], count_left_out: Callable[[], Mapping[str, Any]] = dict
) -> Manifest:
    """Write the manifest and return it; the marker that makes it count comes last.

    Args:
        count_left_out: called once all images are written.

    Raises:
        StorageError: the disk refused.
    """
    try:
        _marker_path(path).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot replace {path}: {error.strerror}") from error
    num_images = 0
    with atomic_writer(path) as file:
        for image in images:
            file.write(orjson.dumps(image_fields(image)) + b"\n")
            num_images += 1
    left_out = count_left_out()
    write_atomic(_marker_path(path), orjson.dumps({"key": key, "num_images": num_images, "left_out": left_out}))
    return Manifest(path, key, num_images, left_out)


def image_fields(image: ImageRecord) -> dict[str, Any]:
    """Return what a line of the manifest holds: optional fields only where they say something."""
    held = dict(zip(FIELDS, values_of(image), strict=True))
    for name in OPTIONAL_FIELDS:
        if held[name] is None:
            del held[name]
    return held


def _marker_path(path: Path) -> Path:
    return path.with_suffix(".key.json")
