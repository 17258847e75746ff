"""How far each step of a run directory is, in a small file that other processes may read at any time.

The file serves people who watch: the journal alone says what is done. It is replaced every few seconds, not
synced, and not worth failing for.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from ictc.records import add_counts
from ictc.runs.reporter import Reporter, StepPlan
from ictc.runs.waits import describe_waits, shares_of
from ictc.stages.outcome import Status
from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import StageProgress
from ictc.storage.heartbeat import heartbeat
from ictc.storage.keys import digest
from ictc.storage.rundir import RunDirectory

logger = logging.getLogger(__name__)

Work = dict[str, float]
"""Seconds that all runs together have worked on each result, by the digest of its key."""

RATE_WINDOW_S = 300.0
"""The rate is that of the last minutes: long enough to be steady, short enough to notice a slow-down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """Where one step stood at `updated_at`; clock times are ISO 8601 in UTC.

    Attributes:
        key: digest of the key of the result that it worked on.
        done_before: images finished by earlier runs, of `total`.
        done_now: images finished by the run that wrote this.
        statuses: how those left the step.
        tokens: that this run took, None where the engine doesn't tell.
        images_per_second: over the last minutes; once the step has ended, over all of it.
        last_result_at: when an image last left the step, None if none did.
        ended_at: when the step ended, finished or not; None while it runs.
        seconds: how long this run has worked on the step.
        waited_s: how many of these seconds it waited for what (`ictc.records.Wait`); together about all of them. None
            where earlier versions wrote this.
        computed_s: how many of them its main thread has computed.
    """

    key: str
    total: int
    done_before: int
    done_now: int
    statuses: Mapping[str, int]
    tokens: int | None
    images_per_second: float
    started_at: str
    updated_at: str
    last_result_at: str | None = None
    ended_at: str | None = None
    seconds: float = 0.0
    waited_s: Mapping[str, float] | None = None
    computed_s: float | None = None

    @property
    def done(self) -> int:
        return self.done_before + self.done_now

    @property
    def waited(self) -> dict[str, float]:
        """Shares of its time by what it waited for; {} if that is not known."""
        return shares_of(self.waited_s or {})

    @property
    def computing(self) -> float | None:
        """Share of its time that its main thread computed, None if that is not known."""
        total_s = sum((self.waited_s or {}).values())
        return round(self.computed_s / total_s, 3) if self.computed_s is not None and total_s else None


@dataclass(kw_only=True)
class StepCounter:
    """Counts one step while it runs; `advance` costs two additions."""

    key: str
    total: int
    done_before: int
    times: Timekeeper
    statuses: Counter[Status] = field(default_factory=Counter)
    tokens: int | None = 0
    ended_at: str | None = None

    def __post_init__(self) -> None:
        self._started_at = utc_now()
        self._last_result_at: str | None = None
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._first_sample = self._samples[0]

    def advance(self, status: Status, tokens: int | None) -> None:
        """Count one image."""
        self.statuses[status] += 1
        self.tokens = add_counts(self.tokens, tokens)

    def record(self) -> StepRecord:
        """Return where the step stands."""
        now, now_text = time.monotonic(), utc_now()
        statuses = dict(self.statuses)  # a copy, as another thread counts on
        done_now = sum(statuses.values())
        if done_now > self._samples[-1][1]:
            self._last_result_at = now_text
        self._samples.append((now, done_now))
        while now - self._samples[0][0] > RATE_WINDOW_S and len(self._samples) > 2:
            self._samples.popleft()
        then, done_then = self._first_sample if self.ended_at else self._samples[0]
        return StepRecord(
            key=self.key,
            total=self.total,
            done_before=self.done_before,
            done_now=done_now,
            statuses={status.value: count for status, count in statuses.items()},
            tokens=self.tokens,
            images_per_second=round((done_now - done_then) / max(now - then, 1e-6), 3),
            started_at=self._started_at,
            updated_at=now_text,
            last_result_at=self._last_result_at,
            ended_at=self.ended_at,
            seconds=round(now - self._first_sample[0], 1),
            waited_s={wait.value: round(waited_s, 3) for wait, waited_s in self.times.seconds().items()},
            computed_s=round(self.times.computed_s, 3),
        )


@dataclass
class RecordingReporter:
    """A reporter that also keeps the progress file of one run directory up to date."""

    inner: Reporter
    directory: RunDirectory
    _steps: dict[str, StepRecord] = field(default_factory=dict)
    _work: Work = field(default_factory=dict)
    _running: tuple[str, StepCounter] | None = None
    _saving: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._steps.update(load_progress(self.directory.path))
        self._work.update(load_work(self.directory.path))

    def note(self, text: str) -> None:
        """Tell one line."""
        self.inner.note(text)

    def plan(self, steps: Sequence[StepPlan]) -> None:
        """Tell what will be done."""
        self.inner.plan(steps)

    async def confirm(self, question: str) -> bool | None:
        """Ask for a yes or a no."""
        return await self.inner.confirm(question)

    @contextmanager
    def stage(self, *, name: str, title: str, total: int, done: int, times: Timekeeper) -> Iterator[StageProgress]:
        """Open the progress of one step, and write the file at its start and end."""
        counter = StepCounter(key=digest(self.directory.current_key(name)), total=total, done_before=done, times=times)
        self._running = name, counter
        if not done:
            self._work.pop(counter.key, None)
        self.save()
        try:
            progress_of_inner = self.inner.stage(name=name, title=title, total=total, done=done, times=times)
            with progress_of_inner as progress, heartbeat([self.save]):
                yield _Both(progress, counter)
        finally:
            counter.ended_at = utc_now()
            times.look_at_cpu()
            self.save()
            record = counter.record()
            self._work = self._work_so_far(record)
            self._running = None
            logger.info("%s: %s", title, describe_waits(record.waited, record.computing))

    def save(self) -> None:
        """Write the file, if a step runs."""
        with self._saving:
            if self._running is None:
                return
            name, counter = self._running
            self._steps[name] = record = counter.record()
            content = orjson.dumps(describe(self._steps, self._work_so_far(record)))
            try:
                replace_unsynced(progress_path(self.directory.path), content)
            except OSError as error:  # a disk that refuses this will refuse the journal, which says so
                logger.debug("progress file: %s", error)

    def _work_so_far(self, record: StepRecord) -> Work:
        return {**self._work, record.key: self._work.get(record.key, 0.0) + record.seconds}


@dataclass(frozen=True, slots=True)
class _Both:
    first: StageProgress
    second: StageProgress

    def advance(self, status: Status, tokens: int | None) -> None:
        self.first.advance(status, tokens)
        self.second.advance(status, tokens)


def progress_path(directory: Path) -> Path:
    """Return where the progress file of a run directory lies."""
    return directory / "state" / "progress.json"


def load_progress(directory: Path) -> dict[str, StepRecord]:
    """Return where each step of a run directory stood last, by its name, {} if nothing readable says so."""
    try:
        steps = orjson.loads(progress_path(directory).read_bytes())["steps"]
        return {name: StepRecord(**record) for name, record in steps.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def load_work(directory: Path) -> Work:
    """Return how long each result of a run directory was worked on, {} if nothing readable says so."""
    try:
        return {
            key: float(seconds)
            for key, seconds in orjson.loads(progress_path(directory).read_bytes())["work_s"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def describe(steps: Mapping[str, StepRecord], work: Work) -> dict[str, object]:
    """Return the content of the progress file."""
    return {"steps": {name: asdict(record) for name, record in steps.items()}, "work_s": work}


def replace_unsynced(path: Path, content: bytes) -> None:
    """Replace a file at once, for readers at this moment; after a crash of the machine it may be the older one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def utc_now() -> str:
    """Return the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
