"""Requests are built in the order of their images and ahead of the engines; what needs no model is recorded here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing

from ictc.engines.base import GenerationRequest
from ictc.records import Source, UnreadableImage
from ictc.stages.flow import Prepared
from ictc.stages.lane import Pending
from ictc.stages.outcome import Outcome, unreadable
from ictc.stages.prefetch import map_ahead
from ictc.stages.work import ItemT, build_request


async def prepare(
    todo: Iterable[Pending[ItemT]], stop: asyncio.Event, *, prefetch: int, lookahead: int
) -> AsyncGenerator[Prepared[ItemT], None]:
    """Yield what the engines are to be asked, until a stop is asked for.

    Args:
        prefetch: how many requests to build ahead.
        lookahead: how many images to find ahead of those.
    """
    async with (
        aclosing(_until_stop(todo, stop)) as pendings,
        aclosing(map_ahead(pendings, _find_source, lookahead)) as identified,
        aclosing(_leading(identified)) as leading,
        aclosing(_build(leading, prefetch)) as built,
    ):
        async for prepared in built:
            yield prepared


async def prepare_again(pendings: Sequence[Pending[ItemT]], *, prefetch: int) -> AsyncGenerator[Prepared[ItemT], None]:
    """Yield what the engines are to be asked once more about images that have been asked about."""
    async with aclosing(_each(pendings)) as each, aclosing(_build(each, prefetch)) as built:
        async for prepared in built:
            yield prepared


async def _each(pendings: Sequence[Pending[ItemT]]) -> AsyncGenerator[Pending[ItemT], None]:
    for pending in pendings:
        yield pending


async def _build(pendings: AsyncIterator[Pending[ItemT]], prefetch: int) -> AsyncGenerator[Prepared[ItemT], None]:
    async with aclosing(map_ahead(pendings, _build_unless_quarantined, prefetch)) as built:
        async for pending, request in built:
            if isinstance(request, Outcome):
                pending.lane.finish(pending, request)
            else:
                yield pending, request


async def rebuild(pending: Pending[ItemT]) -> GenerationRequest | Outcome:
    """Return what to ask about an image in its next attempt, or the outcome where there is nothing to ask."""
    return await build_request(pending.lane.stage, pending.item, pending.attempt, pending.lane.prefix)


async def _until_stop(todo: Iterable[Pending[ItemT]], stop: asyncio.Event) -> AsyncGenerator[Pending[ItemT], None]:
    for pending in todo:
        if stop.is_set():
            return
        yield pending


async def _find_source(pending: Pending[ItemT]) -> Source | UnreadableImage | None:
    return pending.content or await pending.lane.stage.find_source(pending.item)


async def _leading(
    identified: AsyncIterator[tuple[Pending[ItemT], Source | UnreadableImage | None]],
) -> AsyncGenerator[Pending[ItemT], None]:
    """Yield the images that are to be asked about."""
    async for pending, content in identified:
        if isinstance(content, UnreadableImage):
            pending.lane.finish(pending, unreadable(content))
            continue
        pending.content = content
        if pending.lane.lead_or_follow(pending):
            yield pending


async def _build_unless_quarantined(pending: Pending[ItemT]) -> GenerationRequest | Outcome:
    return pending.lane.quarantine(pending) or await rebuild(pending)
