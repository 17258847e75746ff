"""Reads images on whatever machine it has been sent to."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import cached_property

from ictc.dataset.decoding.pool import DecodePool
from ictc.dataset.reader import Dedupe, ImageReader
from ictc.executors.base import OpenImages
from ictc.records import BrokenImage, DecodedImage, ImageRecord, Source


class RemoteReader:
    """An image reader that is sent to workers before its first use, which starts one decoding process beside each.

    What it has opened stays open until its own process ends; the decoding process ends with that.
    """

    def __init__(self, open_images: OpenImages, dedupe: Dedupe) -> None:
        self._open_images = open_images
        self._dedupe: Dedupe = dedupe

    async def find_source(self, image: ImageRecord) -> Source | None:
        """Return what equal images share, None if images are not compared or this one cannot be read."""
        return await (await self._reader).find_source(image)

    async def decode(self, image: ImageRecord, max_image_tokens: int) -> DecodedImage | BrokenImage:
        """Return the pixels within the budget, or why there are none."""
        return await (await self._reader).decode(image, max_image_tokens)

    @cached_property
    def _reader(self) -> asyncio.Task[ImageReader]:
        return asyncio.ensure_future(self._open())

    async def _open(self) -> ImageReader:
        self._opened = AsyncExitStack()  # kept: what nobody holds would be closed
        files = await self._opened.enter_async_context(self._open_images())
        pool = await self._opened.enter_async_context(DecodePool(num_workers=1))
        return await self._opened.enter_async_context(ImageReader(pool, files, self._dedupe))
