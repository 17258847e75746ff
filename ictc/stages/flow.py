"""Requests on their way to the engines, in the order of their images, except that retries go first.

Several engines may take from one flow. Knows nothing of engines, and who waits for it is told when something is ready.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Generic

from ictc.engines.base import GenerationRequest
from ictc.stages.lane import Pending
from ictc.stages.work import ItemT

MAX_READY = 4
"""How many requests wait here, so that not every one of them costs a turn of the event loop."""

Prepared = tuple[Pending[ItemT], GenerationRequest]


class Flow(Generic[ItemT]):
    """Images that are asked about together.

    Attributes:
        is_suspect: whether an engine dies of one of them, perhaps.
        is_exhausted: whether none of them is still to be asked about for the first time.
        num_open: how many have been asked about and have no outcome yet.
    """

    def __init__(
        self, prepared: AsyncGenerator[Prepared[ItemT], None], wake: Callable[[], None], *, is_suspect: bool = False
    ) -> None:
        """Take requests from `prepared` as they are needed, and call `wake` when there is something to take."""
        self.is_suspect = is_suspect
        self.is_exhausted = False
        self.num_open = 0
        self._prepared = prepared
        self._wake = wake
        self._retries: list[asyncio.Task[Prepared[ItemT] | None]] = []
        self._ready: deque[Prepared[ItemT]] = deque()
        self._has_space = asyncio.Event()
        self._feeder: asyncio.Task[None] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether each of its images has its outcome."""
        return self.is_exhausted and not self.num_open

    def retry(self, rebuild: Coroutine[Any, Any, Prepared[ItemT] | None]) -> None:
        """Hand in what becomes ready to be asked once more, or turns out not to be worth it; nobody waits meanwhile."""
        task = asyncio.create_task(rebuild)
        task.add_done_callback(lambda _: self._wake())
        self._retries.append(task)

    def take_retry(self) -> Prepared[ItemT] | None:
        """Return what is to be asked once more, None if nothing is ready.

        Raises:
            IctcError: it cannot be prepared.
        """
        for task in [task for task in self._retries if task.done()]:
            self._retries.remove(task)
            if (prepared := task.result()) is not None:
                return prepared
        return None

    def take(self) -> Prepared[ItemT] | None:
        """Return the next that has not been asked about, None if it is not ready.

        Raises:
            IctcError: it cannot be prepared.
        """
        if self._feeder is None:
            self._feeder = asyncio.create_task(self._feed())
            self._feeder.add_done_callback(lambda _: self._wake())
        if self._ready:
            self._has_space.set()
            return self._ready.popleft()
        if self._feeder.done() and not self.is_exhausted:
            self._feeder.result()
            self.is_exhausted = True
            self._wake()
        return None

    async def _feed(self) -> None:
        async for prepared in self._prepared:
            self._ready.append(prepared)
            self._wake()
            while len(self._ready) >= MAX_READY:
                self._has_space.clear()
                await self._has_space.wait()

    async def close(self) -> None:
        """Drop what has not been taken."""
        tasks: list[asyncio.Task[Any]] = [*self._retries, *([self._feeder] if self._feeder else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._prepared.aclose()
