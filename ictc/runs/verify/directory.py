"""The order of the checks: what a later one relies on is checked before it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ictc.errors import StorageError
from ictc.runs.reader import open_results
from ictc.runs.verify.accounting import check_key, check_manifest, check_step
from ictc.runs.verify.exports import check_files, check_orphans, check_prompts, check_rejections, what_is_said
from ictc.runs.verify.segments import check_segments
from ictc.steps.base import MapStep, Step, View
from ictc.steps.exports import stale_steps
from ictc.steps.finding import Finding
from ictc.steps.results import Results
from ictc.steps.table import STEPS
from ictc.storage.keys import StageKey
from ictc.storage.lock import find_lock
from ictc.storage.manifest import Manifest, find_manifest
from ictc.storage.rundir import RunDirectory


def verify(directory: RunDirectory) -> Iterator[Finding]:
    """Yield everything that is wrong in a run directory, changing nothing.

    What depends on something wrong is left out: exports are compared with journals that are in order only.
    """
    state = directory.path / "state"
    lock = find_lock(state)
    if lock is not None and lock.liveness(time.time()) == "alive":
        yield Finding("accounting", state, f"{lock} is at work here; what it has not finished counts", is_note=True)
    errors = Errors()
    yield from errors.count(check_manifest(directory))
    of_segments = list(check_all_segments(directory))
    manifest = find_manifest(directory.manifest_path)
    if manifest is not None and not errors.found:
        yield from errors.count(check_results(directory, manifest))
    for finding in of_segments:
        if finding.is_lost_record and manifest is not None and not errors.found:
            yield replace(finding, problem=f"{finding.problem}; what it held was made again", is_note=True)
        else:
            yield finding


def check_all_segments(directory: RunDirectory) -> Iterator[Finding]:
    """Yield what is wrong with the journals in use, as files."""
    for step in STEPS:
        key = directory.current_key(step.name) if isinstance(step, MapStep) else None
        if key is not None:
            yield from check_segments(directory.result_path(step.name, key))


def check_results(directory: RunDirectory, manifest: Manifest) -> Iterator[Finding]:
    """Yield what is wrong with the results in use, as far as the journals can be read."""
    try:
        with open_results(directory, manifest) as results:
            yield from verify_results(directory, results)
    except StorageError as error:
        yield Finding("checksum", directory.path / "state", str(error))
    except (LookupError, TypeError, ValueError) as error:
        problem = f"a record has not the form in which it was written ({error}); the checks could not go on"
        yield Finding("accounting", directory.path / "state", problem)


def verify_results(directory: RunDirectory, results: Results) -> Iterator[Finding]:
    """Yield what is wrong with the results in use and with their exports.

    Raises:
        StorageError: a journal can't be read.
    """
    keys: dict[Step, StageKey] = {}
    errors = Errors()
    stale = stale_steps(directory.path)
    if stale:
        yield stale_finding(directory, stale[0])
    for step in STEPS:
        key = directory.current_key(step.name)
        yield from errors.count(check_key(directory, step))
        if key is None:
            yield from check_orphans(directory.path, step)
        elif directory.result_path(step.name, key).is_dir():
            keys[step] = key
            yield from errors.count(check_step(directory, results, step, key))
            if not errors.found and step not in stale:
                view = View(results=results, keys=keys, said=what_is_said(directory.path, step))
                yield from check_files(directory.path, step, view, completed=find_completed(directory, step))
    if keys and not errors.found:
        yield from check_rejections(directory.path, View(results=results, keys=keys, said={}))
    yield from check_prompts(directory.path)


def find_completed(directory: RunDirectory, step: Step) -> frozenset[str]:
    """Return the names of the files of a step that one after it writes with more in them."""
    later = (one for one in STEPS if one.completes is step and directory.current_key(one.name) is not None)
    return frozenset(file.name for one in later for file in one.files)


def stale_finding(directory: RunDirectory, first: Step) -> Finding:
    """Return that files of an earlier state are there, kept until their successors are made."""
    problem = f"{first.title} and what follows are exported from an earlier state; run again to replace them"
    return Finding("export", directory.path, problem)


class Errors:
    """Passes findings on and notices whether one of them is more than a note."""

    def __init__(self) -> None:
        self.found = False

    def count(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Yield the findings as they are."""
        for finding in findings:
            self.found = self.found or not finding.is_note
            yield finding
