"""What runs the steps: the seam between a run and the machines that work for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from ictc.dataset.fetching.files import ImageFiles
from ictc.engines.provider import Role
from ictc.errors import EngineDeadError
from ictc.stages.lane import Lane
from ictc.stages.work import AskAll, ImageReader, ResultT

Note = Callable[[str], None]
"""Tells the user one line."""


class ImageAccess(Protocol):
    """Gives access to the images of the collection, on whatever machine."""

    def open(self, num_sharing: int = 1) -> AbstractAsyncContextManager[ImageFiles]:
        """Return access for one of `num_sharing` processes, which fetch no more than one alone would."""
        ...

    def max_sharing(self) -> int | None:
        """Return how many processes may fetch images at the same time; None if there is nothing to fetch."""
        ...


class Executor(Protocol):
    """Runs steps, on engines that it loads."""

    def open_reader(self) -> AbstractAsyncContextManager[ImageReader]:
        """Yield what the caption stages of this executor read images with."""
        ...

    async def prepare(self, role: Role) -> None:
        """Make ready for the steps of a role, so that what is wrong is told before a step begins.

        Raises:
            EngineError: there are no engines to be had.
        """
        ...

    async def run(self, lanes: Sequence[Lane[Any]], stop: asyncio.Event, note: Note) -> None:
        """Finish every image of the lanes, which are over the same images, or stop early if told to.

        Raises:
            AccessError: no image can be read, for too long.
            EngineError: the engines cannot go on; what had finished is in the journals.
            StageError: too many images are rejected.
            StorageError: the disk refused.
        """
        ...

    def open_asker(self, note: Note) -> AbstractAsyncContextManager[AskAll]:
        """Yield what answers the requests of a reduce step, with one engine for all of them."""
        ...

    async def close(self) -> None:
        """Release the engines; may be called twice."""
        ...


async def try_twice(attempt: Callable[[], Awaitable[ResultT]], note: Note) -> ResultT:
    """Return what an attempt gives; it is made once more if the engine dies.

    Raises:
        EngineDeadError: it died again.
    """
    try:
        return await attempt()
    except EngineDeadError as error:
        note(f"the engine died ({error}); restarting it")
    return await attempt()
