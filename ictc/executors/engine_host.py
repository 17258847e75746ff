"""One engine in a worker: loaded when the first request comes, kept busy by all that come, reloaded when it dies.

Knows nothing of Ray. The rules are those of `ictc.stages.runner`: what an engine had when it died is asked again in
halves, and what is alone at its second death is quarantined.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from ictc.config import ModelSpec
from ictc.engines.base import Engine, GenerationRequest, GenerationResult, is_waiting
from ictc.engines.provider import build_engine
from ictc.errors import EngineDeadError, EngineLoadError
from ictc.stages.outcome import Outcome, rejected
from ictc.stages.supervisor import MAX_FAILURES, RELOAD_PAUSE_S, watch
from ictc.stages.suspects import DEATHS_TO_QUARANTINE, KILLS_ENGINES, halve

logger = logging.getLogger(__name__)

MAX_DEATHS_IN_A_ROW = 5
"""Deaths with one request alone, none of which is answered in between: it is not the requests."""


@dataclass(frozen=True)
class HostLimits:
    """How much an engine gets at a time, and when it counts as dead.

    Attributes:
        window: most images in flight, None for what the engine can use.
        hang_timeout_s: seconds that it may owe results and give none.
    """

    window: int | None
    hang_timeout_s: float


class EngineHost:
    """Loads an engine and hands it requests."""

    def __init__(self, spec: ModelSpec, limits: HostLimits) -> None:
        self._spec = spec
        self._limits = limits
        self._stream: EngineStream | None = None
        self._slots: asyncio.Semaphore | None = None
        self._loading = asyncio.Lock()
        self._suspects = SuspectRequests()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until the engine can use another image.

        Raises:
            EngineLoadError: it does not start.
        """
        stream = await self._load()
        if self._slots is None:
            self._slots = asyncio.Semaphore(min(self._limits.window or stream.window, stream.window))
        async with self._slots:
            yield

    async def ask(self, request: GenerationRequest) -> GenerationResult | Outcome:
        """Return what the engine says, or the outcome of a request that engines die of.

        Raises:
            EngineError: the engine cannot go on.
        """
        request_id, answered = request.request_id, False
        try:
            while (verdict := self._suspects.verdict(request_id)) is None:
                stream = await self._load()
                while not self._suspects.is_turn(request_id):
                    await self._suspects.wait_for_turn(request_id)
                    stream = await self._load()
                try:
                    result = await stream.ask(request)
                except EngineDeadError as error:
                    logger.warning("the engine died with %r in flight: %s", request_id, error)
                    self._suspects.raise_if_hopeless(error)
                    continue
                answered = True
                return result
            await self._suspects.wait_until_proven(request_id)
            return rejected(f"quarantined: {verdict}")
        finally:
            self._suspects.acquit(request_id, answered=answered)

    async def _load(self) -> EngineStream:
        async with self._loading:
            is_dead = self._stream is not None and self._stream.is_dead
            if self._stream is not None and is_dead:
                await self._stream.close()
                self._stream = None
            if self._stream is None:
                engine = await (self._reload() if is_dead else build_engine(self._spec))
                self._stream = EngineStream(
                    engine=engine, hang_timeout_s=self._limits.hang_timeout_s, on_death=self._suspects.blame
                )
            return self._stream

    async def _reload(self) -> Engine:
        """Load an engine anew; what the dead one held is not free at once."""
        for attempt in range(1, MAX_FAILURES):
            try:
                return await build_engine(self._spec)
            except EngineLoadError as error:
                logger.warning("the engine does not start (%s); trying again", error)
                await asyncio.sleep(attempt * RELOAD_PAUSE_S)
        return await build_engine(self._spec)


class SuspectRequests:
    """What a dead engine had: asked again in halves, while everything else waits."""

    def __init__(self) -> None:
        self._groups: deque[set[str]] = deque()
        self._deaths: Counter[str] = Counter()
        self._convicts: set[str] = set()
        self._deaths_in_a_row = 0
        self._has_answered = False
        self._changed = asyncio.Event()

    def blame(self, request_ids: Sequence[str]) -> None:
        """Suspect what an engine had when it died, before those who wait for it get to know."""
        self._deaths.update(request_ids)
        for request_id in request_ids:
            self._drop(request_id)
        if len(request_ids) == 1 and self._deaths[request_ids[0]] >= DEATHS_TO_QUARANTINE:
            self._deaths_in_a_row += 1
            self._convicts.add(request_ids[0])
        halves = [set(half) for half in halve([one for one in request_ids if one not in self._convicts]) if half]
        self._groups.extendleft(reversed(halves))
        self._changed.set()

    def verdict(self, request_id: str) -> str | None:
        """Return why a request is not asked again, None if it is."""
        if request_id not in self._convicts:
            return None
        return KILLS_ENGINES

    def raise_if_hopeless(self, error: EngineDeadError) -> None:
        """Raise if it is not the requests that the engine dies of.

        Raises:
            EngineDeadError: it has died too often in a row with one of them alone.
        """
        if self._deaths_in_a_row >= MAX_DEATHS_IN_A_ROW:
            often = f"it died {self._deaths_in_a_row} times in a row, each time with one image alone"
            raise EngineDeadError(f"{error}; {often}") from error

    def is_turn(self, request_id: str) -> bool:
        """Return whether the group of a request is to be asked; for what is not suspect, whether all are through."""
        return not self._groups or request_id in self._groups[0]

    async def wait_for_turn(self, request_id: str) -> None:
        """Wait until a request may be asked."""
        await self._wait(lambda: self.is_turn(request_id))

    async def wait_until_proven(self, request_id: str) -> None:
        """Wait until an engine has answered anything, or there is nothing left that it could answer."""
        await self._wait(lambda: self._has_answered or not self._groups)

    async def _wait(self, is_met: Callable[[], bool]) -> None:
        while not is_met():
            self._changed.clear()
            await self._changed.wait()

    def acquit(self, request_id: str, *, answered: bool) -> None:
        """Forget a request, which has an answer, a verdict or nobody who waits for it."""
        if answered:
            self._has_answered, self._deaths_in_a_row = True, 0
        self._deaths.pop(request_id, None)
        self._convicts.discard(request_id)
        self._drop(request_id)
        self._changed.set()

    def _drop(self, request_id: str) -> None:
        for group in self._groups:
            group.discard(request_id)
        while self._groups and not self._groups[0]:
            self._groups.popleft()


@dataclass(kw_only=True)
class EngineStream:
    """One call of an engine's `generate` that lasts as long as the engine, so that its batch never runs dry.

    Attributes:
        on_death: told the ids of what a dead engine had, before those who wait for it get to know.
    """

    engine: Engine
    hang_timeout_s: float
    on_death: Callable[[Sequence[str]], None]
    is_dead: bool = False
    _requests: asyncio.Queue[GenerationRequest] = field(default_factory=asyncio.Queue)
    _waiting: dict[str, asyncio.Future[GenerationResult]] = field(default_factory=dict)
    _has_spoken: bool = False

    def __post_init__(self) -> None:
        self._work = asyncio.create_task(self._run())

    @property
    def window(self) -> int:
        """How many requests the engine can use at a time."""
        return self.engine.window

    async def ask(self, request: GenerationRequest) -> GenerationResult:
        """Return the engine's result.

        Raises:
            EngineError: the engine cannot go on.
        """
        answer: asyncio.Future[GenerationResult] = asyncio.get_running_loop().create_future()
        self._waiting[request.request_id] = answer
        self._requests.put_nowait(request)
        return await answer

    async def close(self) -> None:
        """Close the engine."""
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
        await self.engine.close()

    async def _run(self) -> None:
        """Hand results to those who wait for them; a failure of the engine goes to all of them."""
        try:
            await watch(self._consume(), self._is_silent, self.hang_timeout_s)
        except Exception as error:
            self.is_dead = True
            self.on_death(list(self._waiting))
            for answer in self._waiting.values():
                answer.set_exception(error)
            self._waiting.clear()

    def _is_silent(self) -> bool:
        """Return whether the engine owes results and has given none since this was last asked."""
        has_spoken, self._has_spoken = self._has_spoken, False
        return bool(self._waiting) and not has_spoken and not is_waiting(self.engine)

    async def _consume(self) -> None:
        async with aclosing(self._feed()) as requests, aclosing(self.engine.generate(requests)) as results:
            async for result in results:
                self._has_spoken = True
                self._waiting.pop(result.request_id).set_result(result)

    async def _feed(self) -> AsyncGenerator[GenerationRequest, None]:
        while True:
            yield await self._requests.get()
