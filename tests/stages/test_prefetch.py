"""Looking ahead: in order, bounded, and held up by nobody behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.stages.prefetch import map_ahead


async def count_to(number: int, taken: list[int] | None = None) -> AsyncIterator[int]:
    for item in range(number):
        if taken is not None:
            taken.append(item)
        yield item


@given(delays=st.lists(st.integers(0, 3), max_size=12), ahead=st.integers(0, 5))
def test_results_come_in_order_and_no_more_than_allowed_are_being_made(delays: list[int], ahead: int) -> None:
    making = most = 0

    async def make(item: int) -> int:
        nonlocal making, most
        making += 1
        most = max(most, making)
        for _ in range(delays[item]):
            await asyncio.sleep(0)
        making -= 1
        return item * item

    async def run() -> list[tuple[int, int]]:
        return [pair async for pair in map_ahead(count_to(len(delays)), make, ahead)]

    assert asyncio.run(run()) == [(item, item * item) for item in range(len(delays))]
    assert most <= ahead + 1


def test_what_is_ready_does_not_wait_for_the_next_item() -> None:
    async def slow_after_first() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def run() -> tuple[int, int]:
        async with aclosing(map_ahead(slow_after_first(), double, 4)) as results:
            return await asyncio.wait_for(anext(results), 5)

    assert asyncio.run(run()) == (1, 2)


def test_items_are_taken_as_far_ahead_as_asked_for() -> None:
    taken: list[int] = []

    async def run() -> None:
        async with aclosing(map_ahead(count_to(100, taken), double, 3)) as results:
            await anext(results)
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert len(taken) <= 5


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_failure_comes_in_its_turn_and_the_rest_is_cancelled(ahead: int) -> None:
    cancelled: list[int] = []

    async def make(item: int) -> int:
        if item == 2:
            raise ValueError(item)
        if item > 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(item)
                raise
        return item

    got: list[int] = []

    async def run() -> None:
        async for item, _ in map_ahead(count_to(9), make, ahead):
            got.append(item)

    with pytest.raises(ValueError, match="2"):
        asyncio.run(run())
    assert got == [0, 1]
    assert set(cancelled) <= {3, 4, 5}
    assert bool(cancelled) == bool(ahead)


async def double(item: int) -> int:
    return 2 * item
