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
from ictc.stages.export import FILES_OF_STAGE, remove_exports
from ictc.storage.manifest import Manifest, load_manifest, save_manifest
from ictc.storage.rundir import RunDirectory


def build_manifest(settings: RunSettings, reporter: Reporter) -> Callable[[RunDirectory], Manifest]:
    """Run Step 0 and return a function that gives each run directory its manifest.

    Names are listed every time; metadata is read only if the names or the slice changed, and only once.
    """
    chosen = settings.input
    started = time.monotonic()
    reporter.note(f"Step 0: looking for images in {chosen.ads_dir}")
    collection = list_collection(chosen.ads_dir, chosen.layout)
    key = {
        "ads_dir": str(chosen.ads_dir.resolve()),
        "fingerprint": collection.fingerprint,
        "layout": collection.layout,
        "frames": chosen.frames,
        "start": chosen.start_index,
        "end": chosen.end_index,
        "max_images": chosen.max_images,
    }
    made: list[Manifest] = []

    def images() -> Iterator[ImageRecord]:
        found = iter_images(
            collection,
            start=chosen.start_index,
            end=chosen.end_index,
            frames=chosen.frames,
            max_images=chosen.max_images,
        )
        return (with_size(image, chosen.ads_dir) for image in found)

    def manifest_of(directory: RunDirectory) -> Manifest:
        manifest = load_manifest(directory.manifest_path, key)
        if manifest is None:
            remove_exports(directory.path, FILES_OF_STAGE)  # they are about other images
            manifest = save_manifest(directory.manifest_path, key, made[0] if made else images())
        if not made:
            seconds = time.monotonic() - started
            reporter.note(f"Step 0: {manifest.num_images:,} images ({collection.layout} layout, {seconds:.1f} s)")
            check_any_image(manifest, chosen.ads_dir)
        made.append(manifest)
        return manifest

    return manifest_of


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
