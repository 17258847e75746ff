"""Progress in text: bars where somebody looks, plain lines where a file or a pipe listens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from ictc.records import add_counts
from ictc.runs.reporter import StepPlan
from ictc.secrecy import scrub
from ictc.stages.outcome import Status
from ictc.stages.timekeeping import Timekeeper

SECONDS_BETWEEN_LINES = 10.0


class TextReporter:
    """Reports on a stream.

    Args:
        is_watched: whether bars may be drawn there, which are drawn over as they grow.
        bar: the class of bars.
    """

    def __init__(self, stream: TextIO, *, is_watched: bool, bar: type[tqdm[Any]] = tqdm) -> None:
        self._stream = stream
        self._is_watched = is_watched
        self._bar = bar

    def note(self, text: str) -> None:
        """Tell one line."""
        self._bar.write(scrub(text), file=self._stream)
        self._stream.flush()

    def plan(self, steps: Sequence[StepPlan]) -> None:
        """Tell in a table what will be done."""
        width = max(len(step.title) for step in steps)
        self.note(f"{'':{width}}  {'done':>11}  {'to do':>11}")
        for step in steps:
            todo = "later" if step.todo is None else f"{step.todo:,}"
            self.note(f"{step.title:{width}}  {step.done:>11,}  {todo:>11}  {describe_reason(step)}".rstrip())

    async def confirm(self, question: str) -> bool | None:
        """Ask nobody: whoever is there to answer, it is not at a stream."""
        return None

    @contextmanager
    def stage(
        self, *, name: str, title: str, total: int, done: int, times: Timekeeper
    ) -> Iterator[BarProgress | LineProgress]:
        """Show the progress of one step until the block ends."""
        tally = Tally(total=total, done=done)
        if self._is_watched:
            progress: BarProgress | LineProgress = BarProgress(title, tally, self._stream, self._bar)
        else:
            progress = LineProgress(title, tally, self._stream)
        try:
            yield progress
        finally:
            progress.close()


def describe_reason(step: StepPlan) -> str:
    """Return why earlier results are out of date and what they cost, for the end of a line."""
    if not step.reason:
        return ""
    return step.reason + (f" ({format_seconds(step.redo_s)} of work again)" if step.redo_s >= 1 else "")


class Tally:
    """Counts the work of this run alone: what earlier runs did says nothing about this one's speed."""

    def __init__(self, *, total: int, done: int) -> None:
        self.total = total
        self.done_before = done
        self.done_now = 0
        self.tokens: int | None = 0
        self.statuses: Counter[Status] = Counter()
        self._started = time.monotonic()

    def add(self, status: Status, tokens: int | None) -> None:
        """Count one image."""
        self.done_now += 1
        self.tokens = add_counts(self.tokens, tokens)
        self.statuses[status] += 1

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return max(time.monotonic() - self._started, 1e-6)

    @property
    def images_per_second(self) -> float:
        return self.done_now / self.seconds

    @property
    def remaining_seconds(self) -> float | None:
        """Estimated seconds to the end, None before the first image."""
        if not self.done_now:
            return None
        return (self.total - self.done_before - self.done_now) / self.images_per_second

    @property
    def tokens_text(self) -> str:
        return "tokens unknown" if self.tokens is None else f"{self.tokens / self.seconds:,.0f} tokens/s"

    @property
    def exceptions_text(self) -> str:
        """What did not go the usual way, such as "2 broken, 1 rejected"."""
        others = (Status.NONE, Status.UI_ONLY, Status.BROKEN, Status.REJECTED)
        return ", ".join(f"{self.statuses[status]} {status}" for status in others if self.statuses[status])


class BarProgress:
    """A bar, for a terminal."""

    def __init__(self, title: str, tally: Tally, stream: TextIO, bar: type[tqdm[Any]]) -> None:
        self._tally = tally
        self._bar = bar(
            total=tally.total,
            initial=tally.done_before,
            desc=title,
            unit="image",
            file=stream,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{rate_fmt}{postfix}, ETA {remaining}]",
            unit_scale=False,
        )

    def advance(self, status: Status, tokens: int | None) -> None:
        """Count one image."""
        self._tally.add(status, tokens)
        notes = [self._tally.tokens_text, self._tally.exceptions_text]
        self._bar.set_postfix_str(", ".join(note for note in notes if note), refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


class LineProgress:
    """A line now and then, for log files and pipes."""

    def __init__(self, title: str, tally: Tally, stream: TextIO) -> None:
        self._title = title
        self._stream = stream
        self._tally = tally
        self._last_line = time.monotonic()
        self._printed = 0
        self._tell()

    def advance(self, status: Status, tokens: int | None) -> None:
        """Count one image, and tell if it is time."""
        self._tally.add(status, tokens)
        if time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._tell()

    def close(self) -> None:
        """Tell where the step stands at its end, unless that was just said."""
        if self._tally.done_now > self._printed:
            self._tell()

    def _tell(self) -> None:
        tally = self._tally
        parts = [f"{self._title}: {tally.done_before + tally.done_now:,}/{tally.total:,}"]
        if tally.done_now:
            parts += [f"{tally.images_per_second:,.1f} images/s", tally.tokens_text]
            parts += [f"ETA {format_seconds(tally.remaining_seconds or 0)}", tally.exceptions_text]
        tqdm.write("  ".join(part for part in parts if part), file=self._stream)
        self._stream.flush()
        self._printed = tally.done_now
        self._last_line = time.monotonic()


def format_seconds(seconds: float) -> str:
    """Return a duration for people.

    >>> format_seconds(5025)
    '1h23m'
    """
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
