"""What a run tells the person who started it, and what it asks; the command line prints it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import StageProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What one step will do, told before anything runs.

    Attributes:
        title: the step, for people.
        done: results that are up to date.
        todo: results to be made; None if an earlier step decides that.
        reason: why earlier results are out of date, "" if none are.
        redo_s: seconds that went into the earlier results that will be made again.
    """

    title: str
    done: int
    todo: int | None
    reason: str = ""
    redo_s: float = 0.0


class Reporter(Protocol):
    """Where progress goes, and where questions are answered."""

    def note(self, text: str) -> None:
        """Tell one line."""
        ...

    def plan(self, steps: Sequence[StepPlan]) -> None:
        """Tell what will be done, before anything runs."""
        ...

    async def confirm(self, question: str) -> bool | None:
        """Ask for a yes or a no; None if there is nobody to ask."""
        ...

    def stage(
        self, *, name: str, title: str, total: int, done: int, times: Timekeeper
    ) -> AbstractContextManager[StageProgress]:
        """Open the progress of one step, by its name and for people.

        Args:
            total, done: its images, and how many of them were finished by earlier runs.
            times: tells where its time goes.
        """
        ...
