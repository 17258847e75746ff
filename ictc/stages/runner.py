"""The one durable loop behind Steps 1, 2a and 3: images in, engine, one journal record out for each.

It knows order, windows, retries and time-outs. What is asked and what an answer means belong to the stage; whose
answer an image gets and where it is recorded, to its lane; how it is answered, to the engine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic

from ictc.engines.base import Engine, GenerationRequest, GenerationResult, is_waiting
from ictc.errors import EngineDeadError, EngineError
from ictc.records import Source, add_counts
from ictc.stages.judging import count_tokens, judge
from ictc.stages.lane import Lane, Pending
from ictc.stages.outcome import Outcome
from ictc.stages.prefetch import map_ahead
from ictc.stages.retry import Attempt, next_attempt
from ictc.stages.work import ItemT, build_request

logger = logging.getLogger(__name__)

STOP_GRACE_S = 8.0
"""How long requests in flight may still finish after a stop was asked for."""

MAX_IMAGE_BYTES = 2 * 2**30
"""Most pixels in flight: 500 images of the default 1,280 tokens, 40 of 16,384."""


@dataclass(frozen=True)
class Limits:
    """How much a runner does at a time, and when it gives up.

    Attributes:
        window: most requests in flight.
        prefetch: how many requests to prepare ahead of the engine (images decode while it computes).
        lookahead: how many images to find ahead of those (they are fetched meanwhile, where they lie elsewhere).
        hang_timeout_s: seconds without any result after which the engine counts as dead.
        image_bytes: most bytes of pixels in flight.
    """

    window: int
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
        alone: do only what is suspect, one image at a time.
    """

    lanes: Sequence[Lane[ItemT]]
    stop: asyncio.Event
    limits: Limits
    alone: bool = False
    _last_result: float = field(default_factory=time.monotonic)
    _in_flight: dict[str, Pending[ItemT]] = field(default_factory=dict)
    _image_bytes: int = 0
    _retries: deque[GenerationRequest] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, engine: Engine) -> None:
        """Finish every image that has no up-to-date record yet, or stop early if told to.

        An engine that dies after a stop was asked for is no error: the signal may have reached it as well.

        Raises:
            EngineError: the engine cannot go on; what had finished is in the journals.
            StageError: too many images are rejected.
            StorageError: the disk refused.
        """
        work = (self._consume(engine), self._deadline(), self._watch(engine))
        tasks = [asyncio.create_task(one) for one in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and not (self.stop.is_set() and isinstance(task.exception(), EngineError)):
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for lane in self.lanes:
                lane.sync()

    async def _consume(self, engine: Engine) -> None:
        async with aclosing(self._requests()) as requests, aclosing(engine.generate(requests)) as results:
            async for result in results:
                await self._settle(result)
                self._wake.set()

    async def _deadline(self) -> None:
        """Return when a stop was asked for and what is in flight has had its time."""
        await self.stop.wait()
        self._wake.set()
        await asyncio.sleep(STOP_GRACE_S)
        logger.warning("gave up on %d requests in flight", len(self._in_flight))

    async def _watch(self, engine: Engine) -> None:
        """Sync regularly, and notice an engine that hangs."""
        while True:
            await asyncio.sleep(1.0)
            for lane in self.lanes:
                lane.sync_if_due()
            if not self._in_flight or is_waiting(engine):
                self._last_result = time.monotonic()
            if time.monotonic() - self._last_result > self.limits.hang_timeout_s:
                raise EngineDeadError(f"the engine has given no result for {self.limits.hang_timeout_s:.0f} s")

    async def _requests(self) -> AsyncGenerator[GenerationRequest, None]:
        """Yield retries first, then new images, then wait until nothing in flight can come back."""
        async with aclosing(self._prepared()) as prepared:
            exhausted = False
            while not self.stop.is_set():
                self._wake.clear()
                if self._retries:
                    yield self._retries.popleft()
                elif not exhausted and self._has_room():
                    following = await anext(prepared, None)
                    if following is None:
                        exhausted = True
                        continue
                    pending, request = following
                    self._enter(pending, request)
                    yield request
                elif self._in_flight:
                    await self._wake.wait()
                else:
                    return

    def _has_room(self) -> bool:
        if self.alone:
            return not self._in_flight
        return len(self._in_flight) < self.limits.window and self._image_bytes < self.limits.image_bytes

    async def _prepared(self) -> AsyncGenerator[tuple[Pending[ItemT], GenerationRequest], None]:
        """Build requests in order and ahead of the engine; outcomes that need no model are recorded here."""
        async with (
            aclosing(self._todo()) as todo,
            aclosing(map_ahead(todo, _find_source, self.limits.lookahead)) as identified,
            aclosing(_leading(identified)) as leading,
            aclosing(map_ahead(leading, _build_first, self.limits.prefetch)) as built,
        ):
            async for pending, request in built:
                if isinstance(request, Outcome):
                    pending.lane.finish(pending, request)
                else:
                    yield pending, request

    async def _todo(self) -> AsyncGenerator[Pending[ItemT], None]:
        for pending in self.iter_todo():
            if self.stop.is_set():
                return
            yield pending

    def iter_todo(self) -> Iterator[Pending[ItemT]]:
        """Yield what has no up-to-date record: image by image, and of an image lane by lane."""
        for pendings in zip(*(lane.iter_todo(alone=self.alone) for lane in self.lanes), strict=True):
            yield from filter(None, pendings)

    async def _settle(self, result: GenerationResult) -> None:
        """Turn one result into a record, or into the next attempt."""
        self._last_result = time.monotonic()
        pending = self._in_flight.get(result.request_id)
        if pending is None:
            raise EngineError(f"the engine answered {result.request_id!r} twice or unasked")
        pending.tokens = add_counts(pending.tokens, count_tokens(result))
        outcome, failure = judge(pending.lane.stage, pending.item, result)
        following = next_attempt(pending.attempt, failure) if failure else None
        if following is None:
            self._leave(pending)
            pending.lane.finish(pending, outcome)
        elif self.stop.is_set():
            self._leave(pending)  # not finished: the next run tries it again
            pending.lane.suspects.end(pending.image_id)
        else:
            await self._retry(pending, following, failure)

    async def _retry(self, pending: Pending[ItemT], attempt: Attempt, failure: str | None) -> None:
        stage = pending.lane.stage
        logger.debug("%s %r: %s; attempt %d", stage.name, pending.image_id, failure, attempt.number + 1)
        pending.attempt = attempt
        request = await _build(pending)
        if isinstance(request, Outcome):
            self._leave(pending)
            pending.lane.finish(pending, request)
        else:
            self._retries.append(request)

    def _enter(self, pending: Pending[ItemT], request: GenerationRequest) -> None:
        self._in_flight[request.request_id] = pending
        pending.lane.suspects.start(pending.image_id)
        pending.image = request.image
        self._image_bytes += _num_bytes(pending)

    def _leave(self, pending: Pending[ItemT]) -> None:
        del self._in_flight[pending.request_id]
        self._image_bytes -= _num_bytes(pending)


def _num_bytes(pending: Pending[ItemT]) -> int:
    return len(pending.image.rgb) if pending.image is not None else 0


async def _find_source(pending: Pending[ItemT]) -> Source:
    return await pending.lane.stage.find_source(pending.item) or pending.source


async def _leading(
    identified: AsyncIterator[tuple[Pending[ItemT], Source]],
) -> AsyncGenerator[Pending[ItemT], None]:
    """Yield the images that are to be asked about."""
    async for pending, source in identified:
        pending.source = source
        if pending.lane.lead_or_follow(pending):
            yield pending


async def _build_first(pending: Pending[ItemT]) -> GenerationRequest | Outcome:
    return pending.lane.quarantine(pending) or await _build(pending)


async def _build(pending: Pending[ItemT]) -> GenerationRequest | Outcome:
    return await build_request(pending.lane.stage, pending.item, pending.attempt, pending.lane.prefix)
