"""Takes the results of other run directories into a new one, byte for byte. Those are only read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ictc.records import ImageRecord
from ictc.steps.base import MapStep, ReduceStep, Step
from ictc.steps.exports import mark_stale
from ictc.steps.table import STEPS
from ictc.storage.atomic import atomic_writer, storage_errors
from ictc.storage.journal import list_segments
from ictc.storage.keys import StageKey
from ictc.storage.manifest import Manifest, load_manifest, save_manifest
from ictc.storage.rundir import RunDirectory

WRITER = "part"
"""How the writers of adopted segments are called, with the number of the source."""


def adopt_step(target: RunDirectory, sources: Sequence[RunDirectory], step: Step, key: StageKey) -> None:
    """Make the union of the sources' results under `key` the current result of `target`.

    What the target exported of this step and those after it is marked as stale first, if anything about it changes.
    All sources have the same result of a reduce step.

    Raises:
        StorageError: the disk refused.
    """
    if target.current_key(step.name) != key:
        mark_stale(target.path, step)
    if isinstance(step, ReduceStep):
        result = step.load(sources[0].result_path(step.name, key))
        if result is not None:
            step.save(target.result_path(step.name, key), result)
    else:
        segments = {
            f"{WRITER}{number}-{place:06d}.jsonl": path  # not by their own numbers, which several writers may share
            for number, source in enumerate(sources)
            for place, path in enumerate(list_segments(source.result_path(step.name, key)))
        }
        copy_segments(target, step, key, segments)
    target.start_stage(step.name, key)


def adopt_manifest(
    target: RunDirectory,
    key: StageKey,
    list_images: Callable[[], Iterable[ImageRecord]],
    count_left_out: Callable[[], Mapping[str, Any]],
) -> Manifest:
    """Return the list of images that was made from `key`, written anew if `target` has another or none.

    Raises:
        StorageError: the disk refused.
    """
    held = load_manifest(target.manifest_path, key)
    if held is not None and all(ours == theirs for ours, theirs in zip_longest(held, list_images())):
        return held
    mark_stale(target.path, STEPS[0])  # its exports are about other images
    return save_manifest(target.manifest_path, key, list_images(), count_left_out)


def copy_segments(target: RunDirectory, step: Step, key: StageKey, segments: Mapping[str, Path]) -> None:
    """Make a journal hold copies of `segments`, by name, and no others that were once copied."""
    folder = target.result_path(step.name, key)
    with storage_errors(folder):
        outdated = [path for path in folder.glob(f"{WRITER}*.jsonl") if path.name not in segments]
        missing = {name: source for name, source in segments.items() if not is_copy(folder / name, source=source)}
        if outdated or missing:
            mark_stale(target.path, step)
        for path in outdated:
            path.unlink()
        for name, source in missing.items():
            copy_file(source, folder / name)


def drop_adopted(target: RunDirectory, step: MapStep[Any]) -> None:
    """Delete what was once taken over of a step that is to be done anew; what the target made itself stays."""
    adopted = list((target.path / "state" / step.name).glob(f"*/{WRITER}*.jsonl"))
    if adopted:
        mark_stale(target.path, step)
    for path in adopted:
        with storage_errors(path):
            path.unlink()


def is_copy(path: Path, *, source: Path) -> bool:
    """Whether `path` was copied from `source` as it is now."""
    with suppress(FileNotFoundError):
        ours, theirs = path.stat(), source.stat()
        return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
    return False


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its time; the copy is whole or absent."""
    with source.open("rb") as input_file, atomic_writer(target) as output_file:
        shutil.copyfileobj(input_file, output_file, 1 << 20)
    shutil.copystat(source, target)
