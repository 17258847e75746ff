"""What `ictc status` tells of a run directory: how far each step is, how fast, what went wrong, who is at work.

Everything is read from files that any machine may see; nothing is written. Counts come from the progress file,
or from the journals where that says nothing about the result in use; what was rejected or fits nothing is always
counted in the journals.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from ictc.runs.progress import StepRecord, load_progress
from ictc.runs.reader import open_results
from ictc.stages.outcome import Status
from ictc.steps.base import MapStep, ReduceStep, Step
from ictc.steps.exports import stale_steps
from ictc.steps.table import STEPS
from ictc.storage.journal import list_segments
from ictc.storage.keys import StageKey, digest
from ictc.storage.lock import LockFile, find_lock
from ictc.storage.manifest import find_manifest
from ictc.storage.rundir import RunDirectory

State = Literal["running", "finished", "stopped", "failed", "dead", "stale", "waiting"]
"""dead: the process is gone. stale: its machine has not been heard of for minutes."""

_ENDS: Mapping[str | None, State] = {"finished": "finished", "stopped": "stopped", "failed": "failed"}


@dataclass(frozen=True, kw_only=True)
class StepStatus:
    """How far one step is.

    Attributes:
        stage: its name.
        total: None if it can't be known yet.
        images_per_second, eta_s: None where nothing runs or nothing is known.
        last_result_s: seconds since an image last left the step.
        rejected: how many images by kind of reason.
        none: how many images fit none of what there was to choose from; they are part of `done`.
        dropped: of how many images what the model said was dropped as untrue; they are part of `done`.
        waited: share of the time that it waited for what (`ictc.records.Wait`), of the last run that worked on it; they
            sum to 1. None where nothing is known.
        computing: share of that time in which its main thread computed.
        remark: what there is to say of its result, "" if nothing.
    """

    stage: str
    state: State
    done: int
    total: int | None
    images_per_second: float | None = None
    eta_s: float | None = None
    last_result_s: float | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    none: int = 0
    dropped: int = 0
    waited: Mapping[str, float] | None = None
    computing: float | None = None
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How far one run directory is.

    Attributes:
        owner: who is at work there, or was last; None if unknown.
        steps: those that have started.
        stale_exports: names of steps whose files are still about an earlier state of the run.
    """

    directory: Path
    state: State
    track: str | None
    criterion: str | None
    owner: str | None
    steps: list[StepStatus]
    stale_exports: tuple[str, ...] = ()


class RunWatcher:
    """Looks at one run directory, as often as asked; looking again reads only what is new in the journals."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._outcomes: dict[Path, OutcomeReader] = {}

    def look(self) -> RunStatus:
        """Return how far the run is now."""
        info = self._directory.load_run_info()
        lock = find_lock(self._directory.path / "state")
        state = judge_state(info.get("status"), lock)
        records = load_progress(self._directory.path)
        if lock is not None and lock.owner is not None:
            records = {name: end_if_older(record, lock.owner.started_at) for name, record in records.items()}
        keys = {step: self._directory.current_key(step.name) for step in STEPS}
        steps = [
            self._look_at(step, key, records.get(step.name), state) for step, key in keys.items() if key is not None
        ]
        return RunStatus(
            directory=self._directory.path,
            state=state,
            track=info.get("track"),
            criterion=info.get("criterion"),
            owner=str(lock) if lock is not None else None,
            steps=steps,
            stale_exports=tuple(step.name for step in stale_steps(self._directory.path)),
        )

    def _look_at(self, step: Step, key: StageKey, record: StepRecord | None, state: State) -> StepStatus:
        if isinstance(step, ReduceStep):
            done, total = step.count(step.load(self._directory.result_path(step.name, key))), step.size(key)
            return StepStatus(
                stage=step.name,
                state=state_of_step(done=done, total=total, run=state, at_work=done == 0),
                done=done,
                total=total,
            )
        assert isinstance(step, MapStep)
        outcomes = self._read_outcomes(step, key)
        remark = step.describe_result(self._directory.result_path(step.name, key))
        if record is None or record.key != digest(key):
            done, count = count_results(self._directory, step)
            return StepStatus(
                stage=step.name,
                state=state_of_step(done=done, total=count, run=state, at_work=False),
                done=done,
                total=count,
                rejected=outcomes.rejected,
                none=outcomes.num_none,
                dropped=outcomes.num_dropped,
                remark=remark,
            )
        step_state = state_of_step(done=record.done, total=record.total, run=state, at_work=record.ended_at is None)
        rate = record.images_per_second or None
        return StepStatus(
            stage=step.name,
            state=step_state,
            done=record.done,
            total=record.total,
            images_per_second=rate,
            eta_s=(record.total - record.done) / rate if rate and step_state == "running" else None,
            last_result_s=seconds_since(record.last_result_at),
            rejected=outcomes.rejected,
            none=outcomes.num_none,
            dropped=outcomes.num_dropped,
            waited=record.waited or None,
            computing=record.computing,
            remark=remark,
        )

    def _read_outcomes(self, step: Step, key: StageKey) -> OutcomeReader:
        path = self._directory.result_path(step.name, key)
        reader = self._outcomes.setdefault(path, OutcomeReader(path))
        reader.read()
        return reader


class OutcomeReader:
    """Counts the images of a journal that were rejected, fit nothing or lost an answer, without keeping the rest of it.

    The last record of an image counts; reading again reads what is new.
    """

    _ID = re.compile(rb'[0-9a-f]{8} \{"id":("(?:[^"\\]|\\.)*")')

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offsets: dict[Path, int] = {}
        self._reasons: dict[bytes, str] = {}
        self._none: set[bytes] = set()
        self._dropped: set[bytes] = set()

    @property
    def rejected(self) -> dict[str, int]:
        """How many images are rejected, by the kind of reason."""
        return dict(Counter(self._reasons.values()))

    @property
    def num_none(self) -> int:
        """How many images fit nothing."""
        return len(self._none)

    @property
    def num_dropped(self) -> int:
        """Of how many images what the model said was dropped."""
        return len(self._dropped)

    def read(self) -> None:
        """Read what is new."""
        with suppress(FileNotFoundError):  # --force_steps deletes the journal
            sizes = {path: path.stat().st_size for path in list_segments(self._directory)}
            if any(sizes.get(path, 0) < offset for path, offset in self._offsets.items()):
                self._offsets.clear()
                self._reasons.clear()
                self._none.clear()
                self._dropped.clear()
            for path in sizes:
                self._read_segment(path)

    def _read_segment(self, path: Path) -> None:
        offset = self._offsets.get(path, 0)
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):  # being written at this moment, or torn
                    break
                self._read_line(line)
                offset += len(line)
        self._offsets[path] = offset

    def _read_line(self, line: bytes) -> None:
        match = self._ID.match(line)
        if match is None:
            return
        is_counted = any(words in line for words in (b'"status":"rejected"', b'"status":"none"', b'"dropped":true'))
        record = parse_record(line) if is_counted else None
        if record == {}:
            return
        self._reasons.pop(match[1], None)
        self._none.discard(match[1])
        self._dropped.discard(match[1])
        status = record and record.get("status")
        if record and status == Status.REJECTED:
            self._reasons[match[1]] = reason_kind(record["data"]["reason"])
        elif status == Status.NONE:
            self._none.add(match[1])
        elif record and record["data"].get("dropped") is True:
            self._dropped.add(match[1])


def parse_record(line: bytes) -> dict[str, Any]:
    """Return the record of a journal line, {} if it is damaged."""
    try:
        record: dict[str, Any] = orjson.loads(line.partition(b" ")[2])
    except orjson.JSONDecodeError:
        return {}
    return record


def reason_kind(reason: str) -> str:
    """Return the kind of a rejection's reason, which is what comes before its details.

    >>> reason_kind("answer not valid: 1 validation error")
    'answer not valid'
    """
    return reason.partition(":")[0]


def judge_state(saved: str | None, lock: LockFile | None) -> State:
    """Return the state of a run from what it last wrote of itself and from whether its process lives."""
    liveness = "released" if lock is None else lock.liveness(time.time())
    if liveness == "alive":
        return "running"
    if liveness == "released":
        return _ENDS.get(saved, "failed")
    return "dead" if liveness == "dead" else "stale"


def end_if_older(record: StepRecord, started_at: str) -> StepRecord:
    """Return the record, as of an ended step if it is from a run before the one that started at `started_at`."""
    older = record.ended_at is None and record.started_at < started_at
    return replace(record, ended_at=record.updated_at) if older else record


def state_of_step(*, done: int, total: int | None, run: State, at_work: bool) -> State:
    """Return the state of a step from its counts and the state of its run."""
    if done == total:
        return "finished"
    if run == "running":
        return "running" if at_work else "waiting"
    return "stopped" if run == "finished" else run


def count_results(directory: RunDirectory, step: MapStep[Any]) -> tuple[int, int | None]:
    """Return how many images have left a map step, and how many enter it, from the journals in use."""
    manifest = find_manifest(directory.manifest_path)
    if manifest is None:
        return 0, None
    with open_results(directory, manifest) as results:
        return results.count_statuses(step).total(), step.count_entering(results)


def seconds_since(moment: str | None) -> float | None:
    """Return the seconds since a time in ISO 8601, not below 0; None for None."""
    if moment is None:
        return None
    return max((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds(), 0.0)
