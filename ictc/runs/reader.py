"""Finds and opens run directories for commands that only look: nothing here writes, whoever else is at work there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ictc.config.groups import default_work_dir
from ictc.errors import ConfigError
from ictc.steps.base import MapStep, ReduceStep
from ictc.steps.results import Results
from ictc.steps.table import STEPS
from ictc.storage.journal import Journal
from ictc.storage.lock import find_lock
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory

DEEPEST_LEVEL = 2
"""Run directories lie at most so far below `--output_dir`: a shard, and a track in it."""


def find_run_directories(paths: Iterable[Path], *, nested: bool = True) -> list[RunDirectory]:
    """Return the run directories at and below `paths`, each once, in order.

    Args:
        nested: also those that lie in another, as tracks do below an earlier run of one track.

    Raises:
        ConfigError: there is none at or below one of the paths.
    """
    found: dict[Path, RunDirectory] = {}
    for path in paths:
        below = list(_iter_run_directories(path, DEEPEST_LEVEL, nested=nested))
        if not below:
            raise ConfigError(f"{path}: no run directory here or below; give {describe_place(path)}")
        found.update((one.resolve(), RunDirectory(one)) for one in below)
    return list(found.values())


def find_bystanders(root: Path, directories: Iterable[RunDirectory]) -> list[Path]:
    """Return the run directories at and right below `root` other than these, whose results may be taken for theirs."""
    ours = {one.path for one in directories}
    return [path for path in _iter_run_directories(root, 1, nested=True) if path not in ours]


def describe_place(path: Path) -> str:
    """Return where a run lies that somebody looks for at `path`."""
    service, slashes, rest = str(path).partition(":/")
    if not slashes or not service.isalnum():
        return "the --output_dir of a run"
    default = default_work_dir(f"{service}://{rest.lstrip('/')}")
    return f"its --work_dir, {default} where that was left out: only exports are published at a URL"


def _iter_run_directories(path: Path, levels: int, *, nested: bool) -> Iterator[Path]:
    is_run = is_run_directory(path)
    if is_run:
        yield path
    if levels and path.is_dir() and (nested or not is_run):
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if _is_open_folder(entry))
        for name in names:
            yield from _iter_run_directories(path / name, levels - 1, nested=nested)


def _is_open_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder that the user may look into; files, which may be many, are not looked at."""
    is_folder = entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry).is_dir())
    return is_folder and os.access(entry, os.R_OK | os.X_OK)


def is_run_directory(path: Path) -> bool:
    """Whether a run lies, or has begun, right at `path`."""
    state = path / "state"
    return (path / "run.json").is_file() or find_lock(state) is not None or (state / "manifest.jsonl").is_file()


@contextmanager
def open_results(directory: RunDirectory, manifest: Manifest) -> Iterator[Results]:
    """Open the results in use, with a journal for each map stage that has one, and close them again.

    Raises:
        StorageError: a newer version of ictc wrote a journal.
    """
    results = Results(manifest)
    try:
        for step in STEPS:
            key = directory.current_key(step.name)
            folder = None if key is None else directory.result_path(step.name, key)
            if folder is None or not folder.is_dir():
                continue
            if isinstance(step, MapStep):
                results.journals[step] = Journal(folder, read_only=True)
            elif isinstance(step, ReduceStep) and (result := step.load(folder)) is not None:
                results.reduced[step] = result
        yield results
    finally:
        results.close()
