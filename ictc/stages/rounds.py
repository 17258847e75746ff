"""Images that can't be read while others can are tried again at the end of their step, before it gives them up.

They have no record until then, so another round over the same images finds just these to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from ictc.records import Wait
from ictc.stages.lane import Lane

logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 5.0)
"""Before each further round; the last one gives up what it can't read, and one more is for what followed that."""


async def run_in_rounds(lanes: Sequence[Lane[Any]], stop: asyncio.Event, run: Callable[[], Awaitable[None]]) -> None:
    """Run lanes over the same images until every image is recorded, or a stop is asked for.

    Args:
        run: does what is left to do of the lanes.
    """
    await run()
    pauses = deque(PAUSES_S)
    while (num_left := sum(lane.num_left for lane in lanes)) and not stop.is_set():
        logger.info("%d images could not be read; another round", num_left)
        lanes[0].times.divide(1, Wait.OUTAGE)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pauses.popleft() if pauses else 0)
        if stop.is_set():
            return
        for lane in lanes:
            lane.begin_round(gives_up=not pauses)
        await run()
