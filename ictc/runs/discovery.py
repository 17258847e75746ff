"""Step 0 of a run: the collection is listed, and each run directory gets its manifest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ictc.config import InputSettings
from ictc.config.groups import user_folder
from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.dataset.catalog.table import list_table
from ictc.dataset.catalog.tally import Tally
from ictc.dataset.catalog.tar_shards import is_pattern, split_pattern
from ictc.dataset.fetching.files import FetchOptions, ImageFiles, open_image_files
from ictc.dataset.fetching.http import HttpLimits
from ictc.dataset.fetching.locations import is_http, is_url
from ictc.dataset.fetching.places import ImagePlaces
from ictc.errors import InputError
from ictc.records import ImageRecord
from ictc.runs.manifests import ManifestKeeper
from ictc.runs.reporter import Reporter
from ictc.runs.shards import check_same_collection, shard_range
from ictc.storage.keys import StageKey
from ictc.storage.manifest import Manifest, find_manifest
from ictc.storage.rundir import RunDirectory


def build_manifest(chosen: InputSettings, clusters: Path | None, reporter: Reporter) -> Discovery:
    """Run Step 0: list the names of the collection, and look at what the file system says of the files.

    Args:
        clusters: the file of those that are given, None if they are to be made.
    """
    started = time.monotonic()
    reporter.note(f"Step 0: looking for images in {chosen.source}")
    collection = list_collection(
        chosen.ads_dir, layout=chosen.layout, images=chosen.images, allowed=chosen.allowed_schemes
    )
    start, end = shard_range(chosen, len(collection))
    key = key_of(chosen, collection, start=start, end=end)
    if chosen.is_part:
        reporter.note(describe_part(clusters, start=start, end=end, num_units=len(collection)))
    indices = range(len(collection))[start:end][: chosen.max_images]  # a unit has an image at least
    return Discovery(chosen, reporter, collection, key, ManifestKeeper(collection, indices, chosen.frames), started)


@dataclass
class Discovery:
    """What Step 0 found; call it with a run directory to get that its manifest.

    Metadata is read only if something may have changed, and only once.

    Attributes:
        key: what a manifest of it is made from.
        made: the manifests so far.
        left_out: what lies in the units and is no image.
    """

    chosen: InputSettings
    reporter: Reporter
    collection: Collection
    key: StageKey
    keeper: ManifestKeeper
    started: float
    made: list[Manifest] = field(default_factory=list)
    left_out: Tally = field(default_factory=Tally)

    def __call__(self, directory: RunDirectory) -> Manifest:
        """Return the manifest of a run directory, an earlier one if nothing has changed since."""
        manifest = self.keeper.load(directory, self.key)
        if manifest is None:
            earlier = find_manifest(directory.manifest_path)
            if earlier is not None and self.chosen.is_part and not self.chosen.rediscover:
                check_same_collection(earlier, self.key, self.collection, directory.path)
            images = self.made[0] if self.made else self._iter_images()
            manifest = self.keeper.renew(directory, self.key, images, self._count_left_out)
        if not self.made:
            self._tell(manifest)
        self.made.append(manifest)
        return manifest

    def _iter_images(self) -> Iterator[ImageRecord]:
        key = self.key
        limits = {"start": key["start"], "end": key["end"], "max_images": key["max_images"]}
        return iter_images(self.collection, frames=self.chosen.frames, left_out=self.left_out, **limits)

    def _count_left_out(self) -> Mapping[str, Any]:
        return self.made[0].left_out if self.made else self.left_out.to_json()

    def _tell(self, manifest: Manifest) -> None:
        """Say what was found.

        Raises:
            InputError: there is no image.
        """
        seconds = time.monotonic() - self.started
        self.reporter.note(f"Step 0: {manifest.num_images:,} images ({self.collection.layout} layout, {seconds:.1f} s)")
        if self.keeper.num_read:
            self.reporter.note(
                f"Step 0: {self.keeper.num_read:,} files were changed, moved or touched and have been read again; "
                "those of the same content keep their results"
            )
        if said := describe_left_out(self.collection, manifest):
            self.reporter.note(f"Step 0: {said}")
        check_any_image(manifest, self.chosen.source)
        if not are_files(self.collection):
            self.reporter.note(
                "categorized_images/ gets links to files only: none to images behind URLs or in tar shards"
            )


def describe_left_out(collection: Collection, manifest: Manifest) -> str:
    """Return what lies beside the images of a manifest and is none, "" if nothing does."""
    tally = Tally.from_json(manifest.left_out)
    tally.update(collection.left_out)
    return tally.describe()


def are_files(collection: Collection) -> bool:
    """Whether each image is a file of this machine."""
    has_urls = is_url(collection.location) or (collection.layout == "table" and any(map(is_url, collection.units)))
    return collection.layout != "tar" and not has_urls


def key_of(chosen: InputSettings, collection: Collection, *, start: int, end: int | None) -> dict[str, Any]:
    """Return what the images of a collection, from one unit to another, depend on."""
    return {
        **describe_location(chosen, collection),
        "fingerprint": collection.fingerprint,
        "units": len(collection),
        "layout": collection.layout,
        "frames": chosen.frames,
        "start": start,
        "end": end,
        "max_images": chosen.max_images,
    }


def describe_location(chosen: InputSettings, collection: Collection) -> dict[str, Any]:
    """Return where the images are, in the same words from whatever folder the command is given.

    `base`, where their paths start, is there only where it says something: keys of plain folders never had it.
    """
    table: dict[str, Any] = {} if chosen.images is None else {"images": absolute(chosen.images)}
    if table and chosen.allowed_schemes:
        table["allow_schemes"] = sorted(chosen.allowed_schemes)
    ads_dir = collection.location if chosen.ads_dir is None else chosen.ads_dir
    base = {} if are_files(collection) else {"base": absolute(collection.location)}
    return {"ads_dir": absolute(ads_dir), **table, **base}


def absolute(location: Path | str) -> str:
    """Return a path as it is found from any folder; a URL is already."""
    return str(location) if is_url(location) else str(Path(location).resolve())


@dataclass(frozen=True)
class FoundImages:
    """Access to the files of the images that Step 0 found, from whatever process.

    Attributes:
        chosen: what was given; paths are absolute where another machine is to find them.
    """

    chosen: InputSettings

    def open(self, num_sharing: int = 1) -> AbstractAsyncContextManager[ImageFiles]:
        """Return access for one of `num_sharing` processes, which get equal shares of what servers may be asked.

        Raises:
            InputError: the table of images has vanished since.
            ConfigError: a package is missing.
        """
        chosen = self.chosen
        http = HttpLimits(
            concurrency=max(1, chosen.download_concurrency // num_sharing),
            per_host=max(1, chosen.downloads_per_host // num_sharing),
            deadline_s=chosen.download_timeout_s,
            allow_private=chosen.allow_private_addresses,
        )
        cache_dir = chosen.cache_dir or user_folder("cache") / "images"
        options = FetchOptions(cache_dir, int(chosen.cache_gb * 1e9), http)
        return open_image_files(find_places(chosen), options)

    def max_sharing(self) -> int | None:
        """Return how many processes may fetch at the same time, so that each has a share; None if nothing is fetched.

        Raises:
            InputError: the table of images has vanished since.
        """
        places = find_places(self.chosen)
        if not places.are_remote:
            return None
        most: int = self.chosen.download_concurrency
        return min(most, self.chosen.downloads_per_host) if places.on_web else most


def find_places(chosen: InputSettings) -> ImagePlaces:
    """Return where the images of a collection are, as far as settings and table tell."""
    if chosen.images is not None:
        table = list_table(
            chosen.images, None if chosen.ads_dir is None else str(chosen.ads_dir), chosen.allowed_schemes
        )
        starts = (table.location, *table.units)
        are_remote, on_web = any(map(is_url, starts)), any(map(is_http, starts))
        return ImagePlaces(absolute(table.location), addresses=table.addresses, are_remote=are_remote, on_web=on_web)
    base = str(chosen.ads_dir)
    if is_pattern(base):
        base, _ = split_pattern(base)
    return ImagePlaces(absolute(base), are_remote=is_url(base))


def describe_part(clusters: Path | None, *, start: int, end: int | None, num_units: int) -> str:
    """Return which part of the collection a run is about, and why it stops where it does."""
    stop = num_units if end is None else min(end, num_units)
    part = f"Step 0: part {min(start, stop):,} to {stop:,} of {num_units:,}"
    if clusters is not None:
        return f"{part}, assigned to the clusters of {clusters}"
    return f"{part}; no Steps 2b and 3, as clusters are made from all parts together: ictc merge"


def check_any_image(manifest: Manifest, source: str) -> None:
    """Refuse a collection of folders without any image; an empty part of a collection is fine.

    Raises:
        InputError: there is nothing to decode.
    """
    if len(manifest) and all(image.problem for image in manifest):
        first = next(iter(manifest))
        raise InputError(f"{source} holds no image: {first.path}: {first.problem}; give --ads_dir another folder")
