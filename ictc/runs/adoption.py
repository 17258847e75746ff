"""Takes the results of other run directories into a new one, byte for byte. Those are only read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ictc.records import StageName
from ictc.storage.atomic import atomic_writer, storage_errors
from ictc.storage.journal import list_segments, segment_order
from ictc.storage.keys import StageKey
from ictc.storage.rundir import RunDirectory

WRITER = "part"
"""How the writers of adopted segments are called, with the number of the source."""


def adopt_stage(target: RunDirectory, sources: Sequence[RunDirectory], stage: StageName, key: StageKey) -> None:
    """Make the union of the sources' results under `key` the current result of `target`.

    Raises:
        StorageError: the disk refused.
    """
    if stage == "synthesize":
        definitions = sources[0].load_definitions(key)
        if definitions is not None:
            target.save_definitions(key, definitions)
    else:
        segments = {
            f"{WRITER}{number}-{segment_order(path)[0]:06d}.jsonl": path
            for number, source in enumerate(sources)
            for path in list_segments(source.result_path(stage, key))
        }
        copy_segments(segments, target.result_path(stage, key))
    target.start_stage(stage, key)


def copy_segments(segments: Mapping[str, Path], folder: Path) -> None:
    """Make `folder` hold copies of `segments`, by name, and no others that were once copied."""
    with storage_errors(folder):
        for path in folder.glob(f"{WRITER}*.jsonl"):
            if path.name not in segments:
                path.unlink()
        for name, source in segments.items():
            if not is_copy(folder / name, source):
                copy_file(source, folder / name)


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
