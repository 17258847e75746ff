"""Keeps a map stage going when its engine dies: restart, suspects one at a time, quarantine, and a bound on it all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from ictc.engines.base import Engine
from ictc.errors import EngineDeadError
from ictc.stages.lane import Lane
from ictc.stages.runner import Limits, MapRunner
from ictc.stages.work import ItemT

logger = logging.getLogger(__name__)

MAX_DEATHS_IN_VAIN = 3
"""Deaths in a row without one finished image between them: restarting does not help."""


async def run_supervised(
    lanes: Sequence[Lane[ItemT]],
    stop: asyncio.Event,
    limits: Callable[[Engine], Limits],
    *,
    load_engine: Callable[[], Awaitable[Engine]],
    drop_dead_engine: Callable[[], Awaitable[None]],
    note: Callable[[str], None],
) -> None:
    """Run map stages over the same images to their end, through the deaths of their engine.

    Args:
        stop: when set, what is in flight finishes and this returns.
        limits: what an engine can take.
        load_engine: returns a living engine.
        drop_dead_engine: makes the next `load_engine` load what has died anew.
        note: tells the user one line.

    Raises:
        EngineError: the engine does not start, or dies again and again without finishing an image.
    """
    deaths_in_vain = 0
    while True:
        engine = await load_engine()
        num_suspects = sum(len(lane.suspects) for lane in lanes)
        finished_before = count_finished(lanes)
        runner = MapRunner(lanes, stop, limits(engine), alone=num_suspects > 0)
        if runner.alone:
            note(f"{num_suspects} images that were in flight when a run or engine died go first, one at a time")
        try:
            await runner.run(engine)
        except EngineDeadError as error:
            blamed = blame(lanes, error.in_flight)
            deaths_in_vain = 1 if count_finished(lanes) > finished_before else deaths_in_vain + 1
            await drop_dead_engine()
            if deaths_in_vain >= MAX_DEATHS_IN_VAIN:
                raise EngineDeadError(f"{error}; it died {deaths_in_vain} times without finishing an image") from error
            logger.exception("the engine died with %s in flight", blamed)
            note(f"the engine died ({error}); restarting it")
            continue
        if stop.is_set() or not runner.alone:
            return
        for lane in lanes:
            lane.suspects.acquit()
        deaths_in_vain = 0


def blame(lanes: Sequence[Lane[ItemT]], request_ids: Collection[str] | None) -> list[str]:
    """Suspect what a dead engine had in flight, of all lanes, and return it; None: whatever is in flight."""
    blamed = []
    for lane in lanes:
        had = None
        if request_ids is not None:
            had = {one.removeprefix(lane.prefix) for one in request_ids if one.startswith(lane.prefix)}
        blamed += [lane.prefix + image_id for image_id in lane.suspects.blame(had)]
        lane.restart()
    return blamed


def count_finished(lanes: Sequence[Lane[ItemT]]) -> int:
    """Return how many images the lanes have written to their journals."""
    return sum(lane.num_finished for lane in lanes)
