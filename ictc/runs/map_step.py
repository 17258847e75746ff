"""Runs what is left to do of a map step, or of the same step of several tracks side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Generic

from ictc.config import ControlSettings, RunSettings
from ictc.executors.base import Executor, role_of
from ictc.runs.reporter import Reporter
from ictc.stages.brake import Tolerance
from ictc.stages.combined import combine_lanes
from ictc.stages.export import Exports
from ictc.stages.lane import Lane
from ictc.stages.sharing import EqualSources, Leaders, NoLeaders, SimilarLooks
from ictc.stages.survey import Survey, check_accounting
from ictc.stages.suspects import Suspects
from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import ItemT, MapStage
from ictc.storage.journal import Journal


@dataclass(frozen=True)
class MapStep(Generic[ItemT]):
    """A map step of one track that has something left to do.

    Attributes:
        title: the step, for people.
        surveyed: how much of it is done.
        begin: makes it the current one; what an earlier run left of it stays as it is until this is called.
    """

    stage: MapStage[ItemT]
    title: str
    surveyed: Survey
    reporter: Reporter
    exports: Exports
    begin: Callable[[], None]

    @property
    def journal(self) -> Journal:
        """The records of the step, once it has begun."""
        return self.exports.results.journals[self.stage.name]


async def run_map_steps(
    steps: Sequence[MapStep[ItemT]], executor: Executor, settings: RunSettings, stop: asyncio.Event
) -> None:
    """Do what is left of steps over the same images, all at once, and check that it is all accounted for."""
    todo = choose_todo(steps, combined=settings.control.combine_tracks)
    if todo:
        await executor.prepare(role_of(todo[0].stage))  # before the bars open: loading has its own messages
    if stop.is_set():
        return
    for step in steps:  # only now, as an engine that can't be loaded must cost nothing that is there
        step.begin()
    if not todo:
        return
    with ExitStack() as stack:
        times = Timekeeper()
        lanes = [
            stack.enter_context(open_lane(step, settings.control, f"{number}:" if len(todo) > 1 else "", times))
            for number, step in enumerate(todo)
        ]
        together = combine_lanes(lanes) if settings.control.combine_tracks else lanes
        await executor.run(together, stop, todo[0].reporter.note)
    for step, lane in zip(todo, lanes, strict=True):
        if lane.num_shared:
            step.reporter.note(
                f"{step.title}: {lane.num_shared:,} of {lane.num_finished:,} are equal to others and share their answer"
            )
        if not stop.is_set():
            check_accounting(step.stage, step.journal)


def choose_todo(steps: Sequence[MapStep[ItemT]], *, combined: bool) -> list[MapStep[ItemT]]:
    """Return the steps that have something left to do, all of them if they are done together."""
    todo = [step for step in steps if step.surveyed.todo]
    if combined and todo:
        return list(steps)
    for step in steps:
        if step not in todo:
            step.reporter.note(f"{step.title}: all {step.surveyed.total:,} are up to date")
    return todo


@contextmanager
def open_lane(step: MapStep[ItemT], control: ControlSettings, prefix: str, times: Timekeeper) -> Iterator[Lane[ItemT]]:
    """Open the progress of a step and its list of suspects for as long as the block lasts."""
    suspects_path = step.journal.directory / "in_flight.log"
    if control.retry_rejected:
        suspects_path.unlink(missing_ok=True)
    with (
        closing(Suspects(suspects_path)) as suspects,
        step.reporter.stage(step.title, step.surveyed.total, step.surveyed.done, times) as progress,
    ):
        try:
            yield Lane(
                step.stage,
                step.journal,
                suspects,
                progress,
                choose_leaders(step, control),
                Tolerance(control.max_rejected, control.max_broken, step.exports.directory),
                control.retry_rejected,
                prefix,
                times=times,
            )
        finally:
            suspects.release()  # what an orderly end leaves in flight is no one's fault
            step.exports.write_rejections()


def choose_leaders(step: MapStep[ItemT], control: ControlSettings) -> Leaders:
    """Return what says which images share an answer."""
    if control.dedupe == "off":
        return NoLeaders()
    if control.dedupe == "near" and step.stage.name == "caption":
        return SimilarLooks(step.journal, retry_rejected=control.retry_rejected)
    return EqualSources(step.journal, retry_rejected=control.retry_rejected)
