"""Look ahead in a sequence: the next results are being made while the one at hand is used."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


async def map_ahead(
    items: AsyncIterator[ItemT], make: Callable[[ItemT], Awaitable[ResultT]], ahead: int
) -> AsyncGenerator[tuple[ItemT, ResultT], None]:
    """Yield each item with what `make` makes of it, in order, while up to `ahead` further ones are being made.

    Items are taken from `items` in order and one at a time. What is unfinished when the generator is closed, is
    cancelled.
    """
    if not ahead:
        async for item in items:
            yield item, await make(item)
        return
    making: deque[tuple[ItemT, asyncio.Task[ResultT]]] = deque()

    async def start(item: ItemT) -> ResultT:
        return await make(item)

    try:
        exhausted = False
        while True:
            while not exhausted and len(making) <= ahead:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    exhausted = True
                else:
                    making.append((item, asyncio.create_task(start(item))))
            if not making:
                return
            first, task = making.popleft()
            yield first, await task
    finally:
        for _, task in making:
            task.cancel()
        await asyncio.gather(*(task for _, task in making), return_exceptions=True)
