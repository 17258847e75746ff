"""Under which id and path an image goes into the manifest. Knows names and metadata, and no files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from ictc.dataset.catalog.listing import IMAGE_SUFFIXES, frame_order, without_suffix
from ictc.dataset.catalog.metadata import TIME_COLUMN, Metadata
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.records import ImageRecord

Frames = Literal["first", "all"]

_NUMBERED_FRAME = re.compile(r"image_([0-9]+)")


def iter_observation(
    unit: str, images: Sequence[str], metadata: Metadata, frames: Frames, left_out: Tally
) -> Iterator[ImageRecord]:
    """Yield the records of one observation.

    Args:
        images: paths relative to its folder, in any order.
        frames: of several images, the first in natural order or each as an image of its own.
        left_out: gets the images that are not taken.
    """
    image_id = metadata.observation_id or unit
    ordered = sorted(images, key=frame_order)
    if not ordered:
        yield make_record(image_id, path=unit, metadata=metadata, problem="folder holds no image")
    elif frames == "first":
        for further in ordered[1:]:
            left_out.add(Reason.FRAMES, f"{unit}/{further}")
        yield make_record(image_id, path=f"{unit}/{ordered[0]}", metadata=metadata)
    else:
        ambiguous = find_ambiguous(ordered, _frame_name)
        for image in ordered:
            name = _frame_name(image)
            yield make_record(
                f"{image_id}_{image if name in ambiguous else name}", path=f"{unit}/{image}", metadata=metadata
            )


def _frame_name(image: str) -> str:
    """Return the number of a frame such as `image_480.jpg`, else its path without the suffix."""
    stem = short_name(image)
    numbered = _NUMBERED_FRAME.fullmatch(stem)
    return numbered[1] if numbered else stem


def find_ambiguous(paths: Collection[str], shorten: Callable[[str], str]) -> set[str]:
    """Return the short names that several paths have, or that are another's whole path: those paths go by no less."""
    whole, seen, ambiguous = set(paths), set(), set()
    for path in paths:
        name = shorten(path)
        if name in seen or (name != path and name in whole):
            ambiguous.add(name)
        seen.add(name)
    return ambiguous


def short_name(path: str) -> str:
    """Return the path of an image without the suffix that says so; the path itself if it has none."""
    stem, suffix = os.path.splitext(path)  # noqa: PTH122 - ten times as fast as Path
    return stem if suffix.lower() in IMAGE_SUFFIXES and has_name(stem) else path


def file_record(path: str, ambiguous: Collection[str] = ()) -> ImageRecord:
    """Return the record of a plain image; short names that are `ambiguous` are not its id."""
    name = short_name(path)
    return make_record(path if name in ambiguous else name, path=path, metadata=Metadata())


def file_id(path: str) -> str:
    """Return the id of a plain image: its path without the suffix."""
    stem = without_suffix(path)
    return stem if has_name(stem) else path


def has_name(path: str) -> bool:
    """Whether the last part of a path is more than spaces."""
    return bool(path.rpartition("/")[2].strip())


def make_record(
    image_id: str,
    *,
    path: str,
    metadata: Metadata,
    problem: str | None = None,
    own: dict[str, Any] | None = None,
) -> ImageRecord:
    """Return a record that every output can hold.

    Args:
        own: what the user's own table says of the image.
    """
    if own is None and metadata.unread_time is not None:
        own = {TIME_COLUMN: metadata.unread_time}
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
        metadata=own,
    )


def has_unread_time(image: ImageRecord) -> bool:
    """Whether a time was given that can be read in no way, or in several."""
    return image.timestamp is None and image.metadata is not None and image.metadata.get(TIME_COLUMN) is not None


def unreadable_folder(unit: str, *, cause: str) -> ImageRecord:
    """Return the record of an observation that nobody may look into."""
    return make_record(unit, path=unit, metadata=Metadata(), problem=f"folder cannot be read: {cause}")


def readable(path: str | Path) -> str:
    """Return a path as text that every output can hold: bytes that are not UTF-8 become escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()
