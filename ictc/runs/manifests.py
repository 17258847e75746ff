"""The list of images of a run directory, kept true: which images may have changed since an earlier run.

What an image is, is told by its content. Reading millions of files at each run would take long, so a file that was
there before is read again only if what the file system says of it has changed; by its content it is then known whether
anything that was made from it is out of date.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.naming import Frames
from ictc.dataset.catalog.stamps import UNSURE, hash_text
from ictc.dataset.catalog.versions import NUMBERS_PER_UNIT, Versions, batched, is_local, read_contents
from ictc.records import ImageRecord
from ictc.runs.shards import unit_of
from ictc.steps.exports import mark_links, mark_stale
from ictc.steps.table import STEPS
from ictc.storage.atomic import storage_errors, write_atomic
from ictc.storage.keys import StageKey
from ictc.storage.manifest import Manifest, find_manifest, image_fields, load_manifest, save_manifest
from ictc.storage.rundir import RunDirectory

IMAGES_PER_BATCH = 1024

Place = tuple[str, int | None]
"""Where an image lies: its path, and of a tar member also where it begins."""


@dataclass
class ManifestKeeper:
    """Keeps the manifests that one command needs, all of the same part of a collection.

    Attributes:
        num_read: how many images were read, as they may have changed.
    """

    collection: Collection
    indices: range
    frames: Frames
    num_read: int = 0
    _contents: dict[Place, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._versions = Versions(self.collection, self.frames)
        self._stamps = self._versions.stamp_units(self.indices)

    def load(self, directory: RunDirectory, key: StageKey) -> Manifest | None:
        """Return the manifest of a run directory if it was made from `key`, and no unit may have changed since."""
        manifest = load_manifest(directory.manifest_path, key)
        is_sure = UNSURE not in self._stamps[1::NUMBERS_PER_UNIT]
        return manifest if is_sure and load_stamps(directory) == self._stamps else None

    def renew(
        self,
        directory: RunDirectory,
        key: StageKey,
        images: Iterable[ImageRecord],
        count_left_out: Callable[[], Mapping[str, Any]],
    ) -> Manifest:
        """Save the manifest of a run directory; if it lists other images than before, its exports are out of date.

        Links to images are looked at again in any case: a file may have given way to another of the same content.

        Args:
            count_left_out: counts what is no image, once all images are listed.

        Raises:
            StorageError: the disk refused.
        """
        earlier = Earlier.load(directory, key)
        with storage_errors(directory.manifest_path):
            stamps_path(directory).unlink(missing_ok=True)
        manifest = save_manifest(
            directory.manifest_path, key, self._compare(images, earlier, directory), count_left_out
        )
        mark_links(directory.path)
        write_atomic(stamps_path(directory), self._stamps.tobytes())
        return manifest

    def _compare(
        self, images: Iterable[ImageRecord], earlier: Earlier, directory: RunDirectory
    ) -> Iterator[ImageRecord]:
        """Yield the images with their versions."""
        listed = blake2b()
        for image in self._with_versions(images, earlier):
            listed.update(describe(image))
            yield image
        if listed.digest() != earlier.listed:
            mark_stale(directory.path, STEPS[0])  # the exports are about other images

    def _with_versions(self, images: Iterable[ImageRecord], earlier: Earlier) -> Iterator[ImageRecord]:
        units = index_stamps(self._stamps)
        for batch in batched(images, IMAGES_PER_BATCH):
            same = [self._is_unchanged(image, earlier, units) for image in batch]
            pairs = list(zip(batch, same, strict=True))
            self._read([image for image, is_same in pairs if not is_same and earlier.has(image)])
            for image, is_same in pairs:
                version = earlier.versions[place_of(image)] if is_same else self._version_of(image)
                yield replace(image, version=version)

    def _is_unchanged(self, image: ImageRecord, earlier: Earlier, units: dict[int, tuple[int, int]]) -> bool:
        """Whether an image is known to be the same as when an earlier run listed it."""
        if place_of(image) not in earlier.versions:
            return False
        unit = hash_text(unit_of(image.path, layout=self.collection.layout))
        if earlier.is_of_old and not is_local(self.collection.location, image):
            return True  # of a version that did not compare what services say: as good as it was
        stamp = units.get(unit)
        return stamp is not None and stamp[0] != UNSURE and earlier.stamps.get(unit) == stamp

    def _read(self, images: list[ImageRecord]) -> None:
        unread = [image for image in images if place_of(image) not in self._contents]
        for image, content in read_contents(self.collection.location, unread):
            self._contents[place_of(image)] = content
            self.num_read += content is not None

    def _version_of(self, image: ImageRecord) -> str | None:
        return self._contents.get(place_of(image)) or self._versions.version_of(image)

    @contextmanager
    def keeping_stamps(self, directories: Iterable[RunDirectory]) -> Iterator[None]:
        """Take it for no change of the images what a block does to their files: links change what is said of them."""
        before = self._versions.stamp_units(self.indices)
        yield
        after = self._versions.stamp_units(self.indices)
        for place in range(0, len(after), NUMBERS_PER_UNIT):
            unit = slice(place, place + NUMBERS_PER_UNIT)
            if before[unit] == self._stamps[unit] and before[place + 1] == after[place + 1]:
                self._stamps[unit] = after[unit]
        for directory in directories:
            write_atomic(stamps_path(directory), self._stamps.tobytes())


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier run listed.

    Attributes:
        versions: of each image.
        stamps: of each unit, by a digest of its name.
        listed: digest of all that it says of the images but their versions.
        is_of_old: whether it is the list that would be made now, by an ictc that knew no versions.
        is_lost: whether there was a list which cannot be read any more.
    """

    versions: dict[Place, str | None] = field(default_factory=dict)
    stamps: dict[int, tuple[int, int]] = field(default_factory=dict)
    listed: bytes = b""
    is_of_old: bool = False
    is_lost: bool = False

    @classmethod
    def load(cls, directory: RunDirectory, key: StageKey) -> Earlier:
        """Return what the manifest of a run directory lists, nothing if there is none."""
        manifest = find_manifest(directory.manifest_path)
        if manifest is None:
            return cls(is_lost=stamps_path(directory).exists())
        versions: dict[Place, str | None] = {}
        listed = blake2b()
        for image in manifest:
            versions[place_of(image)] = image.version
            listed.update(describe(image))
        is_of_old = manifest.key == key and not any(versions.values()) and not stamps_path(directory).exists()
        return cls(
            versions=versions, stamps=index_stamps(load_stamps(directory)), listed=listed.digest(), is_of_old=is_of_old
        )

    def has(self, image: ImageRecord) -> bool:
        """Whether an image was listed at this place, or may have been."""
        return image.problem is None and (self.is_lost or place_of(image) in self.versions)


def place_of(image: ImageRecord) -> Place:
    """Return where an image lies."""
    return image.path, image.offset


def describe(image: ImageRecord) -> bytes:
    """Return all that a manifest says of an image but its version."""
    said = image_fields(image)
    said.pop("version", None)
    return orjson.dumps(said)


def stamps_path(directory: RunDirectory) -> Path:
    """Return where the stamps of a manifest lie."""
    return directory.manifest_path.with_suffix(".stamps")


def load_stamps(directory: RunDirectory) -> array[int]:
    """Return the stamps of a manifest as they are saved, none if they are not there."""
    stamps: array[int] = array("Q")
    try:
        stamps.frombytes(stamps_path(directory).read_bytes())
    except (OSError, ValueError):
        return array("Q")
    return stamps


def index_stamps(stamps: array[int]) -> dict[int, tuple[int, int]]:
    """Return the stamp of each unit by the digest of its name."""
    numbers = iter(stamps)
    return {name: (core, changed) for name, core, changed in zip(numbers, numbers, numbers, strict=False)}
