"""Draws the sample: images of a collection, or captions of a run; the same ones whatever order they come in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from heapq import nsmallest
from typing import Any

from ictc.config import InputSettings
from ictc.dataset.catalog.collection import Collection, iter_images
from ictc.dataset.catalog.discover import list_collection
from ictc.dataset.catalog.versions import Versions
from ictc.errors import ConfigError, InputError
from ictc.records import Caption, ImageRecord
from ictc.runs.discovery import key_of
from ictc.runs.reader import open_results
from ictc.runs.shards import shard_range
from ictc.stages.outcome import Status
from ictc.steps.caption import CAPTION, caption_of
from ictc.steps.results import Results
from ictc.storage.manifest import find_manifest
from ictc.storage.rundir import RunDirectory


@dataclass(frozen=True, kw_only=True)
class DrawnImages:
    """Images of a collection.

    Attributes:
        key: what they were drawn from, for the manifest of the sample.
    """

    images: tuple[ImageRecord, ...]
    key: dict[str, Any]


def place_of(name: str, seed: int) -> bytes:
    """Return the place of a name in an order that depends on the names and the seed alone."""
    return blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def shuffle(names: Iterable[str], seed: int) -> list[str]:
    """Return different names in that order."""
    return sorted(names, key=lambda name: place_of(name, seed))


def draw_images(chosen: InputSettings, *, num_images: int, seed: int) -> DrawnImages:
    """Return so many images of a collection, or all if there are fewer.

    Only the units that they are in are read. Where a unit is a tar shard, the images may come from few of them.

    Raises:
        InputError: there is no image.
    """
    collection = list_collection(
        chosen.ads_dir, layout=chosen.layout, images=chosen.images, allowed=chosen.allowed_schemes
    )
    start, end = shard_range(chosen, len(collection))
    units = range(len(collection))[start:end][: chosen.max_images]
    drawn = _draw_from(collection, units, chosen, num_images=num_images, seed=seed)
    if not drawn:
        raise InputError(f"{chosen.source} holds no image in what was drawn of it; give --ads_dir another folder")
    versions = Versions(collection, chosen.frames)
    sample = {"images": num_images, "seed": seed}
    key = {**key_of(chosen, collection, start=start, end=end), "sample": sample}
    return DrawnImages(images=tuple(replace(one, version=versions.version_of(one)) for one in drawn), key=key)


def _draw_from(
    collection: Collection, units: range, chosen: InputSettings, *, num_images: int, seed: int
) -> list[ImageRecord]:
    images: dict[str, ImageRecord] = {}
    for unit in nsmallest(len(units), units, key=lambda unit: (place_of(collection.units[unit], seed), unit)):
        if len(images) >= num_images:
            break
        listed = iter_images(collection, start=unit, end=unit + 1, frames=chosen.frames)
        images.update((image.image_id, image) for image in listed if image.problem is None)
    return [images[image_id] for image_id in shuffle(images, seed)[:num_images]]


def draw_captions(source: RunDirectory, *, num_images: int, seed: int) -> list[Caption]:
    """Return so many captions of a run, or all if there are fewer.

    Raises:
        ConfigError: there is none.
        StorageError: they can't be read.
    """
    manifest = find_manifest(source.manifest_path)
    if manifest is not None:
        with open_results(source, manifest) as results:
            if captions := captions_of(results, num_images=num_images, seed=seed):
                return captions
    raise ConfigError(f"{source.path}: no image has a caption there; let Step 1 of that run finish, or give --ads_dir")


def captions_of(results: Results, *, num_images: int, seed: int) -> list[Caption]:
    """Return so many captions that there are, in the order of `shuffle`."""
    ids = results.iter_ids(CAPTION, Status.DONE)
    return [
        caption_of(results, image_id)
        for image_id in nsmallest(num_images, ids, key=lambda image_id: place_of(image_id, seed))
    ]
