"""Reads images on whatever machine it has been sent to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import cached_property
from weakref import WeakValueDictionary

from ictc.dataset.decoding.pool import DecodePool
from ictc.dataset.reader import ACCESS_TIMEOUT_S, Dedupe, ImageReader
from ictc.executors.base import ImageAccess
from ictc.records import BrokenImage, DecodedImage, ImageRecord, Source, UnreadableImage


class RemoteReader:
    """An image reader that is sent to workers before its first use, which starts one decoding process beside each.

    What it has opened stays open until its own process ends; the decoding process ends with that.

    Attributes:
        num_sharing: how many workers read at the same time, and so share what servers may be asked.
    """

    def __init__(self, images: ImageAccess, dedupe: Dedupe, access_timeout_s: float = ACCESS_TIMEOUT_S) -> None:
        self.num_sharing = 1
        self._images = images
        self._dedupe: Dedupe = dedupe
        self._access_timeout_s = access_timeout_s
        self._readable: list[ImageRecord] = []

    def remember(self, images: Iterable[ImageRecord]) -> None:
        """Note images that earlier runs could read; before this is sent to workers."""
        self._readable += images

    async def find_source(self, image: ImageRecord) -> Source | UnreadableImage | None:
        """Return what equal images share, None if there are no bytes to compare."""
        return await (await self._reader).find_source(image)

    async def decode(self, image: ImageRecord, max_image_tokens: int) -> DecodedImage | BrokenImage | UnreadableImage:
        """Return the pixels within the budget, or why there are none."""
        kept = self._kept.get(image.path)
        if kept is not None and kept.num_tokens <= max_image_tokens:
            return kept
        return await (await self._reader).decode(image, max_image_tokens)

    def keep(self, image: ImageRecord, decoded: DecodedImage) -> None:
        """Take the pixels that another worker has decoded, for as long as somebody holds them."""
        self._kept[image.path] = decoded

    @cached_property
    def _kept(self) -> WeakValueDictionary[str, DecodedImage]:
        return WeakValueDictionary()

    @cached_property
    def _reader(self) -> asyncio.Task[ImageReader]:
        return asyncio.ensure_future(self._open())

    async def _open(self) -> ImageReader:
        self._opened = AsyncExitStack()  # kept: what nobody holds would be closed
        files = await self._opened.enter_async_context(self._images.open(self.num_sharing))
        pool = await self._opened.enter_async_context(DecodePool(num_workers=1))
        reader = ImageReader(pool, files, self._dedupe, access_timeout_s=self._access_timeout_s)
        reader.remember(self._readable)
        return await self._opened.enter_async_context(reader)
