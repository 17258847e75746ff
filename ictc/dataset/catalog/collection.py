"""What all collections of images have in common, wherever they lie: units in an order, and records of a slice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from itertools import chain, islice
from types import MappingProxyType
from typing import Literal, NoReturn

from ictc.dataset.catalog.naming import Frames, has_unread_time
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.errors import InputError
from ictc.records import ImageRecord

NUM_REPEATED_SHOWN = 3

GivenLayout = Literal["observations", "flat", "tar"]
Layout = Literal["observations", "flat", "tar", "table"]


class Collection(ABC):
    """The names of a collection's units: an observation's folder, an image file, a tar shard or a row of a table.

    Attributes:
        location: of the folder that paths start from; it may be a URL.
        units: paths relative to it, with forward slashes, sorted by code point, or in the order of the table: the
            same on every machine, so that an index range means the same images everywhere.
        left_out: what lies beside the units.
        object_versions: of a collection behind a URL, what the service says of each object, by path: 16 hex digits that
            are others once it holds other bytes.
    """

    object_versions: Mapping[str, str] = MappingProxyType({})

    def __init__(self, location: str, layout: Layout, units: tuple[str, ...], left_out: Tally | None = None) -> None:
        self.location = location
        self.layout = layout
        self.units = units
        self.left_out = left_out or Tally()

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
    def iter_records(self, indices: range, frames: Frames, left_out: Tally) -> Iterator[tuple[int, ImageRecord]]:
        """Yield the index of a unit and a record for each of its images, in order.

        Args:
            left_out: gets what lies in the units besides.
        """

    def name(self, index: int, image: ImageRecord) -> str:
        """Return what to call an image of the unit at `index` in a message."""
        return repr(image.path)

    def with_own_id(self, index: int, image: ImageRecord) -> ImageRecord:
        """Return an image of the unit at `index` whose id another has, under one of its own where there is one."""
        return image


def iter_images(
    collection: Collection,
    *,
    start: int = 0,
    end: int | None = None,
    frames: Frames = "first",
    max_images: int | None = None,
    left_out: Tally | None = None,
) -> Iterator[ImageRecord]:
    """Yield a record for each image of the units `start` to `end` (exclusive; None or past the end: to the end).

    Reads each unit and its metadata once, and only inside the slice. A unit without a usable image
    yields a record with its `problem`.

    Args:
        frames: of an observation with several images, the first in natural order or each as an image of its own.
        max_images: stop after so many.
        left_out: gets what lies in these units besides.

    Raises:
        InputError: two images have the same id.
    """
    tally = Tally() if left_out is None else left_out
    return islice(_iter_unique(collection, range(len(collection))[start:end], frames, tally), max_images)


def _iter_unique(collection: Collection, indices: range, frames: Frames, left_out: Tally) -> Iterator[ImageRecord]:
    # A number for each id, and not its path, keeps 10^7 images in memory; an error reads the first unit again.
    index_of_id: dict[str, int] = {}
    records = collection.iter_records(indices, frames, left_out)
    for index, given in records:
        record = given
        if given.image_id in index_of_id:
            record = collection.with_own_id(index, given)
            if record.image_id in index_of_id:
                _refuse(collection, frames, index_of_id, chain([(index, record)], records))
            left_out.add(Reason.BY_PATH, record.image_id)
        index_of_id[record.image_id] = index
        if has_unread_time(record):
            left_out.add(Reason.NO_TIME, record.image_id)
        yield record


def _refuse(
    collection: Collection, frames: Frames, index_of_id: dict[str, int], rest: Iterable[tuple[int, ImageRecord]]
) -> NoReturn:
    """Say which ids are repeated, all at once.

    Args:
        index_of_id: of the images so far.
        rest: the images after those.
    """
    repeated: dict[str, str] = {}
    for index, record in rest:
        if record.image_id in index_of_id:
            repeated.setdefault(record.image_id, collection.name(index, record))
        else:
            index_of_id[record.image_id] = index
    pairs = [
        f"{image_id!r}: {_name_first(collection, frames, index_of_id[image_id], image_id)} and {twin}"
        for image_id, twin in islice(repeated.items(), NUM_REPEATED_SHOWN)
    ]
    more = len(repeated) - len(pairs)
    if len(repeated) == 1:
        raise InputError(f"Two images have the id {pairs[0]}; rename or remove one of them.")
    also = f"; and {more:,} more" if more else ""
    raise InputError(
        f"{len(repeated):,} ids are those of several images each: {'; '.join(pairs)}{also}; rename or remove all but "
        "one of each."
    )


def _name_first(collection: Collection, frames: Frames, index: int, image_id: str) -> str:
    """Return the name of the first image that has an id, which is of the unit at `index`."""
    records = collection.iter_records(range(index, index + 1), frames, Tally())
    return next(
        (collection.name(index, record) for _, record in records if record.image_id == image_id), repr(image_id)
    )
