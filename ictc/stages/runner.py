"""The one durable loop behind Steps 1, 2a and 3: items in, engine, one journal record out for each.

It knows order, windows, retries and the journal. What is asked and what an answer means belong to the
stage; how it is answered belongs to the engine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ictc.engines.base import Answer, Engine, GenerationRequest, GenerationResult
from ictc.errors import EngineDeadError, EngineError, InvalidAnswer, StageError
from ictc.records import StageName
from ictc.stages.outcome import Outcome, Status, needs_work, rejected, to_record
from ictc.stages.retry import CUT_OFF, FIRST, INVALID, Attempt, next_attempt
from ictc.stages.suspects import Suspects
from ictc.stages.work import WorkItem
from ictc.storage.journal import Journal

logger = logging.getLogger(__name__)

STOP_GRACE_S = 8.0
"""How long requests in flight may still finish after a stop was asked for."""

MIN_IMAGES_TO_JUDGE = 200
"""Before so many images, a share of rejected ones says little."""

ItemT = TypeVar("ItemT")


class MapStage(Protocol[ItemT]):
    """A step that treats each image on its own."""

    @property
    def name(self) -> StageName: ...

    def iter_items(self) -> Iterator[WorkItem[ItemT]]:
        """Yield every image that enters the stage, done or not, in the order of the manifest."""
        ...

    async def build_request(self, item: ItemT, attempt: Attempt) -> GenerationRequest | Outcome:
        """Return what to ask, or the outcome where no model is needed."""
        ...

    def parse_answer(self, item: ItemT, answer: Answer) -> Outcome:
        """Return what the answer means.

        Raises:
            InvalidAnswer: it means nothing.
        """
        ...


class StageProgress(Protocol):
    """Told of every image that leaves a stage, for bars and lines."""

    def advance(self, status: Status, tokens: int) -> None: ...


@dataclass
class _Pending(Generic[ItemT]):
    """An image on its way through the stage."""

    item: ItemT
    image_id: str
    input_digest: str
    attempt: Attempt = FIRST
    tokens: int = 0


@dataclass(frozen=True)
class Limits:
    """How much a runner does at a time, and when it gives up.

    Attributes:
        window: most requests in flight.
        prefetch: how many requests to prepare ahead of the engine (images decode while it computes).
        hang_timeout_s: seconds without any result after which the engine counts as dead.
        max_rejected: share of rejected images, in [0, 1], beyond which the run is going wrong.
        retry_rejected: whether images that were rejected earlier are tried again.
    """

    window: int
    prefetch: int = 0
    hang_timeout_s: float = 600.0
    max_rejected: float = 1.0
    retry_rejected: bool = False


@dataclass
class MapRunner(Generic[ItemT]):
    """Run one map stage to its end.

    Attributes:
        journal: gets exactly one record for each image that finishes, and none for the others.
        suspects: told what is in flight.
        stop: when set, no new work is taken, what is in flight finishes, and `run` returns.
        limits: how much to do at a time, and when to give up.
        alone: do only what is suspect, one image at a time.
        num_finished: images that this runner has written to the journal.
    """

    stage: MapStage[ItemT]
    journal: Journal
    suspects: Suspects
    progress: StageProgress
    stop: asyncio.Event
    limits: Limits
    alone: bool = False
    num_finished: int = 0
    _num_rejected: int = 0
    _last_result: float = field(default_factory=time.monotonic)
    _in_flight: dict[str, _Pending[ItemT]] = field(default_factory=dict)
    _retries: deque[GenerationRequest] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, engine: Engine) -> None:
        """Finish every image that has no up-to-date record yet, or stop early if told to.

        An engine that dies after a stop was asked for is no error: the signal may have reached it as well.

        Raises:
            EngineError: the engine cannot go on; what had finished is in the journal.
            StageError: too many images are rejected.
            StorageError: the disk refused.
        """
        work = (self._consume(engine), self._deadline(), self._watch())
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
            self.journal.sync()

    def iter_todo(self) -> Iterator[_Pending[ItemT]]:
        """Yield the images whose record is missing or about another input."""
        for item in self.stage.iter_items():
            image_id, input_digest = item.image_id, item.input_digest
            if self.alone and image_id not in self.suspects:
                continue
            if needs_work(self.journal, image_id, input_digest, retry_rejected=self.limits.retry_rejected):
                yield _Pending(item.load(), image_id, input_digest)

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
        logger.warning("%s: gave up on %d requests in flight", self.stage.name, len(self._in_flight))

    async def _watch(self) -> None:
        """Sync regularly, and notice an engine that hangs."""
        while True:
            await asyncio.sleep(1.0)
            self.journal.sync_if_due()
            if not self._in_flight:
                self._last_result = time.monotonic()
            if time.monotonic() - self._last_result > self.limits.hang_timeout_s:
                raise EngineDeadError(f"the engine has given no result for {self.limits.hang_timeout_s:.0f} s")

    async def _requests(self) -> AsyncGenerator[GenerationRequest, None]:
        """Yield retries first, then new images, then wait until nothing in flight can come back."""
        async with aclosing(self._prepare_ahead()) as prepared:
            exhausted = False
            while not self.stop.is_set():
                self._wake.clear()
                if self._retries:
                    yield self._retries.popleft()
                elif not exhausted and len(self._in_flight) < (1 if self.alone else self.limits.window):
                    following = await anext(prepared, None)
                    if following is None:
                        exhausted = True
                        continue
                    pending, request = following
                    self._in_flight[pending.image_id] = pending
                    self.suspects.start(pending.image_id)
                    yield request
                elif self._in_flight:
                    await self._wake.wait()
                else:
                    return

    async def _prepare_ahead(self) -> AsyncGenerator[tuple[_Pending[ItemT], GenerationRequest], None]:
        """Build requests in order, up to `prefetch` of them ahead; outcomes without a model are recorded here."""
        todo = self.iter_todo()
        building: deque[tuple[_Pending[ItemT], asyncio.Future[GenerationRequest | Outcome]]] = deque()
        try:
            while not self.stop.is_set():
                while len(building) <= self.limits.prefetch and (new := next(todo, None)) is not None:
                    building.append((new, asyncio.ensure_future(self._build(new))))
                if not building:
                    return
                pending, future = building.popleft()
                request = await future
                if isinstance(request, Outcome):
                    self._record(pending, request)
                    self.suspects.end(pending.image_id)
                else:
                    yield pending, request
        finally:
            for _, future in building:
                future.cancel()
            await asyncio.gather(*(future for _, future in building), return_exceptions=True)

    async def _build(self, pending: _Pending[ItemT]) -> GenerationRequest | Outcome:
        verdict = self.suspects.verdict(pending.image_id)
        if verdict is not None:
            return rejected(f"quarantined: {verdict}")
        return await self.stage.build_request(pending.item, pending.attempt)

    async def _settle(self, result: GenerationResult) -> None:
        """Turn one result into a record, or into the next attempt."""
        self._last_result = time.monotonic()
        pending = self._in_flight.get(result.request_id)
        if pending is None:
            raise EngineError(f"the engine answered {result.request_id!r} twice or unasked")
        outcome, failure = self._judge(pending, result)
        following = next_attempt(pending.attempt, failure) if failure else None
        if following is None:
            self._finish(pending, outcome)
        elif self.stop.is_set():
            self._leave(pending)  # not finished: the next run tries it again
        else:
            await self._retry(pending, following, failure)

    async def _retry(self, pending: _Pending[ItemT], attempt: Attempt, failure: str | None) -> None:
        logger.debug("%s %r: %s; attempt %d", self.stage.name, pending.image_id, failure, attempt.number + 1)
        pending.attempt = attempt
        request = await self.stage.build_request(pending.item, attempt)
        if isinstance(request, Outcome):
            self._finish(pending, request)
        else:
            self._retries.append(request)

    def _finish(self, pending: _Pending[ItemT], outcome: Outcome) -> None:
        self._record(pending, outcome)
        self._leave(pending)

    def _leave(self, pending: _Pending[ItemT]) -> None:
        del self._in_flight[pending.image_id]
        self.suspects.end(pending.image_id)

    def _judge(self, pending: _Pending[ItemT], result: GenerationResult) -> tuple[Outcome, str | None]:
        """Return the outcome if this were the last attempt, and the failure that it is, if one."""
        if not isinstance(result, Answer):
            return rejected(f"{result.kind.value}: {result.message}", result.raw_text), result.kind
        pending.tokens += result.prompt_tokens + result.completion_tokens
        try:
            return self.stage.parse_answer(pending.item, result), None
        except InvalidAnswer as error:
            failure = CUT_OFF if result.finish_reason == "length" else INVALID
            return rejected(f"{failure}: {error}", result.text), failure

    def _record(self, pending: _Pending[ItemT], outcome: Outcome) -> None:
        self.journal.append(to_record(pending.image_id, pending.input_digest, outcome))
        self.progress.advance(outcome.status, pending.tokens)
        self.num_finished += 1
        if outcome.status is Status.REJECTED:
            self._num_rejected += 1
            self._check_rejections(outcome)
            logger.info("%s %r rejected: %s", self.stage.name, pending.image_id, outcome.data["reason"])
        else:
            logger.debug("%s %r %s, %d tokens", self.stage.name, pending.image_id, outcome.status, pending.tokens)

    def _check_rejections(self, outcome: Outcome) -> None:
        share = self._num_rejected / self.num_finished
        if self.num_finished >= MIN_IMAGES_TO_JUDGE and share > self.limits.max_rejected:
            raise StageError(
                f"{self.stage.name}: {self._num_rejected} of {self.num_finished} images are rejected, more than "
                f"--max_rejected {self.limits.max_rejected}; what is done is kept. The last: {outcome.data['reason']}"
            )
