"""Several copies of an engine side by side, fed from one queue.

Knows which copy has which request, so that the death of one costs the others nothing but a pause. Not what they
compute, nor on which GPUs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing

from ictc.engines.base import Engine, GenerationRequest, GenerationResult
from ictc.errors import EngineDeadError

Load = Callable[[], Awaitable[Engine]]


async def load_replicas(loads: Sequence[Load]) -> ReplicatedEngine:
    """Load one engine after the other: they set the environment of their processes, which is this process's own.

    Raises:
        EngineLoadError: one of them did not start; the others are closed again.
    """
    engine = ReplicatedEngine(loads)
    try:
        await engine.recover()
    except BaseException:
        await engine.close()
        raise
    return engine


class ReplicatedEngine:
    """Engines that share the work; whichever has room takes the next request."""

    def __init__(self, loads: Sequence[Load]) -> None:
        """Prepare as many engines as there are `loads`; `recover` loads them."""
        self._loads = list(loads)
        self._engines: list[Engine | None] = [None] * len(loads)
        self._dead: set[int] = set()

    @property
    def window(self) -> int:
        return sum(engine.window for engine in self._engines if engine is not None)

    @property
    def has_dead(self) -> bool:
        """Whether some of the engines have died, so that `recover` would help."""
        return bool(self._dead)

    async def recover(self) -> None:
        """Load the engines that are missing or dead; the others keep their model.

        Raises:
            EngineLoadError: one does not start.
        """
        for place in self._dead:
            await self._close(place)
        self._dead.clear()
        for place, engine in enumerate(self._engines):
            if engine is None:
                self._engines[place] = await self._loads[place]()

    async def close(self) -> None:
        """Close all of them."""
        for place in range(len(self._engines)):
            await self._close(place)

    async def _close(self, place: int) -> None:
        engine, self._engines[place] = self._engines[place], None
        if engine is not None:
            await engine.close()

    async def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        source = SharedSource(requests)
        results: asyncio.Queue[GenerationResult | Exception | None] = asyncio.Queue()
        pumps = [asyncio.create_task(self._pump(place, source, results)) for place in range(len(self._engines))]
        try:
            running = len(pumps)
            while running:
                result = await results.get()
                if isinstance(result, Exception):
                    raise result
                if result is None:
                    running -= 1
                else:
                    yield result
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, place: int, source: SharedSource, results: asyncio.Queue[GenerationResult | Exception | None]
    ) -> None:
        """Let one engine work on what it takes from the source."""
        engine = self._engines[place]
        assert engine is not None
        in_flight: set[str] = set()

        async def take() -> AsyncIterator[GenerationRequest]:
            async for request in source:
                in_flight.add(request.request_id)
                yield request

        try:
            async with aclosing(engine.generate(take())) as answers:
                async for answer in answers:
                    in_flight.discard(answer.request_id)
                    results.put_nowait(answer)
            results.put_nowait(None)
        except EngineDeadError as error:
            self._dead.add(place)
            results.put_nowait(EngineDeadError(str(error), frozenset(in_flight)))
        except Exception as error:
            results.put_nowait(error)


class SharedSource:
    """Requests that several engines take from, one at a time."""

    def __init__(self, requests: AsyncIterable[GenerationRequest]) -> None:
        self._requests = aiter(requests)
        self._turn = asyncio.Lock()

    def __aiter__(self) -> SharedSource:
        return self

    async def __anext__(self) -> GenerationRequest:
        async with self._turn:
            return await anext(self._requests)
