"""One engine in a worker: loaded when the first request comes, kept busy by all that come, reloaded when it dies.

Knows nothing of Ray. The rules are those of `ictc.stages.supervisor`: what an engine had when it died is asked again
one request at a time, and what is alone at the next death is quarantined.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from ictc.config import ModelSpec
from ictc.engines.base import Engine, GenerationRequest, GenerationResult, is_waiting
from ictc.engines.provider import build_engine
from ictc.errors import EngineDeadError
from ictc.stages.outcome import Outcome, rejected

logger = logging.getLogger(__name__)

MAX_DEATHS_IN_A_ROW = 5
"""Deaths with one request alone, none of which is answered in between: it is not the requests."""


@dataclass(frozen=True)
class HostLimits:
    """How much an engine gets at a time, and when it counts as dead.

    Attributes:
        window: most images in flight, None for what the engine can use.
        hang_timeout_s: seconds without any result after which it counts as dead.
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
        self._alone = asyncio.Lock()
        self._calm = asyncio.Event()
        self._calm.set()
        self._num_suspects = 0
        self._deaths_in_a_row = 0

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
        stream = await self._load()
        while not self._calm.is_set():  # the suspects go first
            await self._calm.wait()
            stream = await self._load()
        try:
            return await stream.ask(request)
        except EngineDeadError as error:
            logger.warning("the engine died with %r in flight: %s", request.request_id, error)
        try:
            async with self._alone:
                return await self._ask_alone(request)
        finally:
            self._acquit()

    async def _ask_alone(self, request: GenerationRequest) -> GenerationResult | Outcome:
        stream = await self._load()
        try:
            result = await stream.ask(request)
        except EngineDeadError as error:
            self._acquit()  # suspected twice
            self._deaths_in_a_row += 1
            if self._deaths_in_a_row == MAX_DEATHS_IN_A_ROW:
                raise EngineDeadError(
                    f"{error}; it died {MAX_DEATHS_IN_A_ROW} times in a row, each time with one image alone"
                ) from error
            return rejected("quarantined: the engine died 2 times with this image, the last time with it alone")
        self._deaths_in_a_row = 0
        return result

    def _suspect(self, num_requests: int) -> None:
        """Let nobody in until the requests that a dead engine had are answered, one at a time."""
        if num_requests:
            self._num_suspects += num_requests
            self._calm.clear()

    def _acquit(self) -> None:
        self._num_suspects -= 1
        if not self._num_suspects:
            self._calm.set()

    async def _load(self) -> EngineStream:
        async with self._loading:
            if self._stream is not None and self._stream.is_dead:
                await self._stream.close()
                self._stream = None
            if self._stream is None:
                engine = await build_engine(self._spec)
                self._stream = EngineStream(engine, self._limits.hang_timeout_s, self._suspect)
            return self._stream


@dataclass
class EngineStream:
    """One call of an engine's `generate` that lasts as long as the engine, so that its batch never runs dry.

    Attributes:
        on_death: told how many requests a dead engine had, before they get to know.
    """

    engine: Engine
    hang_timeout_s: float
    on_death: Callable[[int], None]
    is_dead: bool = False
    _requests: asyncio.Queue[GenerationRequest] = field(default_factory=asyncio.Queue)
    _waiting: dict[str, asyncio.Future[GenerationResult]] = field(default_factory=dict)
    _last_result: float = 0.0

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
        if not self._waiting:
            self._last_result = time.monotonic()
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
        consumer = asyncio.create_task(self._consume())
        try:
            while not consumer.done():
                await asyncio.wait([consumer], timeout=1.0)
                if is_waiting(self.engine):
                    self._last_result = time.monotonic()
                if self._waiting and time.monotonic() - self._last_result > self.hang_timeout_s:
                    raise EngineDeadError(f"the engine has given no result for {self.hang_timeout_s:.0f} s")
            consumer.result()
        except Exception as error:
            self.is_dead = True
            self.on_death(len(self._waiting))
            for answer in self._waiting.values():
                answer.set_exception(error)
            self._waiting.clear()
        finally:
            consumer.cancel()

    async def _consume(self) -> None:
        async with aclosing(self._feed()) as requests, aclosing(self.engine.generate(requests)) as results:
            async for result in results:
                self._last_result = time.monotonic()
                self._waiting.pop(result.request_id).set_result(result)

    async def _feed(self) -> AsyncGenerator[GenerationRequest, None]:
        while True:
            yield await self._requests.get()
