"""Runs steps in this process: images are decoded in processes beside it, and engines are on this machine's GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from ictc.config import ControlSettings, EngineSettings
from ictc.dataset.decoding.pool import DecodePool
from ictc.dataset.reader import ImageReader
from ictc.engines.base import GenerationRequest, GenerationResult, is_waiting
from ictc.engines.provider import EngineProvider, Role
from ictc.errors import EngineDeadError
from ictc.executors.base import ImageAccess, Note, try_twice
from ictc.records import Wait
from ictc.stages.asking import Answering
from ictc.stages.lane import Lane
from ictc.stages.rounds import run_in_rounds
from ictc.stages.runner import Limits, MapRunner
from ictc.stages.supervisor import watch
from ictc.stages.work import AskAll, role_of

REDUCE_PATIENCE = 6
"""An answer of a reduce step may be that much longer than those of the map steps, and nothing is heard before."""


class LocalExecutor:
    """Runs steps on this machine."""

    def __init__(
        self,
        *,
        engine: EngineSettings,
        control: ControlSettings,
        images: ImageAccess,
        note: Note,
        requests_per_image: int,
    ) -> None:
        """Note what to run; nothing starts yet.

        Args:
            note: told in a line what the engines have chosen from the hardware.
            requests_per_image: how many requests in a row will be about the same image.
        """
        self._engine = engine
        self._control = control
        self._images = images
        self._note = note
        self._engines = EngineProvider(engine, seed=control.seed, note=note, requests_per_image=requests_per_image)
        self._reader: ImageReader | None = None

    @asynccontextmanager
    async def open_reader(self) -> AsyncIterator[ImageReader]:
        """Yield a reader, whose processes start when they are needed and end with the block."""
        control = self._control
        async with (
            self._images.open() as files,
            DecodePool(control.decode_workers) as pool,
            ImageReader(
                pool, files, control.dedupe, access_timeout_s=control.access_timeout_s, note=self._note
            ) as reader,
        ):
            self._reader = reader
            yield reader

    async def prepare(self, role: Role) -> None:
        """Load the engine of a role.

        Raises:
            EngineLoadError: with the cause and a remedy.
        """
        await self._engines.get(role)

    async def run(self, lanes: Sequence[Lane[Any]], stop: asyncio.Event, note: Note) -> None:
        """Run the lanes through the deaths of their engines, and again for what could not be read."""
        role = role_of(lanes[0].stage)

        async def run() -> None:
            runner = MapRunner(lanes, stop, self._limits(role), note, self._supply(role))
            await runner.run(await self._engines.get(role))

        await run_in_rounds(lanes, stop, run)

    def _supply(self, role: Role) -> Callable[[], Wait | None] | None:
        """Return what tells what the next image waits for."""
        return self._reader.waits_for if self._reader is not None and role == "vlm" else None

    def _limits(self, role: Role) -> Limits:
        """Return how much the engines get to do at a time."""
        chosen = self._engine
        reader = self._reader if role == "vlm" else None
        return Limits(
            window=chosen.batch_vlm if role == "vlm" else chosen.batch_llm,
            prefetch=reader.prefetch if reader is not None else 0,
            lookahead=reader.lookahead if reader is not None else 0,
            hang_timeout_s=self._control.hang_timeout_s,
        )

    @asynccontextmanager
    async def open_asker(self, note: Note) -> AsyncIterator[AskAll]:
        """Yield what asks the first engine, once more if it dies or hangs."""

        async def ask(requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
            return await try_twice(partial(self._ask, requests), note)

        yield ask

    async def _ask(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        engines = await self._engines.get("llm")
        place = await engines.first()
        engine = await engines.reload(place)
        answering = Answering()
        patience_s = REDUCE_PATIENCE * self._control.hang_timeout_s
        try:
            return await watch(
                answering.collect(engine, requests),
                lambda: answering.is_silent() and not is_waiting(engine),
                patience_s,
            )
        except EngineDeadError:
            await engines.drop(place)
            raise

    async def close(self) -> None:
        """Unload what is loaded."""
        await self._engines.close()
