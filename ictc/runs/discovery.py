"""Step 0 of a run: the collection is listed, and each run directory gets its manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ictc.config import RunSettings
from ictc.dataset.discover import iter_images, list_collection
from ictc.errors import InputError
from ictc.records import ImageRecord
from ictc.runs.reporter import Reporter
from ictc.runs.shards import check_same_collection, shard_range
from ictc.stages.export import FILES_OF_STAGE, remove_exports
from ictc.storage.manifest import Manifest, find_manifest, load_manifest, save_manifest
from ictc.storage.rundir import RunDirectory


def build_manifest(settings: RunSettings, reporter: Reporter) -> Callable[[RunDirectory], Manifest]:
    """Run Step 0 and return a function that gives each run directory its manifest.

    Names are listed every time; metadata is read only if the names or the slice changed, and only once.
    """
    chosen = settings.input
    started = time.monotonic()
    reporter.note(f"Step 0: looking for images in {chosen.ads_dir}")
    collection = list_collection(chosen.ads_dir, chosen.layout)
    start, end = shard_range(settings, len(collection))
    key = {
        "ads_dir": str(chosen.ads_dir.resolve()),
        "fingerprint": collection.fingerprint,
        "units": len(collection),
        "layout": collection.layout,
        "frames": chosen.frames,
        "start": start,
        "end": end,
        "max_images": chosen.max_images,
    }
    if chosen.is_part:
        reporter.note(describe_part(settings, start, end, len(collection)))
    made: list[Manifest] = []

    def images() -> Iterator[ImageRecord]:
        found = iter_images(
            collection,
            start=start,
            end=end,
            frames=chosen.frames,
            max_images=chosen.max_images,
        )
        return (with_size(image, chosen.ads_dir) for image in found)

    def manifest_of(directory: RunDirectory) -> Manifest:
        manifest = load_manifest(directory.manifest_path, key)
        if manifest is None:
            earlier = find_manifest(directory.manifest_path)
            if earlier is not None and chosen.is_part and not chosen.rediscover:
                check_same_collection(earlier, key, collection, directory.path)
            remove_exports(directory.path, FILES_OF_STAGE)  # they are about other images
            manifest = save_manifest(directory.manifest_path, key, made[0] if made else images())
        if not made:
            seconds = time.monotonic() - started
            reporter.note(f"Step 0: {manifest.num_images:,} images ({collection.layout} layout, {seconds:.1f} s)")
            check_any_image(manifest, chosen.ads_dir)
        made.append(manifest)
        return manifest

    return manifest_of


def describe_part(settings: RunSettings, start: int, end: int | None, num_units: int) -> str:
    """Return which part of the collection a run is about, and why it stops where it does."""
    stop = num_units if end is None else min(end, num_units)
    part = f"Step 0: part {min(start, stop):,} to {stop:,} of {num_units:,}"
    if settings.clustering.clusters is not None:
        return f"{part}, assigned to the clusters of {settings.clustering.clusters}"
    return f"{part}; no Steps 2b and 3, as clusters are made from all parts together: ictc merge"


def check_any_image(manifest: Manifest, ads_dir: Path) -> None:
    """Refuse a collection of folders without any image; an empty part of a collection is fine.

    Raises:
        InputError: there is nothing to decode.
    """
    if len(manifest) and all(image.problem for image in manifest):
        first = next(iter(manifest))
        raise InputError(f"{ads_dir} holds no image: {first.path}: {first.problem}; give --ads_dir another folder")


def with_size(image: ImageRecord, ads_dir: Path) -> ImageRecord:
    """Return the record with the size of its file, by which a replaced image is noticed."""
    if image.problem is not None:
        return image
    try:
        return replace(image, num_bytes=(ads_dir / image.path).stat().st_size)
    except OSError:
        return image  # decoding will say what is wrong
