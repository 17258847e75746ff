"""The order of the checks: what a later one relies on is checked before it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ictc.errors import StorageError
from ictc.records import StageName
from ictc.runs.reader import open_results
from ictc.runs.reporter import TITLES
from ictc.runs.track_run import STAGES
from ictc.runs.verify.accounting import check_definitions, check_key, check_manifest, check_map_stage
from ictc.runs.verify.exports import ExportCheck, check_orphans, check_prompts
from ictc.runs.verify.finding import Finding
from ictc.runs.verify.segments import check_segments
from ictc.stages.export import stale_stages
from ictc.stages.results import Results
from ictc.storage.keys import StageKey
from ictc.storage.lock import find_lock
from ictc.storage.manifest import Manifest, find_manifest
from ictc.storage.rundir import RunDirectory

MAP_STAGES: tuple[StageName, ...] = ("caption", "label", "assign")


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
    for stage in MAP_STAGES:
        key = directory.current_key(stage)
        if key is not None:
            yield from check_segments(directory.result_path(stage, key))


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
    keys: dict[StageName, StageKey] = {}
    exports = ExportCheck(directory.path, results, keys)
    errors = Errors()
    stale = stale_stages(directory.path)
    if stale:
        yield stale_finding(directory, stale[0])
    for stage in STAGES:
        key = directory.current_key(stage)
        yield from errors.count(check_key(directory, stage))
        if key is None:
            yield from check_orphans(directory.path, stage)
        elif directory.result_path(stage, key).is_dir():
            keys[stage] = key
            yield from errors.count(check_stage(directory, results, stage, key))
            if not errors.found and stage not in stale:
                yield from exports.findings(stage)
    if keys and not errors.found:
        yield from exports.check_rejections()
    yield from check_prompts(directory.path)


def stale_finding(directory: RunDirectory, first: StageName) -> Finding:
    """Return that files of an earlier state are there, kept until their successors are made."""
    problem = f"{TITLES[first]} and what follows are exported from an earlier state; run again to replace them"
    return Finding("export", directory.path, problem)


def check_stage(directory: RunDirectory, results: Results, stage: StageName, key: StageKey) -> Iterator[Finding]:
    """Yield what is wrong with the result of one stage."""
    if stage == "synthesize":
        return check_definitions(directory, results, key)
    return check_map_stage(results, stage, key)


class Errors:
    """Passes findings on and notices whether one of them is more than a note."""

    def __init__(self) -> None:
        self.found = False

    def count(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Yield the findings as they are."""
        for finding in findings:
            self.found = self.found or not finding.is_note
            yield finding
