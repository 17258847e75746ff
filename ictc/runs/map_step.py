"""Runs what is left to do of a map step, or of the same step of several tracks side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from ictc.config import ControlSettings
from ictc.executors.base import Executor
from ictc.runs.reporter import Reporter
from ictc.stages.brake import Tolerance
from ictc.stages.lane import Lane
from ictc.stages.sharing import EqualSources, Leaders, NoLeaders, SimilarLooks
from ictc.stages.survey import Survey, check_accounting, survey
from ictc.stages.suspects import Suspects
from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import ItemT, MapStage
from ictc.steps.base import MapStep
from ictc.steps.exports import Exports
from ictc.steps.results import Results
from ictc.storage.journal import Journal
from ictc.storage.keys import StageKey


@dataclass(frozen=True, kw_only=True)
class MapWork(Generic[ItemT]):
    """What is to do of a map step of one track.

    Attributes:
        compares_looks: whether images get the outcome of one that looks like them.
        title: the step, for people.
        surveyed: how much of it is done.
        begin: makes it the current one; what an earlier run left of it stays as it is until this is called.
    """

    step: MapStep[ItemT]
    stage: MapStage[ItemT]
    compares_looks: bool
    title: str
    surveyed: Survey
    reporter: Reporter
    exports: Exports
    begin: Callable[[], None]

    @property
    def journal(self) -> Journal:
        """The records of the step, once it has begun."""
        return self.exports.results.journals[self.step]


async def run_map_steps(
    works: Sequence[MapWork[ItemT]], executor: Executor, control: ControlSettings, stop: asyncio.Event
) -> None:
    """Do what is left of a step of several tracks over the same images, and check that it is all accounted for."""
    todo = choose_todo(works, combined=control.combine_tracks)
    if todo:
        await executor.prepare(todo[0].step.role)  # before the bars open: loading has its own messages
    if stop.is_set():
        return
    for work in works:  # only now, as an engine that can't be loaded must cost nothing that is there
        work.begin()
    if not todo:
        return
    with ExitStack() as stack:
        times = Timekeeper()
        lanes = [
            stack.enter_context(open_lane(work, work.journal, control, f"{number}:" if len(todo) > 1 else "", times))
            for number, work in enumerate(todo)
        ]
        together = todo[0].step.combine(lanes) if control.combine_tracks else lanes
        await executor.run(together, stop, todo[0].reporter.note)
    for work, lane in zip(todo, lanes, strict=True):
        say_shared(work, lane)
        if not stop.is_set():
            check_accounting(work.stage, work.journal)


def choose_todo(works: Sequence[MapWork[ItemT]], *, combined: bool) -> list[MapWork[ItemT]]:
    """Return what has something left to do, all of it if it is done together."""
    todo = [work for work in works if work.surveyed.todo]
    if combined and todo:
        return list(works)
    for work in works:
        if work not in todo:
            note_up_to_date(work)
    return todo


def note_up_to_date(work: MapWork[Any]) -> None:
    """Say that there is nothing to do."""
    work.reporter.note(f"{work.title}: all {work.surveyed.total:,} are up to date")


def say_shared(work: MapWork[Any], lane: Lane[Any]) -> None:
    """Say how many images got the answer of another one, if any did."""
    if lane.num_shared:
        work.reporter.note(
            f"{work.title}: {lane.num_shared:,} of {lane.num_finished:,} are equal to others and share their answer"
        )


@contextmanager
def open_lane(
    work: MapWork[ItemT], journal: Journal, control: ControlSettings, prefix: str, times: Timekeeper
) -> Iterator[Lane[ItemT]]:
    """Open the progress of a step and its list of suspects for as long as the block lasts.

    Args:
        journal: gets the answers.
    """
    suspects_path = journal.directory / "in_flight.log"
    if control.retry_rejected:
        suspects_path.unlink(missing_ok=True)
    progress = work.reporter.stage(
        name=work.step.name, title=work.title, total=work.surveyed.total, done=work.surveyed.done, times=times
    )
    with closing(Suspects(suspects_path)) as suspects, progress as opened:
        try:
            yield Lane(
                stage=work.stage,
                journal=journal,
                suspects=suspects,
                progress=opened,
                leaders=choose_leaders(journal, control, compares_looks=work.compares_looks),
                tolerance=tolerance_of(control, work.exports.directory),
                retry_rejected=control.retry_rejected,
                prefix=prefix,
                times=times,
            )
        finally:
            suspects.release()  # what an orderly end leaves in flight is no one's fault
            work.exports.write_rejections()


def survey_step(
    step: MapStep[ItemT],
    key: StageKey,
    stage: MapStage[ItemT],
    results: Results,
    *,
    journal: Journal | None,
    retry_rejected: bool = False,
) -> Survey:
    """Return how much of the result of a map step under a key is done, as its journal says."""
    partly_asked = step.partly_asked(key, results, stage)
    if partly_asked is not None:
        return partly_asked.survey(journal, retry_rejected=retry_rejected)
    return survey(stage, journal, retry_rejected=retry_rejected, near=step.compares_looks(key))


def tolerance_of(control: ControlSettings, directory: Path) -> Tolerance:
    """Return how many bad images a user puts up with in the run in `directory`."""
    return Tolerance(max_rejected=control.max_rejected, max_broken=control.max_broken, directory=directory)


def choose_leaders(journal: Journal, control: ControlSettings, *, compares_looks: bool) -> Leaders:
    """Return what says which images share an answer."""
    if control.dedupe == "off":
        return NoLeaders()
    if compares_looks:
        return SimilarLooks(journal, retry_rejected=control.retry_rejected)
    return EqualSources(journal, retry_rejected=control.retry_rejected)
