"""Keeps engines side by side at work: one that dies or hangs is loaded anew, and left out if that does not help.

Each is judged by itself, and the others go on meanwhile. What a dead engine had in flight, who is to ask it again and
in which groups is the business of `ictc.stages.runner`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from ictc.engines.base import Engine, Engines, GenerationRequest, is_waiting
from ictc.errors import EngineDeadError, EngineError, EngineLoadError
from ictc.stages.flow import Flow, Prepared
from ictc.stages.work import ItemT

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

MAX_FAILURES = 5
"""How often in a row an engine may fail before it is left out: not start, die idle, or die of an image alone again."""

RELOAD_PAUSE_S = 10.0
"""After the n-th failure to start, n times so long is waited: what a dead engine held is not free at once."""

TICK_S = 1.0
CANCEL_TIMEOUT_S = 10.0


@dataclass(eq=False)
class Seat(Generic[ItemT]):
    """The place of one engine: what it has been asked, what it is to ask next, and how it is doing.

    Attributes:
        engine: None while it is not loaded.
        in_flight: what it has been asked, by request id.
        probe: what an engine that was loaded anew has to answer first; it has been answered before.
        flow: where it takes requests from.
        suspects: what it is to take next, before it takes part in the common work again.
        failures: since it last gave a result.
        has_spoken: whether it has given a result since the last tick.
        is_left_out: it has failed too often.
    """

    place: int
    engine: Engine | None
    _: KW_ONLY
    in_flight: dict[str, Prepared[ItemT]] = field(default_factory=dict)
    probe: GenerationRequest | None = None
    flow: Flow[ItemT] | None = None
    suspects: deque[Flow[ItemT]] = field(default_factory=deque)
    failures: int = 0
    has_spoken: bool = False
    is_left_out: bool = False

    def note_result(self) -> None:
        """Note that its engine is alive."""
        self.has_spoken, self.failures = True, 0

    def is_silent(self) -> bool:
        """Return whether it owes a result and has given none since this was last asked."""
        has_spoken, self.has_spoken = self.has_spoken, False
        owes = bool(self.in_flight or self.probe) and self.engine is not None and not is_waiting(self.engine)
        return owes and not has_spoken


class Work(Protocol[ItemT]):
    """What engines are kept at work on."""

    @property
    def probe(self) -> GenerationRequest | None:
        """What an engine must be able to answer; None if nothing has been answered yet."""
        ...

    def is_over(self) -> bool:
        """Return whether nothing is left to do."""
        ...

    async def consume(self, seat: Seat[ItemT]) -> None:
        """Give an engine its requests and take its results, until nothing is left to do or a stop is asked for."""
        ...

    def suspect(self, seat: Seat[ItemT], lost: Sequence[Prepared[ItemT]]) -> bool:
        """Take back what an engine had when it died; return whether its next death will tell more."""
        ...

    def hand_over(self, seat: Seat[ItemT]) -> None:
        """Give to others what a seat was to do, as its engine does not come back."""
        ...


@dataclass
class Supervisor(Generic[ItemT]):
    """Keeps engines at work.

    Attributes:
        stop: when set, nothing is loaded any more.
        note: tells the user one line.
    """

    engines: Engines
    work: Work[ItemT]
    stop: asyncio.Event
    hang_timeout_s: float
    note: Callable[[str], None]

    def __post_init__(self) -> None:
        self.seats: list[Seat[ItemT]] = [Seat(place, self.engines[place]) for place in range(len(self.engines))]

    async def run(self) -> None:
        """Keep all engines at work until nothing is left to do.

        Raises:
            EngineError: none of them can go on.
        """
        tasks = [asyncio.create_task(self._serve(seat)) for seat in self.seats]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, seat: Seat[ItemT]) -> None:
        while not (self.stop.is_set() or self.work.is_over()):
            if seat.engine is None and not await self._revive(seat):
                return
            try:
                await watch(self.work.consume(seat), seat.is_silent, self.hang_timeout_s)
            except EngineDeadError as error:
                if self.stop.is_set():
                    raise
                await self._bury(seat, error)

    async def _bury(self, seat: Seat[ItemT], error: EngineDeadError) -> None:
        """Unload a dead engine; what it had is suspect."""
        lost = list(seat.in_flight.values())
        ids = [request.request_id for _, request in lost]
        logger.info("%s died with %s in flight", self._name(seat), ids, exc_info=error)
        seat.in_flight.clear()
        seat.engine = seat.probe = None
        self.note(f"{self._name(seat)} died ({error}) with {count_images(lost)}; restarting it{self._others()}")
        seat.failures += not self.work.suspect(seat, lost)
        await self.engines.drop(seat.place)
        if seat.failures >= MAX_FAILURES:
            self._leave_out(seat, error)

    async def _revive(self, seat: Seat[ItemT]) -> bool:
        """Load an engine anew; return whether it is there."""
        pause_s = 0.0
        while not (seat.is_left_out or self.stop.is_set() or self.work.is_over()):
            try:
                await self._unless_stopped(asyncio.sleep(pause_s))
                seat.engine = await self._unless_stopped(self.engines.reload(seat.place))
            except EngineLoadError as error:
                seat.failures += 1
                pause_s += RELOAD_PAUSE_S
                self._judge_failure(seat, error)
                continue
            if seat.engine is not None:
                seat.probe = self.work.probe
                self.note(f"{self._name(seat)} is loaded anew{self._others()}")
                return True
        return False

    def _judge_failure(self, seat: Seat[ItemT], error: EngineLoadError) -> None:
        if seat.failures >= MAX_FAILURES:
            self._leave_out(seat, error)
        else:
            self.note(f"{self._name(seat)} does not start ({error}); trying again{self._others()}")

    def _leave_out(self, seat: Seat[ItemT], error: EngineError) -> None:
        """Go on without an engine.

        Raises:
            EngineError: it was the last one.
        """
        seat.is_left_out = True
        why = f"{error}; it failed {seat.failures} times in a row"
        if all(other.is_left_out for other in self.seats):
            raise type(error)(why if len(self.seats) == 1 else f"{why}, and no other engine is left") from error
        self.note(f"{self._name(seat)} is left out ({why}); what it had goes to the others{self._others()}")
        self.work.hand_over(seat)

    async def _unless_stopped(self, work: Awaitable[ResultT]) -> ResultT | None:
        """Return what `work` returns, None once a stop is asked for or nothing is left to do."""
        task = asyncio.ensure_future(work)
        try:
            while not (task.done() or self.stop.is_set() or self.work.is_over()):
                await asyncio.wait([task], timeout=min(TICK_S, 0.1))
            return task.result() if task.done() else None
        finally:
            task.cancel()

    def _name(self, seat: Seat[ItemT]) -> str:
        return "the engine" if len(self.seats) == 1 else f"engine {seat.place + 1} of {len(self.seats)}"

    def _others(self) -> str:
        """Return how many engines are at work, where there are several."""
        if len(self.seats) == 1:
            return ""
        working = sum(seat.engine is not None for seat in self.seats)
        return f"; {working} at work, {working / len(self.seats):.0%} of the rate"


async def watch(work: Coroutine[Any, Any, ResultT], is_silent: Callable[[], bool], hang_timeout_s: float) -> ResultT:
    """Return what `work` returns.

    Silence is counted in ticks, not by the clock: while this process was suspended, nobody was silent.

    Args:
        is_silent: returns whether an engine has owed a result since this was last asked, and given none.

    Raises:
        EngineDeadError: it was silent for so long.
    """
    task = asyncio.create_task(work)
    tick_s, silent_s = min(TICK_S, hang_timeout_s / 4), 0.0
    try:
        while not task.done():
            await asyncio.wait([task], timeout=tick_s)
            silent_s = silent_s + tick_s if is_silent() else 0.0
            if silent_s > hang_timeout_s and not task.done():
                raise EngineDeadError(f"it has given no result for {hang_timeout_s:g} s")
        return task.result()
    finally:
        await end(task)


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended, but not for ever: what hangs may do so at its end as well."""
    task.cancel()
    await asyncio.wait([task], timeout=CANCEL_TIMEOUT_S)
    if not task.done():
        logger.warning("what an engine was doing does not end")
    elif not task.cancelled():
        task.exception()  # it has been raised, or nobody asks for it any more


def count_images(lost: Sequence[Prepared[Any]]) -> str:
    """Return in words how many images an engine had."""
    return f"{len(lost)} image{'s' * (len(lost) != 1)} in flight"
