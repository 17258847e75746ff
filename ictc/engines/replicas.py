"""Several copies of an engine side by side, each loaded, closed and loaded anew by itself.

Knows how to load them, and neither what they compute nor who asks them: whoever has room takes the next request
(`ictc.stages.runner`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ictc.engines.base import Engine
from ictc.errors import EngineLoadError

logger = logging.getLogger(__name__)

Load = Callable[[], Awaitable[Engine]]

CLOSE_TIMEOUT_S = 60.0
"""How long a dead engine may take to go before it is left to itself."""


class Replicas:
    """The engines of one model, one or several."""

    def __init__(self, loads: Sequence[Load]) -> None:
        """Prepare as many engines as there are `loads`; `load` loads them."""
        self._loads = list(loads)
        self._engines: list[Engine | None] = [None] * len(loads)
        self._loading: dict[int, asyncio.Task[Engine]] = {}
        self._turn = asyncio.Lock()

    def __len__(self) -> int:
        """Return how many there are, with those that are not loaded."""
        return len(self._engines)

    def __getitem__(self, place: int) -> Engine | None:
        """Return one of them, None while it is not loaded."""
        return self._engines[place]

    async def load(self, note: Callable[[str], None] | None = None) -> None:
        """Load all of them.

        Args:
            note: told of those that do not start, where the others are to go on without them.

        Raises:
            EngineLoadError: none starts, or one does not and no `note` is given; the others are closed again.
        """
        try:
            for place in range(len(self)):
                await self._load_or_note(place, note)
        except BaseException:
            await self.close()
            raise

    async def _load_or_note(self, place: int, note: Callable[[str], None] | None) -> None:
        try:
            await self.reload(place)
        except EngineLoadError as error:
            is_last_hope = place == len(self) - 1 and not any(self._engines)
            if note is None or is_last_hope:
                raise
            note(f"engine {place + 1} of {len(self)} does not start ({error}); the others go on without it")

    async def first(self) -> int:
        """Return the place of one that is loaded; loads one if none is.

        Raises:
            EngineLoadError: none starts.
        """
        for place, engine in enumerate(self._engines):
            if engine is not None:
                return place
        for place in range(len(self) - 1):
            try:
                await self.reload(place)
                return place
            except EngineLoadError as error:
                logger.warning("engine %d of %d does not start: %s", place + 1, len(self), error)
        await self.reload(len(self) - 1)
        return len(self) - 1

    async def reload(self, place: int) -> Engine:
        """Load one that is not loaded. If the caller is canceled it goes on loading, for whoever asks next.

        Raises:
            EngineLoadError: with the cause and a remedy.
        """
        engine = self._engines[place]
        if engine is not None:
            return engine
        if place not in self._loading:
            task = self._loading[place] = asyncio.create_task(self._load(place))
            task.add_done_callback(lambda done: self._loaded(place, done))
        return await asyncio.shield(self._loading[place])

    async def _load(self, place: int) -> Engine:
        async with self._turn:  # they set the environment of their processes, which is this process's own
            engine = self._engines[place] = await self._loads[place]()
            return engine

    def _loaded(self, place: int, task: asyncio.Task[Engine]) -> None:
        del self._loading[place]
        if not task.cancelled() and task.exception() is not None:
            logger.info("engine %d of %d does not start", place + 1, len(self), exc_info=task.exception())

    async def drop(self, place: int) -> None:
        """Unload one; it is waited for, but not for ever."""
        engine, self._engines[place] = self._engines[place], None
        if engine is None:
            return
        try:
            await asyncio.wait_for(engine.close(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            logger.warning("engine %d of %d does not close", place + 1, len(self))

    async def close(self) -> None:
        """Unload all of them, also those that are being loaded."""
        if self._loading:
            _, late = await asyncio.wait([*self._loading.values()], timeout=CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()
        for place in range(len(self)):
            await self.drop(place)
