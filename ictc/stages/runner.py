"""The one durable loop behind Steps 1, 2a and 3: images in, engines, one journal record out for each.

It knows order, windows, retries and suspects. What is asked and what an answer means belong to the stage; whose answer
an image gets and where it is recorded, to its lane; how it is answered, to the engines; which of them are alive, to
`ictc.stages.supervisor`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic

from ictc.engines.base import Engines, GenerationRequest, GenerationResult, is_waiting
from ictc.errors import EngineError
from ictc.records import Wait, add_counts
from ictc.stages.flow import Flow, Prepared
from ictc.stages.judging import count_tokens, judge
from ictc.stages.lane import Lane, Pending
from ictc.stages.outcome import Outcome
from ictc.stages.preparing import prepare, prepare_again, rebuild
from ictc.stages.retry import next_attempt
from ictc.stages.supervisor import Seat, Supervisor
from ictc.stages.suspects import halve
from ictc.stages.work import ItemT

logger = logging.getLogger(__name__)

STOP_GRACE_S = 8.0
"""How long requests in flight may still finish after a stop was asked for."""

MAX_IMAGE_BYTES = 2 * 2**30
"""Most pixels in flight: 500 images of the default 1,280 tokens, 40 of 16,384."""

SECONDS_BETWEEN_LOOKS = 0.2
"""How often it is looked what engines wait for, where nothing else tells that this has changed."""

OF_ENGINE = frozenset((Wait.ENGINE, Wait.LAST_ANSWERS, Wait.RESTART))
"""What stays as it is until a request goes in or comes out."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a runner does at a time, and when it gives up.

    Attributes:
        window: most images in flight, the engines having equal shares of them; None for as many as they can use.
        prefetch: how many requests to prepare ahead of the engines (images decode while they compute).
        lookahead: how many images to find ahead of those (they are fetched meanwhile, where they lie elsewhere).
        hang_timeout_s: seconds without any result after which an engine counts as dead.
        image_bytes: most bytes of pixels in flight.
    """

    window: int | None = None
    prefetch: int = 0
    lookahead: int = 0
    hang_timeout_s: float = 600.0
    image_bytes: int = MAX_IMAGE_BYTES


@dataclass
class MapRunner(Generic[ItemT]):
    """Run one map stage to its end, or several over the same images side by side.

    Attributes:
        lanes: the stages; each image goes into all of them at once, so that an engine may share what they share.
        stop: when set, no new work is taken, what is in flight finishes, and `run` returns.
        limits: how much to do at a time, and when to give up.
        note: tells the user one line.
        supply: tells what the next image is waiting for, None for nothing; None where no image is read.
        probe: the last request that was answered well.
    """

    lanes: Sequence[Lane[ItemT]]
    stop: asyncio.Event
    limits: Limits
    note: Callable[[str], None] = logger.info
    supply: Callable[[], Wait | None] | None = None
    probe: GenerationRequest | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _common: deque[Flow[ItemT]] = field(default_factory=deque)
    _suspects: list[Flow[ItemT]] = field(default_factory=list)
    _orphans: deque[Flow[ItemT]] = field(default_factory=deque)
    _seats: Sequence[Seat[ItemT]] = ()
    _open: dict[str, Flow[ItemT]] = field(default_factory=dict)
    _image_bytes: int = 0
    _convicts: list[Pending[ItemT]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._times = self.lanes[0].times

    async def run(self, engines: Engines) -> None:
        """Finish every image that has no up-to-date record yet, or stop early if told to.

        An engine that fails after a stop was asked for is no error: the signal may have reached it as well.

        Raises:
            AccessError: no image can be read, for too long.
            EngineError: no engine can go on; what had finished is in the journals.
            StageError: too many images are rejected.
            StorageError: the disk refused.
        """
        self._common.extend(self._begin())
        supervisor = Supervisor(engines, self, self.stop, self.limits.hang_timeout_s, self.note)
        self._seats = supervisor.seats
        self._times.divide(len(self._seats))
        tasks = [
            asyncio.create_task(one)
            for one in (supervisor.run(), self._deadline(), self._keep_synced(), self._keep_time())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and not (self.stop.is_set() and isinstance(task.exception(), EngineError)):
                    task.result()
            if not self.stop.is_set():
                self._conclude()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for flow in (*self._common, *self._suspects):
                await flow.close()
            for lane in self.lanes:
                lane.sync()

    async def _deadline(self) -> None:
        """Return when a stop was asked for and what is in flight has had its time."""
        await self.stop.wait()
        self._wake.set()
        await asyncio.sleep(STOP_GRACE_S)
        logger.warning("gave up on %d requests in flight", len(self._open))

    async def _keep_synced(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for lane in self.lanes:
                lane.sync_if_due()

    # What the engines wait for.

    async def _keep_time(self) -> None:
        """Look at what changes while no request goes in or comes out."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            self._times.look_at_cpu()
            for seat in self._seats:
                self._look_at(seat)

    def _look_at(self, seat: Seat[ItemT]) -> None:
        wait = self._times.now_waits_for(seat.place)
        if seat.engine is None:
            self._times.wait_for(seat.place, Wait.RESTART)
        elif is_waiting(seat.engine):
            self._times.wait_for(seat.place, Wait.PAUSE)
        elif wait is Wait.PAUSE:
            self._times.wait_for(seat.place, Wait.ENGINE)
        elif wait not in OF_ENGINE:
            self._times.wait_for(seat.place, self._supply())

    def _missing(self, seat: Seat[ItemT]) -> Wait:
        """Return why an engine that wants a request gets none."""
        if seat.flow is None or seat.flow.is_suspect or seat.probe is not None:
            return Wait.RESTART
        if seat.flow.is_exhausted:
            return Wait.LAST_ANSWERS
        return self._supply() if self._has_room(seat) else Wait.ENGINE

    def _supply(self) -> Wait:
        return (self.supply and self.supply()) or Wait.MAIN_PROCESS

    # What there is to do.

    def _begin(self) -> Iterator[Flow[ItemT]]:
        """Yield what is to be done one after the other: groups of suspects of the process's deaths, then the rest."""
        groups = [
            [lane.prefix + image_id for image_id in group] for lane in self.lanes for group in lane.suspects.groups
        ]
        suspects = frozenset(chain(*groups))
        if suspects:
            self.note(f"{len(suspects)} images that were in flight at earlier deaths go first, in {len(groups)} groups")
            pendings = {one.request_id: one for one in self._iter_todo(suspects.__contains__)}
            for group in groups:
                yield self._flow(self._prepared(pendings[one] for one in group if one in pendings))
        yield self._flow(self._prepared(self._iter_todo(lambda request_id: request_id not in suspects)))

    def _iter_todo(self, wants: Callable[[str], bool]) -> Iterator[Pending[ItemT]]:
        """Yield what has no up-to-date record: image by image, and of an image lane by lane."""
        for pendings in zip(*(lane.iter_todo(wants) for lane in self.lanes), strict=True):
            yield from filter(None, pendings)

    def _flow(self, prepared: AsyncGenerator[Prepared[ItemT], None], *, is_suspect: bool = False) -> Flow[ItemT]:
        return Flow(prepared, self._wake.set, is_suspect=is_suspect)

    def _prepared(self, todo: Iterable[Pending[ItemT]]) -> AsyncGenerator[Prepared[ItemT], None]:
        return prepare(todo, self.stop, prefetch=self.limits.prefetch, lookahead=self.limits.lookahead)

    def is_over(self) -> bool:
        """Return whether each image has its outcome."""
        return self._now().is_finished and all(flow.is_finished for flow in self._suspects)

    def _now(self) -> Flow[ItemT]:
        """Return what all engines work on together."""
        while len(self._common) > 1 and self._common[0].is_finished:
            self._common.popleft()
        return self._common[0]

    # What an engine is given, and gives.

    async def consume(self, seat: Seat[ItemT]) -> None:
        """Give an engine its requests and record its results, until nothing is left to do or a stop is asked for."""
        assert seat.engine is not None
        async with aclosing(self._requests(seat)) as requests, aclosing(seat.engine.generate(requests)) as results:
            async for result in results:
                self._settle(seat, result)
                self._wake.set()
        if not (self.stop.is_set() or self.is_over()):
            raise EngineError(f"the engine ended with {len(seat.in_flight)} requests unanswered; see the log")

    async def _requests(self, seat: Seat[ItemT]) -> AsyncGenerator[GenerationRequest, None]:
        """Yield what there is to ask until nothing in flight can come back."""
        if seat.probe is not None:
            yield seat.probe
        while not (self.stop.is_set() or self.is_over()):
            self._wake.clear()
            following = self._next(seat)
            if following is None:
                self._times.wait_for(seat.place, self._missing(seat))
                await self._wake.wait()
            else:
                self._enter(seat, following)
                self._times.wait_for(seat.place, Wait.ENGINE)
                yield following[1]

    def _next(self, seat: Seat[ItemT]) -> Prepared[ItemT] | None:
        """Return what an engine is to be asked next, None if it has to wait."""
        seat.flow = self._choose_flow(seat)
        if seat.flow is None or seat.probe is not None:
            return None
        return seat.flow.take_retry() or (seat.flow.take() if self._has_room(seat) else None)

    def _choose_flow(self, seat: Seat[ItemT]) -> Flow[ItemT] | None:
        """Return where an engine takes its work from; before it tests suspects, it answers what it has."""
        if seat.flow is not None and seat.flow.is_suspect and not seat.flow.is_finished:
            return seat.flow
        if not self._has_suspects(seat):
            return self._now()
        return None if seat.in_flight else seat.suspects.popleft()

    def _has_suspects(self, seat: Seat[ItemT]) -> bool:
        """Return whether an engine is to test suspects; it takes those of one that is gone, if nobody has them."""
        if not seat.suspects and self._orphans:
            seat.suspects.append(self._orphans.popleft())
        if not seat.suspects and not seat.in_flight and len(self._common) == 1 and self._common[0].is_exhausted:
            waiting = [other.suspects for other in self._seats if other.engine is None and other.suspects]
            seat.suspects.extend(others.popleft() for others in waiting[:1])
        while seat.suspects and seat.suspects[0].is_finished:
            seat.suspects.popleft()
        return bool(seat.suspects)

    def _has_room(self, seat: Seat[ItemT]) -> bool:
        return self._has_slot(seat) and self._image_bytes < self.limits.image_bytes

    def _has_slot(self, seat: Seat[ItemT]) -> bool:
        """Return whether an engine may have another image: so many that one that hangs leaves room for the others."""
        if self.limits.window is None:
            return True
        share = math.ceil(self.limits.window / sum(not other.is_left_out for other in self._seats))
        return len(self._open) < self.limits.window and len(seat.in_flight) < share

    def _settle(self, seat: Seat[ItemT], result: GenerationResult) -> None:
        """Turn one result into a record, or into the next attempt."""
        seat.note_result()
        if seat.probe is not None and seat.probe.request_id == result.request_id:
            seat.probe = None
            return
        if result.request_id not in seat.in_flight:
            raise EngineError(f"the engine answered {result.request_id!r} twice or unasked")
        pending, request = seat.in_flight.pop(result.request_id)
        pending.tokens = add_counts(pending.tokens, count_tokens(result))
        outcome, failure = judge(pending.lane.stage, pending.item, result)
        if failure is None:
            self.probe = request
            self._convict()
        following = next_attempt(pending.attempt, failure) if failure else None
        if following is None:
            self._leave(pending)
            pending.lane.finish(pending, outcome)
        elif not self.stop.is_set():  # else the next run tries it again
            name, number = pending.lane.stage.name, following.number + 1
            logger.debug("%s %r: %s; attempt %d", name, pending.image_id, failure, number)
            pending.attempt = following
            self._open[pending.request_id].retry(self._rebuild(pending))

    async def _rebuild(self, pending: Pending[ItemT]) -> Prepared[ItemT] | None:
        request = await rebuild(pending)
        if not isinstance(request, Outcome):
            return pending, request
        self._leave(pending)
        pending.lane.finish(pending, request)
        return None

    def _enter(self, seat: Seat[ItemT], prepared: Prepared[ItemT]) -> None:
        pending, request = prepared
        seat.in_flight[request.request_id] = prepared
        if request.request_id in self._open:
            return
        assert seat.flow is not None
        self._open[request.request_id] = seat.flow
        seat.flow.num_open += 1
        began = time.monotonic()
        pending.lane.suspects.start(pending.image_id)
        self._times.wrote_since(began)
        pending.image = request.image
        self._image_bytes += _num_bytes(pending)

    def _leave(self, pending: Pending[ItemT]) -> None:
        self._open.pop(pending.request_id).num_open -= 1
        self._image_bytes -= _num_bytes(pending)
        pending.image = None

    # What is done about the dead.

    def suspect(self, seat: Seat[ItemT], lost: Sequence[Prepared[ItemT]]) -> bool:
        """Have what a dead engine had in flight asked again, in halves; what was alone at its second death, never.

        Returns:
            Whether it had anything that is asked again.
        """
        pendings = [pending for pending, _ in lost]
        for pending in pendings:
            self._leave(pending)
        halves = [half for half in halve(pendings) if half]
        for lane in self.lanes:
            ids = [[pending.image_id for pending in half if pending.lane is lane] for half in halves]
            lane.suspects.blame(ids, alone=len(lost) == 1)
        convicts = [pending for pending in pendings if pending.lane.quarantine(pending)]
        self._convicts += convicts
        if seat.flow is not None and seat.flow.is_suspect:
            seat.suspects.appendleft(seat.flow)  # what of it was not in flight
        if not convicts:
            flows = [self._flow(prepare_again(half, prefetch=self.limits.prefetch), is_suspect=True) for half in halves]
            self._suspects = [flow for flow in self._suspects if not flow.is_finished] + flows
            seat.suspects.extendleft(reversed(flows))
        seat.flow = None
        self._convict()
        self._wake.set()
        return bool(lost) and not convicts

    def _convict(self) -> None:
        """Reject what has cost engines, once one has answered anything: else it may be the engine."""
        if self.probe is not None:
            for pending in self._convicts:
                _finish_quarantined(pending)
            self._convicts.clear()

    def hand_over(self, seat: Seat[ItemT]) -> None:
        """Give the suspects of an engine that does not come back to the others."""
        self._orphans.extend(seat.suspects)
        seat.suspects.clear()
        self._wake.set()

    def _conclude(self) -> None:
        """Reject what is left of the suspects, as there is nothing else to compare them with, and clear the others."""
        for pending in self._convicts:
            _finish_quarantined(pending)
        for lane in self.lanes:
            lane.suspects.acquit()


def _finish_quarantined(pending: Pending[ItemT]) -> None:
    outcome = pending.lane.quarantine(pending)
    assert outcome is not None
    pending.lane.finish(pending, outcome)


def _num_bytes(pending: Pending[ItemT]) -> int:
    return len(pending.image.rgb) if pending.image is not None else 0
