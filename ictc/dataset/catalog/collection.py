"""What all collections of images have in common, wherever they lie: units in an order, and records of a slice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from hashlib import sha256
from itertools import islice
from typing import Literal

from ictc.dataset.catalog.naming import Frames
from ictc.errors import InputError
from ictc.records import ImageRecord

GivenLayout = Literal["observations", "flat", "tar"]
Layout = Literal["observations", "flat", "tar", "table"]


class Collection(ABC):
    """The names of a collection's units: an observation's folder, an image file, a tar shard or a row of a table.

    Attributes:
        location: of the folder that paths start from; it may be a URL.
        units: paths relative to it, with forward slashes, sorted by code point, or in the order of the table: the
            same on every machine, so that an index range means the same images everywhere.
    """

    def __init__(self, location: str, layout: Layout, units: tuple[str, ...]) -> None:
        self.location = location
        self.layout = layout
        self.units = units

    def __len__(self) -> int:
        return len(self.units)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names, in hexadecimal: equal if and only if the collection has the same units."""
        digest = sha256()
        for unit in self.units:
            digest.update(unit.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()

    @abstractmethod
    def iter_records(self, indices: range, frames: Frames) -> Iterator[tuple[int, ImageRecord]]:
        """Yield the index of a unit and a record for each of its images, in order."""

    def name(self, index: int, image: ImageRecord) -> str:
        """Return what to call an image of the unit at `index` in a message."""
        return repr(image.path)


def iter_images(
    collection: Collection,
    *,
    start: int = 0,
    end: int | None = None,
    frames: Frames = "first",
    max_images: int | None = None,
) -> Iterator[ImageRecord]:
    """Yield a record for each image of the units `start` to `end` (exclusive; None or past the end: to the end).

    Reads each unit and its metadata once, and only inside the slice. A unit without a usable image
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
    for index, record in collection.iter_records(indices, frames):
        first = index_of_id.get(record.image_id)
        if first is not None:
            again = collection.iter_records(range(first, first + 1), frames)
            twin = next(other for _, other in again if other.image_id == record.image_id)
            raise InputError(
                f"Two images have the id {record.image_id!r}: {collection.name(first, twin)} and "
                f"{collection.name(index, record)}; rename or remove one of them."
            )
        index_of_id[record.image_id] = index
        yield record
