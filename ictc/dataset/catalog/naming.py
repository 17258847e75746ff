"""Under which id and path an image goes into the manifest. Knows names and metadata, and no files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from ictc.dataset.catalog.listing import frame_order, without_suffix
from ictc.dataset.catalog.metadata import TIME_COLUMN, Metadata
from ictc.records import ImageRecord

Frames = Literal["first", "all"]

_NUMBERED_FRAME = re.compile(r"image_([0-9]+)")


def iter_observation(unit: str, images: Sequence[str], metadata: Metadata, frames: Frames) -> Iterator[ImageRecord]:
    """Yield the records of one observation.

    Args:
        images: paths relative to its folder, in any order.
        frames: of several images, the first in natural order or each as an image of its own.
    """
    image_id = metadata.observation_id or unit
    ordered = sorted(images, key=frame_order)
    if not ordered:
        yield make_record(image_id, unit, metadata, problem="folder holds no image")
    elif frames == "first":
        yield make_record(image_id, f"{unit}/{ordered[0]}", metadata)
    else:
        for image in ordered:
            yield make_record(f"{image_id}_{_frame_name(image)}", f"{unit}/{image}", metadata)


def _frame_name(image: str) -> str:
    """Return the number of a frame such as `image_480.jpg`, else its path without the suffix."""
    stem = without_suffix(image)
    numbered = _NUMBERED_FRAME.fullmatch(stem)
    return numbered[1] if numbered else stem


def file_record(path: str) -> ImageRecord:
    """Return the record of a plain image."""
    return make_record(file_id(path), path, Metadata())


def file_id(path: str) -> str:
    """Return the id of a plain image: its path without the suffix."""
    stem = without_suffix(path)
    return stem if PurePosixPath(stem).name.strip() else path


def make_record(image_id: str, path: str, metadata: Metadata, problem: str | None = None) -> ImageRecord:
    """Return a record that every output can hold."""
    readable_path = readable(path)
    if readable_path != path:
        problem = "its path is not valid UTF-8; rename it"
    return ImageRecord(
        image_id=readable(image_id),
        path=readable_path,
        platform=metadata.platform,
        ad_format=metadata.ad_format,
        timestamp=metadata.timestamp,
        problem=problem,
        metadata=None if metadata.unread_time is None else {TIME_COLUMN: metadata.unread_time},
    )


def readable(path: str | Path) -> str:
    """Return a path as text that every output can hold: bytes that are not UTF-8 become escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()
