"""Runs a map step that asks about some of its images and infers the others, round by round."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic

from ictc.config import ControlSettings
from ictc.executors.base import Executor
from ictc.runs.map_step import MapWork, note_up_to_date, open_lane, say_shared
from ictc.stages.inferring import PartlyAsked
from ictc.stages.outcome import Status
from ictc.stages.survey import survey
from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import ItemT, MapStage, StageProgress
from ictc.storage.journal import Journal


@dataclass(frozen=True, kw_only=True)
class PartlyAskedWork(Generic[ItemT]):
    """What is to be done of such a step of one track.

    Attributes:
        work: its result.
        partly_asked: which images are asked about.
        open_answers: opens the journal of the answers.
        is_afresh: whether none of them is to be used; `work.begin` throws them away.
    """

    work: MapWork[ItemT]
    partly_asked: PartlyAsked[ItemT]
    open_answers: Callable[[], Journal]
    is_afresh: bool


async def run_partly_asked(
    todo: PartlyAskedWork[ItemT], executor: Executor, control: ControlSettings, stop: asyncio.Event
) -> None:
    """Ask in rounds, infer the rest, and write the result, unless a stop is asked for before.

    What can be told from answers that are there is told without an engine. What a round leads to is found out in a
    thread beside this one, which hears of signals meanwhile, and touches no journal.
    """
    work = todo.work
    if not work.surveyed.todo:
        note_up_to_date(work)
        work.begin()
        return
    if todo.is_afresh:
        await executor.prepare(work.step.role)
        if stop.is_set():
            return
        work.begin()
    answers = todo.open_answers()
    try:
        rounds = iter_unanswered(todo.partly_asked.ask(answers), answers, retry_rejected=control.retry_rejected)
        first = await asyncio.to_thread(next, rounds, None)
        if first is not None and not todo.is_afresh:
            await executor.prepare(work.step.role)
        if stop.is_set():
            return
        if not todo.is_afresh:
            work.begin()
        await _ask_and_conclude(todo, answers, first, rounds, executor=executor, control=control, stop=stop)
    finally:
        answers.close()


def iter_unanswered(
    rounds: Iterator[MapStage[ItemT]], answers: Journal, *, retry_rejected: bool
) -> Iterator[MapStage[ItemT]]:
    """Yield the rounds of which something is to be asked."""
    for stage in rounds:
        if survey(stage, answers, retry_rejected=retry_rejected).todo:
            yield stage


async def _ask_and_conclude(
    todo: PartlyAskedWork[ItemT],
    answers: Journal,
    first: MapStage[ItemT] | None,
    rounds: Iterator[MapStage[ItemT]],
    *,
    executor: Executor,
    control: ControlSettings,
    stop: asyncio.Event,
) -> None:
    work = todo.work
    with open_lane(work, answers, control, "", Timekeeper()) as lane:
        counted = lane.progress = Counting(lane.progress)
        while first is not None and not stop.is_set():
            lane.stage = first
            lane.begin_round(gives_up=False)
            await executor.run([lane], stop, work.reporter.note)
            first = None if stop.is_set() else await asyncio.to_thread(next, rounds, None)
        if stop.is_set():
            return
        counted.make_up(await asyncio.to_thread(Counter, todo.partly_asked.conclude(work.journal)))
    say_shared(work, lane)


@dataclass
class Counting:
    """Counts the images that were asked about, so that each counts once."""

    inner: StageProgress
    statuses: Counter[Status] = field(default_factory=Counter)

    def advance(self, status: Status, tokens: int | None) -> None:
        """Count one that was asked about."""
        self.statuses[status] += 1
        self.inner.advance(status, tokens)

    def make_up(self, new: Counter[Status]) -> None:
        """Count those that have a record now and were not asked about."""
        for status, count in sorted((new - self.statuses).items()):
            for _ in range(count):
                self.inner.advance(status, 0)
