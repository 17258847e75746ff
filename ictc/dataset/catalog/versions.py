"""Tells which images of a collection may have changed, without reading them, and reads those of this machine again.

A unit has a stamp, and an image a version: both are others once the image may be. What is behind a web address can't be
told without a download: it is taken as it was.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.listing import frame_order, is_image_name
from ictc.dataset.catalog.metadata import METADATA_NAMES
from ictc.dataset.catalog.naming import Frames
from ictc.dataset.catalog.stamps import ABSENT, Stamp, hash_numbers, hash_text, join_stamps, stamp_file
from ictc.dataset.fetching.locations import is_url, join, shard_of
from ictc.records import ImageRecord, Source

THREADS = 8
"""A network file system answers as many questions at a time; a disk of this machine needs one."""

UNITS_PER_TASK = 500
IMAGES_PER_BATCH = 256
NUMBERS_PER_UNIT = 3
"""Of its name, and the two of its stamp."""

TAKEN_AS_IT_WAS = Stamp(ABSENT, 0)

EMPTY = Source.of_content(hashlib.sha256().hexdigest()).digest
"""The content of an empty file, which need not be read."""


class Versions:
    """What tells changed images of a collection."""

    def __init__(self, collection: Collection, frames: Frames) -> None:
        self._collection = collection
        self._frames = frames
        self._is_remote = is_url(collection.location)

    def stamp_units(self, indices: range) -> array[int]:
        """Return name and stamp of some units, as three numbers each."""
        tasks = [indices[start : start + UNITS_PER_TASK] for start in range(0, len(indices), UNITS_PER_TASK)]
        stamps: array[int] = array("Q")
        with ThreadPoolExecutor(THREADS) as threads:
            for numbers in threads.map(self._stamp_some, tasks):
                stamps.extend(numbers)
        return stamps

    def _stamp_some(self, indices: range) -> array[int]:
        numbers: array[int] = array("Q")
        for index in indices:
            unit = self._collection.units[index]
            numbers.extend((hash_text(unit), *self._stamp(unit)))
        return numbers

    def _stamp(self, unit: str) -> Stamp:
        if self._is_remote:
            return Stamp(self._remote_stamps.get(unit, ABSENT), 0)
        if self._collection.layout == "table" and (is_url(unit) or not unit):
            return TAKEN_AS_IT_WAS
        path = self._local_path(unit)
        return stamp_observation(path, self._frames) if self._collection.layout == "observations" else stamp_file(path)

    @cached_property
    def _remote_stamps(self) -> dict[str, int]:
        """What the listing says of each unit: of an object itself, of a folder all that lies below it."""
        stamps: dict[str, int] = {}
        for path, version in sorted(self._collection.object_versions.items()):
            stamps[path] = int(version, 16)
            folder, slash, name = path.partition("/")
            if slash:
                stamps[folder] = hash_numbers(stamps.get(folder, 0), hash_text(name), int(version, 16))
        return stamps

    def version_of(self, image: ImageRecord) -> str | None:
        """Return what tells whether an image has changed since; None if only its name does."""
        if image.problem is not None or is_url(image.path):
            return None
        if image.offset is not None:
            shard = self._version_at(shard_of(image.path))
            return shard and f"{hash_numbers(int(shard, 16), image.offset, image.num_bytes):016x}"
        version = self._version_at(image.path)
        return EMPTY if version and not image.num_bytes and not self._is_remote else version

    def _version_at(self, path: str) -> str | None:
        if not self._is_remote:
            stamp = stamp_file(self._local_path(path))
            return None if stamp.core == ABSENT else stamp.version
        listed = self._collection.object_versions.get(path)
        return listed or f"{hash_text(join(self._collection.location, path)):016x}"

    def _local_path(self, path: str) -> str:
        return os.path.join(self._collection.location, path)  # noqa: PTH118 - millions of them


def batched(images: Iterable[ImageRecord], size: int) -> Iterator[list[ImageRecord]]:
    """Yield the images in lists of at most `size`."""
    remaining = iter(images)
    while batch := list(islice(remaining, size)):
        yield batch


def is_local(location: str, image: ImageRecord) -> bool:
    """Whether an image below `location` is, or lies in, a file of this machine."""
    return not (is_url(location) or is_url(image.path) or image.problem is not None)


def read_contents(location: str, images: Iterable[ImageRecord]) -> Iterator[tuple[ImageRecord, str | None]]:
    """Yield each image with the digest of its content; None if it is no file of this machine, or can't be read."""
    with ThreadPoolExecutor(THREADS) as threads:
        for batch in batched(images, IMAGES_PER_BATCH):
            yield from zip(batch, threads.map(partial(digest_content, location), batch), strict=True)


def digest_content(location: str, image: ImageRecord) -> str | None:
    """Return the digest of the content of an image below `location`, None if it can't be read."""
    if not is_local(location, image):
        return None
    path = Path(location, image.path if image.offset is None else shard_of(image.path))
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if image.offset is None:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                file.seek(image.offset)
                sha256 = hashlib.sha256(file.read(image.num_bytes)).hexdigest()
    except OSError:
        return None
    return Source.of_content(sha256).digest


def stamp_observation(folder: str, frames: Frames) -> Stamp:
    """Return a stamp of what an observation is made from: the names in its folder, its metadata and its images."""
    try:
        names = sorted(_walk(folder))
    except NotADirectoryError:
        return stamp_file(folder)
    except OSError as error:
        return Stamp(hash_numbers(error.errno or 0), 0)
    images = [name for name in names if is_image_name(name)] or names
    if frames == "first" and len(images) > 1 and is_image_name(images[0]):
        images = [min(images, key=frame_order)]
    read = {*images, *(name for name in METADATA_NAMES if name in names)}
    stamps = [stamp_file(f"{folder}/{name}") for name in sorted(read)]
    return join_stamps([Stamp(hash_text("\0".join(names)) | 2, 0), *stamps])


def _walk(folder: str, *, prefix: str = "") -> Iterator[str]:
    """Yield the paths of all files below a folder; a link to a folder is a name and no more."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, prefix=f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name
