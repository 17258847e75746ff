"""Images below a URL, in one of the two layouts: the same units, ids and order as of the same folder on a disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain

from ictc.dataset.catalog.collection import Collection, Layout
from ictc.dataset.catalog.listing import Listing, is_hidden
from ictc.dataset.catalog.metadata import (
    MAX_METADATA_BYTES,
    METADATA_NAMES,
    Metadata,
    choose_metadata,
    tells_observation,
)
from ictc.dataset.catalog.naming import Frames, file_record, find_ambiguous, iter_observation, short_name
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.dataset.fetching.content import HEAD_BYTES
from ictc.dataset.fetching.locations import is_url
from ictc.dataset.fetching.remote import RemoteFolder
from ictc.records import ImageRecord

FOLDERS_PER_BATCH = 256
"""Whose metadata is read side by side."""


class RemoteTree(Collection):
    """The images below a URL.

    Args:
        sizes: of all objects, by path.
        listing: of the same, at any depth.
    """

    def __init__(
        self, folder: RemoteFolder, layout: Layout, units: tuple[str, ...], listing: Listing, sizes: Mapping[str, int]
    ) -> None:
        super().__init__(folder.url, layout, units, listing.left_out)
        self._folder = folder
        self._sizes = sizes
        self.object_versions = folder.versions
        self._images_of = _group_by_folder(listing.images) if layout == "observations" else {}

    @cached_property
    def _ambiguous(self) -> set[str]:
        return find_ambiguous(self.units, short_name)

    def iter_records(self, indices: range, frames: Frames, left_out: Tally) -> Iterator[tuple[int, ImageRecord]]:
        for batch in (
            indices[start : start + FOLDERS_PER_BATCH] for start in range(0, len(indices), FOLDERS_PER_BATCH)
        ):
            units = [self.units[index] for index in batch]
            metadata = {} if self.layout == "flat" else self._load_metadata(units, left_out)
            for index, unit in zip(batch, units, strict=True):
                for record in self._iter_unit(unit, metadata.get(unit, Metadata()), frames, left_out):
                    yield index, self._complete(record)

    def _iter_unit(self, unit: str, metadata: Metadata, frames: Frames, left_out: Tally) -> Iterator[ImageRecord]:
        if self.layout == "flat" or (unit in self._sizes and unit not in self._images_of):
            return iter([file_record(unit, self._ambiguous)])
        return iter_observation(unit, self._images_of.get(unit, ()), metadata, frames, left_out)

    def _complete(self, record: ImageRecord) -> ImageRecord:
        if is_url(record.path):  # it would be taken for an address, and another image downloaded
            return replace(record, problem="its name looks like a URL; copy it to another name")
        return replace(record, num_bytes=self._sizes.get(record.path, 0))

    def _load_metadata(self, units: Sequence[str], left_out: Tally) -> dict[str, Metadata]:
        """Return what the first usable metadata file of each folder says."""
        contents = read_metadata_of(self._folder, units, self._sizes)
        metadata = {}
        for unit in units:
            names = [name for name in METADATA_NAMES if f"{unit}/{name}" in contents]
            metadata[unit] = choose_metadata(
                names, {name: contents[f"{unit}/{name}"] for name in names}.get, unit, left_out
            )
        return metadata


def read_metadata_of(folder: RemoteFolder, units: Sequence[str], sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Return the content of the metadata files of folders, by path; b"" of one that is too large."""
    paths = [path for unit in units for name in METADATA_NAMES if (path := f"{unit}/{name}") in sizes]
    small = [path for path in paths if sizes[path] <= MAX_METADATA_BYTES]
    return {**dict.fromkeys(paths, b""), **folder.read_many(small)}


def find_observations(folder: RemoteFolder, units: Sequence[str], sizes: Mapping[str, int]) -> set[str]:
    """Return which folders are an observation's, by their metadata."""
    contents = read_metadata_of(folder, units, sizes)
    return {
        unit
        for unit in units
        if any(tells_observation(name, contents.get(f"{unit}/{name}")) for name in METADATA_NAMES)
    }


def _group_by_folder(images: Sequence[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for path in images:
        folder, slash, rest = path.partition("/")
        if slash:
            grouped.setdefault(folder, []).append(rest)
    return grouped


def folders_below(paths: Iterable[str]) -> list[str]:
    """Return the names of the folders right below the root, hidden ones left out."""
    return list(dict.fromkeys(path.partition("/")[0] for path in paths if "/" in path and not is_hidden(path)))


def summarize_tree(folder: RemoteFolder, sizes: Mapping[str, int], layout: str) -> Listing:
    """Return what a listing of all objects holds, at any depth."""
    tree = Listing(others={path for path in sizes if layout == "observations" and _is_metadata(path)})
    for path in sizes:
        if is_hidden(path):
            tree.left_out.add(Reason.HIDDEN, path)
        elif path.endswith("/"):
            tree.left_out.add(Reason.SPECIAL, path)
        else:
            tree.add_file(path)
    empty = [(path, b"") for path in tree.unknown if not sizes[path]]
    filled = [path for path in tree.unknown if sizes[path]]
    tree.settle(chain(empty, folder.read_heads(filled, HEAD_BYTES)))
    return tree


def _is_metadata(path: str) -> bool:
    return path.partition("/")[2] in METADATA_NAMES
