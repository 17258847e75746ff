"""Reads images for the steps: the pixels of a record, and what tells equal images.

Joins where the files are with the processes that decode them, and sees to it that several who ask for the same image
at the same time get it decoded once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar, get_args
from weakref import WeakValueDictionary

from ictc.dataset.decoding.pool import DecodePool
from ictc.dataset.fetching.files import ImageFile, ImageFiles, Medium
from ictc.dataset.patience import Patience, Reading
from ictc.records import BrokenImage, DecodedImage, ImageRecord, Source, UnreadableImage, Wait

logger = logging.getLogger(__name__)

Dedupe = Literal["off", "exact", "near"]

ACCESS_TIMEOUT_S = 600.0

FETCHES_AHEAD = 8
"""Images to fetch ahead for each that is fetched at a time: as many as take the time of a bad one's attempts."""

ResultT = TypeVar("ResultT")


class ImageReader:
    """Reads the images of one collection; close it before the pool that it uses.

    Args:
        files: where the bytes are.
        dedupe: what images are compared by: nothing, their bytes, or how they look; only the last needs their looks.
        access_timeout_s: how long to wait while no image can be read.
        note: tells the user one line.
    """

    def __init__(
        self,
        pool: DecodePool,
        files: ImageFiles,
        dedupe: Dedupe = "exact",
        *,
        access_timeout_s: float = ACCESS_TIMEOUT_S,
        note: Callable[[str], None] = logger.warning,
    ) -> None:
        self._pool = pool
        self._files = files
        self._dedupe = dedupe
        self._patience = {
            medium: Patience(access_timeout_s, note, place_of=files.place_of, answers=self._answers)
            for medium in get_args(Medium)
        }
        self._sources: Once[tuple[str], Source | UnreadableImage | None] = Once()
        self._decodings: Once[tuple[str, int], DecodedImage | BrokenImage | UnreadableImage] = Once()
        self._in_use: WeakValueDictionary[tuple[str, int], DecodedImage] = WeakValueDictionary()

    @property
    def prefetch(self) -> int:
        """How many images to decode ahead, so that no process is idle."""
        return 2 * self._pool.num_workers

    @property
    def lookahead(self) -> int:
        """How many images to fetch ahead, so that one that takes many attempts holds nobody up."""
        return max(self.prefetch, FETCHES_AHEAD * self._files.concurrency)

    def waits_for(self) -> Wait | None:
        """Return what holds up those who ask for images; None if nothing does."""
        if any(patience.is_waiting for patience in self._patience.values()):
            return Wait.OUTAGE
        in_pool = self._pool.waits_for()
        return in_pool if self._pool.is_full else self._files.waits_for() or in_pool

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._sources.cancel()
        await self._decodings.cancel()

    def remember(self, images: Iterable[ImageRecord]) -> None:
        """Note images that earlier runs could read: whether they still can be read tells what another failure means."""
        for image in images:
            self._patience[self._files.medium_of(image)].remember(image)

    async def find_source(self, image: ImageRecord) -> Source | UnreadableImage | None:
        """Return what equal images share, None if there are no bytes to compare.

        Raises:
            AccessError: no image can be read, for too long.
        """
        reading = partial(self._find_source, image)
        return await self._sources.get((image.path,), lambda: self._read(image, reading))

    async def decode(self, image: ImageRecord, max_image_tokens: int) -> DecodedImage | BrokenImage | UnreadableImage:
        """Return the pixels within the budget, or why there are none; from memory while somebody still has them.

        Raises:
            AccessError: no image can be read, for too long.
        """
        key = (image.path, max_image_tokens)
        in_use = self._in_use.get(key)
        if in_use is not None:
            return in_use
        decoding = partial(self._decode, image, max_image_tokens)
        return await self._decodings.get(key, lambda: self._read(image, decoding))

    async def _read(
        self, image: ImageRecord, attempt: Callable[[], Awaitable[Reading[ResultT]]]
    ) -> ResultT | UnreadableImage:
        return await self._patience[self._files.medium_of(image)].read(image, attempt)

    async def _answers(self, image: ImageRecord) -> bool:
        path = self._files.find(image)
        if path is None:
            return await self._files.answers(image)
        return isinstance(await self._pool.find_source(path, look=False), Source)

    async def _find_source(self, image: ImageRecord) -> Reading[Source | None]:
        async with self._files.open(image) as file:
            if isinstance(file, UnreadableImage):
                return file, True
            if isinstance(file, BrokenImage):
                return None, True
            if file.sha256 is not None and self._dedupe != "near":
                return Source.of_content(file.sha256), not file.is_copy
            return await self._pool.find_source(file.path, look=self._dedupe == "near"), not file.is_copy

    async def _decode(self, image: ImageRecord, max_image_tokens: int) -> Reading[DecodedImage | BrokenImage]:
        async with self._files.open(image) as file:
            if not isinstance(file, ImageFile):
                return file, True
            decoded = await self._pool.decode(file.path, max_image_tokens)
            if isinstance(decoded, BrokenImage):
                await self._files.forget(image, file)
        if isinstance(decoded, DecodedImage):
            self._in_use[image.path, max_image_tokens] = decoded
        return decoded, not file.is_copy


KeyT = TypeVar("KeyT")


class Once(Generic[KeyT, ResultT]):
    """Makes what several ask for at the same time once for all of them."""

    def __init__(self) -> None:
        self._making: dict[KeyT, asyncio.Task[ResultT]] = {}

    async def get(self, key: KeyT, make: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Return what `make` makes, or what is being made for the same key; a caller may be cancelled alone."""
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.ensure_future(make())
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: KeyT, done: asyncio.Task[ResultT]) -> None:
        self._making.pop(key, None)
        if not done.cancelled():
            done.exception()  # else asyncio reports one that nobody waits for any more

    async def cancel(self) -> None:
        """Cancel what is being made, and wait for its end."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
