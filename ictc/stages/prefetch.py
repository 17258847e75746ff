"""Look ahead in a sequence: the next results are being made while the one at hand is used."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


async def map_ahead(
    items: AsyncIterator[ItemT], make: Callable[[ItemT], Awaitable[ResultT]], ahead: int
) -> AsyncGenerator[tuple[ItemT, ResultT], None]:
    """Yield each item with what `make` makes of it, in order, while up to `ahead` further ones are being made.

    Items are taken from `items` one at a time, and what is ready does not wait for the next of them. What is unfinished
    when the generator is closed, is cancelled.
    """
    if not ahead:
        async for item in items:
            yield item, await make(item)
        return
    making: deque[tuple[ItemT, asyncio.Task[ResultT]]] = deque()
    taking: asyncio.Task[list[ItemT]] | None = None
    exhausted = False
    try:
        while making or not exhausted:
            if taking is None and not exhausted and len(making) <= ahead:
                taking = asyncio.create_task(_take(items))
            await _first_of(taking, making[0][1] if making else None)
            if taking is not None and taking.done():
                taken, taking = taking.result(), None
                exhausted = not taken
                making.extend((item, asyncio.create_task(_make(make, item))) for item in taken)
            elif making[0][1].done():
                first, task = making.popleft()
                yield first, task.result()
    finally:
        unfinished: list[asyncio.Task[Any]] = [*(task for _, task in making), *([taking] if taking else [])]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


async def _first_of(*tasks: asyncio.Task[Any] | None) -> None:
    """Wait until one of the tasks has ended."""
    await asyncio.wait([task for task in tasks if task is not None], return_when=asyncio.FIRST_COMPLETED)


async def _take(items: AsyncIterator[ItemT]) -> list[ItemT]:
    """Return the next item, as a list; an empty one at the end."""
    async for item in items:
        return [item]
    return []


async def _make(make: Callable[[ItemT], Awaitable[ResultT]], item: ItemT) -> ResultT:
    return await make(item)
