"""Takes the results of other run directories into a new one, byte for byte. Those are only read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ictc.records import ImageRecord, StageName
from ictc.stages.export import mark_stale
from ictc.storage.atomic import atomic_writer, storage_errors
from ictc.storage.journal import list_segments
from ictc.storage.keys import StageKey
from ictc.storage.manifest import Manifest, load_manifest, save_manifest
from ictc.storage.rundir import RunDirectory

WRITER = "part"
"""How the writers of adopted segments are called, with the number of the source."""


def adopt_stage(target: RunDirectory, sources: Sequence[RunDirectory], stage: StageName, key: StageKey) -> None:
    """Make the union of the sources' results under `key` the current result of `target`.

    What the target exported of this step and those after it is marked as stale first, if anything about it changes.

    Raises:
        StorageError: the disk refused.
    """
    if target.current_key(stage) != key:
        mark_stale(target.path, stage)
    if stage == "synthesize":
        definitions = sources[0].load_definitions(key)
        if definitions is not None:
            target.save_definitions(key, definitions, labels_read=sources[0].load_labels_read(key))
    else:
        segments = {
            f"{WRITER}{number}-{place:06d}.jsonl": path  # not by their own numbers, which several writers may share
            for number, source in enumerate(sources)
            for place, path in enumerate(list_segments(source.result_path(stage, key)))
        }
        copy_segments(target, stage, key, segments)
    target.start_stage(stage, key)


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
    mark_stale(target.path, "caption")  # its exports are about other images
    return save_manifest(target.manifest_path, key, list_images(), count_left_out)


def copy_segments(target: RunDirectory, stage: StageName, key: StageKey, segments: Mapping[str, Path]) -> None:
    """Make a journal hold copies of `segments`, by name, and no others that were once copied."""
    folder = target.result_path(stage, key)
    with storage_errors(folder):
        outdated = [path for path in folder.glob(f"{WRITER}*.jsonl") if path.name not in segments]
        missing = {name: source for name, source in segments.items() if not is_copy(folder / name, source)}
        if outdated or missing:
            mark_stale(target.path, stage)
        for path in outdated:
            path.unlink()
        for name, source in missing.items():
            copy_file(source, folder / name)


def drop_adopted(target: RunDirectory, stage: StageName) -> None:
    """Delete what was once taken over of a step that is to be done anew; what the target made itself stays."""
    adopted = list((target.path / "state" / stage).glob(f"*/{WRITER}*.jsonl"))
    if adopted:
        mark_stale(target.path, stage)
    for path in adopted:
        with storage_errors(path):
            path.unlink()


def is_copy(path: Path, source: Path) -> bool:
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
