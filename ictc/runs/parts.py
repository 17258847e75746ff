"""The shards that a merge puts together: read, put in order, and refused where they don't make up one collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ictc.config import ClusteringSettings
from ictc.dataset.catalog.discover import list_collection
from ictc.dataset.catalog.tally import Tally
from ictc.errors import ConfigError, InputError
from ictc.records import ImageRecord
from ictc.runs.reader import open_results
from ictc.runs.shards import describe_change
from ictc.stages.outcome import needs_work
from ictc.steps.base import MapStep, Step
from ictc.steps.choice import find_wanted
from ictc.steps.results import Results
from ictc.steps.table import STEPS
from ictc.storage.keys import StageKey, explain_change
from ictc.storage.manifest import Manifest, find_manifest
from ictc.storage.rundir import RunDirectory

SHARED_KEYS = ("layout", "frames")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One shard.

    Attributes:
        start, end: its range of the collection's units, the end exclusive.
    """

    directory: RunDirectory
    manifest: Manifest
    start: int
    end: int

    @property
    def name(self) -> str:
        return str(self.directory.path)

    def key(self, step: Step) -> StageKey:
        """Return the key of a step that every shard does.

        Raises:
            ConfigError: it has not begun.
        """
        key = self.directory.current_key(step.name)
        if key is None:
            raise ConfigError(f"{self.name}: the {step.name} step has not begun; finish this shard first")
        return key


def open_part(directory: RunDirectory) -> Part:
    """Return the shard in `directory`.

    Raises:
        ConfigError: its list of images is missing, or it is no shard.
    """
    manifest = find_manifest(directory.manifest_path)
    if manifest is None:
        raise ConfigError(f"{directory.path}: Step 0 has not finished there; finish this shard first")
    key = manifest.key
    if key["max_images"] is not None:
        raise ConfigError(f"{directory.path}: made with --max_images {key['max_images']}, so it is a trial, no shard")
    end = key["units"] if key["end"] is None else min(key["end"], key["units"])
    return Part(directory=directory, manifest=manifest, start=min(key["start"], end), end=end)


def order_parts(parts: Sequence[Part], *, allow_missing: bool) -> list[Part]:
    """Return the parts by their ranges, once they are known to make up one collection.

    Raises:
        ConfigError: naming the shards that do not belong together, and why.
    """
    ordered = sorted(parts, key=lambda part: (part.start, part.end))
    first = ordered[0]
    for part in ordered[1:]:
        check_divided(first, part)
        check_same_kind(first, part)
    check_ranges(ordered, allow_missing=allow_missing)
    return ordered


def check_divided(first: Part, other: Part) -> None:
    """Refuse to put imports together: nothing tells which parts of which collection they are, and in which order.

    Raises:
        ConfigError: naming both.
    """
    for part in (first, other):
        if "imported" in part.manifest.key:
            raise ConfigError(
                f"{part.name} was imported, so it is no shard, and {first.name} and {other.name} can't be merged; put "
                "their sources together and import that"
            )


def check_same_kind(first: Part, other: Part) -> None:
    """Refuse two shards of different collections, or made in different ways.

    Raises:
        ConfigError: saying what differs.
    """
    for name in SHARED_KEYS:
        if first.manifest.key[name] != other.manifest.key[name]:
            raise ConfigError(
                f"{first.name} was made with --{name} {first.manifest.key[name]}, {other.name} with "
                f"{other.manifest.key[name]}; make all shards in the same way"
            )
    if first.manifest.key["fingerprint"] != other.manifest.key["fingerprint"]:
        raise ConfigError(
            f"{first.name} and {other.name} are of different collections: {describe_difference(first, other)}; "
            "run the shards again over one collection, with --rediscover"
        )
    for step in steps_of_a_part():
        if first.key(step) != other.key(step):
            raise ConfigError(
                f"{first.name} and {other.name} were made in different ways ({step.name}: "
                f"{explain_change(first.key(step), other.key(step))}); run one of them again like the other"
            )


def describe_difference(first: Part, other: Part) -> str:
    """Return in words how the collections of two shards differ, as far as can be told from here."""
    for part in (first, other):
        with suppress(InputError):
            key = part.manifest.key
            now = list_collection(key["ads_dir"], layout=key["layout"], images=key.get("images"))
            for changed in (first, other):
                if now.fingerprint != changed.manifest.key["fingerprint"]:
                    return f"since {changed.name} began, {describe_change(changed.manifest, now)}"
    return f"{first.manifest.key['units']:,} images or folders in the one, {other.manifest.key['units']:,} in the other"


def check_ranges(ordered: Sequence[Part], *, allow_missing: bool) -> None:
    """Refuse ranges that overlap or, unless allowed, leave something out.

    Raises:
        ConfigError: naming the shards and the ranges.
    """
    reached, last = 0, "the beginning"
    for part in ordered:
        if part.start < reached:
            raise ConfigError(
                f"{last} and {part.name} overlap: both have {part.start:,} to {min(reached, part.end):,}; leave one out"
            )
        if part.start > reached and not allow_missing:
            raise ConfigError(f"no shard has {reached:,} to {part.start:,}, between {last} and {part.name}; {ADVICE}")
        if part.end > part.start:
            reached, last = part.end, part.name
    units = ordered[0].manifest.key["units"]
    if reached < units and not allow_missing:
        raise ConfigError(f"no shard has {reached:,} to {units:,}, the end of the collection, after {last}; {ADVICE}")


ADVICE = "give all shards, or --allow_missing for a partial answer"


def check_finished(part: Part) -> None:
    """Refuse a shard that has something left to do.

    Raises:
        ConfigError: with how much.
    """
    with open_results(part.directory, part.manifest) as results:
        missing = len(unfinished_ids(results))
    if missing:
        raise ConfigError(
            f"{part.name} is not finished: {missing:,} of {part.manifest.num_images:,} images lack their caption or "
            "label; run its command again, or give --allow_missing for a partial answer"
        )


def steps_of_a_part() -> list[MapStep[Any]]:
    """Return the steps that every shard does, so that a merge takes their records over."""
    return [step for step in STEPS if step.of_a_part and isinstance(step, MapStep)]


def steps_over_the_whole(clustering: ClusteringSettings, *, redo_texts: bool) -> tuple[Step, ...]:
    """Return the steps that are left where others have done those of a part.

    Args:
        redo_texts: do those of a part again that ask about texts, as the question is another.
    """
    adopted = [step for step in steps_of_a_part() if step.reads_images or not redo_texts]
    return tuple(step for step in find_wanted(clustering) if step not in adopted)


def unfinished_ids(results: Results) -> set[str]:
    """Return the ids of the images that a step of a shard is not done with."""
    unfinished: set[str] = set()
    for step in steps_of_a_part():
        journal = results.journals.get(step)
        for item in step.iter_items(results):
            if journal is None or needs_work(journal, item.image_id, input_digest=item.input_digest):
                unfinished.add(item.image_id)
    return unfinished


def iter_merged(ordered: Sequence[Part], *, only_finished: bool) -> Iterator[ImageRecord]:
    """Yield the images of all parts, in the order of the collection.

    Args:
        only_finished: leave out what Steps 1 and 2a are not done with.

    Raises:
        ConfigError: two parts have the same image.
    """
    part_of: dict[str, int] = {}
    for number, part in enumerate(ordered):
        for image in _iter_part(part, only_finished):
            if image.image_id in part_of:
                first = ordered[part_of[image.image_id]].name
                raise ConfigError(f"{first} and {part.name} both have an image {image.image_id!r}; rename one of them")
            part_of[image.image_id] = number
            yield image


def count_left_out(parts: Sequence[Part]) -> Mapping[str, Any]:
    """Return what Step 0 left out in all parts together, as their manifests hold it."""
    total = Tally()
    for part in parts:
        total.update(Tally.from_json(part.manifest.left_out))
    return total.to_json()


def count_missing(ordered: Sequence[Part]) -> int:
    """Return how many images Steps 1 and 2a are not done with, those of missing shards among them."""
    num_units: int = ordered[0].manifest.key["units"]
    uncovered = num_units - sum(part.end - part.start for part in ordered)
    finished = sum(1 for part in ordered for _ in _iter_part(part, only_finished=True))
    return uncovered + sum(part.manifest.num_images for part in ordered) - finished


def _iter_part(part: Part, only_finished: bool) -> Iterator[ImageRecord]:
    if not only_finished:
        yield from part.manifest
        return
    with open_results(part.directory, part.manifest) as results:
        unfinished = unfinished_ids(results)
        yield from (image for image in part.manifest if image.image_id not in unfinished)
