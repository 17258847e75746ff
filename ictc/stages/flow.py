"""Requests on their way to the engines, in the order of their images, except that retries go first.

Several engines may take from one flow. Knows nothing of engines, and who waits for it is told when something is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Generic

from ictc.engines.base import GenerationRequest
from ictc.stages.lane import Pending
from ictc.stages.work import ItemT

Prepared = tuple[Pending[ItemT], GenerationRequest]


class Flow(Generic[ItemT]):
    """Images that are asked about together.

    Attributes:
        is_suspect: whether an engine dies of one of them, perhaps.
        num_open: how many have been asked about and have no outcome yet.
    """

    def __init__(
        self, prepared: AsyncGenerator[Prepared[ItemT], None], wake: Callable[[], None], *, is_suspect: bool = False
    ) -> None:
        """Take requests from `prepared`, one at a time, and call `wake` when there is something to take."""
        self.is_suspect = is_suspect
        self.num_open = 0
        self._prepared = prepared
        self._wake = wake
        self._retries: list[asyncio.Task[Prepared[ItemT] | None]] = []
        self._taking: asyncio.Task[Prepared[ItemT] | None] | None = None
        self._is_exhausted = False

    @property
    def is_finished(self) -> bool:
        """Whether each of its images has its outcome."""
        return self._is_exhausted and not self.num_open

    @property
    def is_exhausted(self) -> bool:
        """Whether none of its images is still to be asked about for the first time."""
        return self._is_exhausted

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
        if self._taking is None or not self._taking.done():
            self._take_ahead()
            return None
        taken, self._taking = self._taking.result(), None
        if taken is not None:
            self._take_ahead()
            return taken
        self._is_exhausted = True
        self._wake()
        return None

    def _take_ahead(self) -> None:
        if self._taking is None and not self._is_exhausted:
            self._taking = asyncio.create_task(self._take())
            self._taking.add_done_callback(lambda _: self._wake())

    async def _take(self) -> Prepared[ItemT] | None:
        return await anext(self._prepared, None)

    async def close(self) -> None:
        """Drop what has not been taken."""
        tasks: list[asyncio.Task[Any]] = [*self._retries, *([self._taking] if self._taking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._prepared.aclose()
