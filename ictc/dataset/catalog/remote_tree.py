"""Images below a URL, in one of the two layouts: the same units, ids and order as of the same folder on a disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ictc.dataset.catalog.collection import Collection, Layout
from ictc.dataset.catalog.listing import Listing, is_image_name
from ictc.dataset.catalog.metadata import MAX_METADATA_BYTES, METADATA_NAMES, Metadata, load_json_object, parse_metadata
from ictc.dataset.catalog.naming import Frames, file_record, iter_observation
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
        super().__init__(folder.url, layout, units)
        self._folder = folder
        self._sizes = sizes
        self._images_of = _group_by_folder(listing.images) if layout == "observations" else {}

    def iter_records(self, indices: range, frames: Frames) -> Iterator[tuple[int, ImageRecord]]:
        for batch in (
            indices[start : start + FOLDERS_PER_BATCH] for start in range(0, len(indices), FOLDERS_PER_BATCH)
        ):
            units = [self.units[index] for index in batch]
            metadata = {} if self.layout == "flat" else self._load_metadata(units)
            for index, unit in zip(batch, units, strict=True):
                for record in self._iter_unit(unit, metadata.get(unit, Metadata()), frames):
                    yield index, replace(record, num_bytes=self._sizes.get(record.path, 0))

    def _iter_unit(self, unit: str, metadata: Metadata, frames: Frames) -> Iterator[ImageRecord]:
        if self.layout == "flat" or (is_image_name(unit) and unit in self._sizes):
            return iter([file_record(unit)])
        return iter_observation(unit, self._images_of.get(unit, ()), metadata, frames)

    def _load_metadata(self, units: Sequence[str]) -> dict[str, Metadata]:
        """Return what the first usable metadata file of each folder says."""
        found: dict[str, Metadata] = {}
        for name in METADATA_NAMES:
            path_of = {unit: f"{unit}/{name}" for unit in units if unit not in found}
            small = [
                path for path in path_of.values() if self._sizes.get(path, MAX_METADATA_BYTES + 1) <= MAX_METADATA_BYTES
            ]
            contents = self._folder.read_many(small)
            for unit, path in path_of.items():
                data = load_json_object(contents.get(path, b""))
                if data is not None:
                    found[unit] = parse_metadata(data)
        return found


def _group_by_folder(images: Sequence[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for path in images:
        folder, slash, rest = path.partition("/")
        if slash:
            grouped.setdefault(folder, []).append(rest)
    return grouped


def summarize_tree(sizes: Mapping[str, int]) -> Listing:
    """Return what a listing of all objects holds, hidden names left out; `folders` are those right below."""
    tree = Listing()
    folders: dict[str, None] = {}
    for path in sizes:
        if path.startswith(".") or "/." in path:
            continue
        folder, slash, _ = path.partition("/")
        if slash:
            folders[folder] = None
        tree.add_file(path)
    tree.folders.extend(folders)
    return tree
