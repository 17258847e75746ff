"""Step 0: find the images of a collection.

First the names alone (`list_collection`), so that any slice of any size is known in seconds; then one
record for each image of a slice (`iter_images`). Knows the two layouts; decodes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from ictc.dataset.listing import (
    IMAGE_SUFFIXES,
    Listing,
    frame_order,
    is_image_name,
    list_folder,
    list_tree,
    without_suffix,
)
from ictc.dataset.metadata import METADATA_NAMES, Metadata, load_metadata
from ictc.errors import InputError
from ictc.records import ImageRecord

Layout = Literal["observations", "flat"]
Frames = Literal["first", "all"]

_NUM_PROBED_FOLDERS = 100
"""How many folders are searched for a metadata file to tell the layouts apart."""

_NUMBERED_FRAME = re.compile(r"image_([0-9]+)")


@dataclass(frozen=True)
class Collection:
    """The names of a collection's units: an observation's folder, or an image file.

    Attributes:
        units: paths relative to `ads_dir`, with forward slashes, sorted by code point: the same on every
            machine, so that an index range means the same images everywhere.
    """

    ads_dir: Path
    layout: Layout
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.units)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names, in hexadecimal: equal if and only if the collection has the same units."""
        digest = sha256()
        for unit in self.units:
            digest.update(unit.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()


def list_collection(ads_dir: Path, layout: Literal["auto"] | Layout = "auto") -> Collection:
    """List the units of a collection, reading names only.

    Raises:
        InputError: the folder is missing, unreadable, empty or without images.
    """
    try:
        top = list_folder(ads_dir)
        resolved = _detect_layout(ads_dir, top) if layout == "auto" else layout
        images = list_tree(ads_dir) if resolved == "flat" else top
    except FileNotFoundError as error:
        raise InputError(f"{_readable(error.filename)} does not exist; give --ads_dir the folder of images.") from None
    except NotADirectoryError:
        raise InputError(f"{_readable(ads_dir)} is not a folder; give --ads_dir the folder that holds it.") from None
    except OSError as error:
        raise InputError(
            f"{_readable(error.filename)} cannot be read ({error.strerror}); change its permissions or move it away."
        ) from None
    units = images.images if resolved == "flat" else [*top.folders, *top.images]
    if not units:
        raise InputError(_describe_absence(ads_dir, top, images))
    return Collection(ads_dir, resolved, tuple(sorted(units)))


def iter_images(
    collection: Collection,
    *,
    start: int = 0,
    end: int | None = None,
    frames: Frames = "first",
    max_images: int | None = None,
) -> Iterator[ImageRecord]:
    """Yield a record for each image of the units `start` to `end` (exclusive; None or past the end: to the end).

    Reads each folder and its metadata once, and only inside the slice. A unit without a usable image
    yields a record with its `problem`.

    Args:
        frames: of an observation with several images, the first in natural order or each as an image of its own.
        max_images: stop after so many.

    Raises:
        InputError: two images have the same id.
    """
    return islice(_iter_unique(collection, range(len(collection))[start:end], frames), max_images)


def _iter_unique(collection: Collection, indices: range, frames: Frames) -> Iterator[ImageRecord]:
    # A number for each id, and not its path, keeps 10^7 images in memory; an error reads the first unit again.
    index_of_id: dict[str, int] = {}
    for index in indices:
        for record in _iter_unit(collection, index, frames):
            first_index = index_of_id.get(record.image_id)
            if first_index is not None:
                first = next(r for r in _iter_unit(collection, first_index, frames) if r.image_id == record.image_id)
                raise InputError(
                    f"Two images have the id {record.image_id!r}: {first.path!r} and {record.path!r}; "
                    f"rename or remove one of them."
                )
            index_of_id[record.image_id] = index
            yield record


def _iter_unit(collection: Collection, index: int, frames: Frames) -> Iterator[ImageRecord]:
    unit = collection.units[index]
    if collection.layout == "flat":
        yield _file_record(unit)
        return
    try:
        images = list_tree(collection.ads_dir / unit).images
    except OSError as error:
        # A link to nowhere among the folders may still be an image; decoding it says what is wrong.
        is_file = isinstance(error, FileNotFoundError | NotADirectoryError) and is_image_name(unit)
        cause = f"folder cannot be read: {error.strerror}"
        yield _file_record(unit) if is_file else _record(unit, unit, Metadata(), problem=cause)
    else:
        metadata = load_metadata(collection.ads_dir / unit)
        yield from _iter_observation(unit, sorted(images, key=frame_order), metadata, frames)


def _iter_observation(unit: str, images: list[str], metadata: Metadata, frames: Frames) -> Iterator[ImageRecord]:
    image_id = metadata.observation_id or unit
    if not images:
        yield _record(image_id, unit, metadata, problem="folder holds no image")
    elif frames == "first":
        yield _record(image_id, f"{unit}/{images[0]}", metadata)
    else:
        for image in images:
            yield _record(f"{image_id}_{_frame_name(image)}", f"{unit}/{image}", metadata)


def _frame_name(image: str) -> str:
    """Return the number of a frame such as `image_480.jpg`, else its path without the suffix."""
    stem = without_suffix(image)
    numbered = _NUMBERED_FRAME.fullmatch(stem)
    return numbered[1] if numbered else stem


def _file_record(path: str) -> ImageRecord:
    stem = without_suffix(path)
    return _record(stem if PurePosixPath(stem).name.strip() else path, path, Metadata())


def _record(image_id: str, path: str, metadata: Metadata, problem: str | None = None) -> ImageRecord:
    readable_path = _readable(path)
    if readable_path != path:
        problem = "its path is not valid UTF-8; rename it"
    return ImageRecord(
        image_id=_readable(image_id),
        path=readable_path,
        platform=metadata.platform,
        ad_format=metadata.ad_format,
        timestamp=metadata.timestamp,
        problem=problem,
    )


def _readable(path: str | Path) -> str:
    """Return a path as text that every output can hold: bytes that are not UTF-8 become escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _detect_layout(ads_dir: Path, top: Listing) -> Layout:
    probed = sorted(top.folders)[:_NUM_PROBED_FOLDERS]
    return "observations" if any(_has_metadata(ads_dir / folder) for folder in probed) else "flat"


def _has_metadata(folder: Path) -> bool:
    try:
        return any((folder / name).is_file() for name in METADATA_NAMES)
    except OSError:
        return False


def _describe_absence(ads_dir: Path, top: Listing, images: Listing) -> str:
    if not top.folders and not images.num_other_files:
        return f"{_readable(ads_dir)} is empty; give --ads_dir the folder of images."
    suffixes = " ".join(sorted(IMAGE_SUFFIXES))
    return (
        f"{_readable(ads_dir)} holds no image, only {images.num_other_files} other files; "
        f"give --ads_dir a folder with files that end in one of {suffixes}."
    )
