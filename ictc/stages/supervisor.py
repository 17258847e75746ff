"""Keeps a map stage going when its engine dies: restart, suspects one at a time, quarantine, and a bound on it all."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ictc.engines.base import Engine
from ictc.errors import EngineDeadError
from ictc.stages.runner import MapRunner
from ictc.stages.suspects import Suspects

logger = logging.getLogger(__name__)

MAX_DEATHS_IN_VAIN = 3
"""Deaths in a row without one finished image between them: restarting does not help."""

ItemT = TypeVar("ItemT")


async def run_supervised(
    build_runner: Callable[[Engine], MapRunner[ItemT]],
    load_engine: Callable[[], Awaitable[Engine]],
    drop_dead_engine: Callable[[], Awaitable[None]],
    suspects: Suspects,
    note: Callable[[str], None],
) -> None:
    """Run a map stage to its end through the deaths of its engine.

    Args:
        build_runner: makes a runner for the images that remain.
        load_engine: returns a living engine.
        drop_dead_engine: makes the next `load_engine` load what has died anew.
        note: tells the user one line.

    Raises:
        EngineError: the engine does not start, or dies again and again without finishing an image.
    """
    deaths_in_vain = 0
    while True:
        engine = await load_engine()
        runner = build_runner(engine)
        runner.alone = bool(suspects)
        if runner.alone:
            note(f"{len(suspects)} images that were in flight when a run or engine died go first, one at a time")
        try:
            await runner.run(engine)
        except EngineDeadError as error:
            blamed = suspects.blame(error.in_flight)
            deaths_in_vain = 1 if runner.num_finished else deaths_in_vain + 1
            await drop_dead_engine()
            if deaths_in_vain >= MAX_DEATHS_IN_VAIN:
                raise EngineDeadError(f"{error}; it died {deaths_in_vain} times without finishing an image") from error
            logger.exception("the engine died with %s in flight", blamed)
            note(f"the engine died ({error}); restarting it")
            continue
        if runner.stop.is_set() or not runner.alone:
            return
        suspects.acquit()
        deaths_in_vain = 0
