"""Runs steps in this process: images are decoded in processes beside it, and engines are on this machine's GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from ictc.config import RunSettings
from ictc.dataset.decoding.pool import DecodePool
from ictc.dataset.reader import ImageReader
from ictc.engines.base import Engine
from ictc.engines.provider import EngineProvider, Role
from ictc.errors import EngineDeadError
from ictc.executors.base import ImageAccess, Note, role_of, try_twice
from ictc.stages.lane import Lane
from ictc.stages.runner import Limits
from ictc.stages.supervisor import run_supervised
from ictc.stages.synthesize import Synthesis, SynthesizeStage


class LocalExecutor:
    """Runs steps on this machine."""

    def __init__(self, settings: RunSettings, images: ImageAccess, note: Note, requests_per_image: int) -> None:
        self._settings = settings
        self._images = images
        self._engines = EngineProvider(settings.engine, settings.control.seed, note, requests_per_image)
        self._reader: ImageReader | None = None

    @asynccontextmanager
    async def open_reader(self) -> AsyncIterator[ImageReader]:
        """Yield a reader, whose processes start when they are needed and end with the block."""
        control = self._settings.control
        async with (
            self._images.open() as files,
            DecodePool(control.decode_workers) as pool,
            ImageReader(pool, files, control.dedupe) as reader,
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
        """Run the lanes through the deaths of their engine."""
        role = role_of(lanes[0].stage)
        await run_supervised(
            lanes,
            stop,
            partial(self._limits, role),
            load_engine=partial(self._engines.get, role),
            drop_dead_engine=self._engines.drop_dead,
            note=note,
        )

    def _limits(self, role: Role, engine: Engine) -> Limits:
        """Return how much an engine gets to do at a time."""
        chosen = self._settings.engine
        batch = chosen.batch_vlm if role == "vlm" else chosen.batch_llm
        reader = self._reader if role == "vlm" else None
        return Limits(
            window=min(batch or engine.window, engine.window),
            prefetch=reader.prefetch if reader is not None else 0,
            lookahead=reader.lookahead if reader is not None else 0,
            hang_timeout_s=self._settings.control.hang_timeout_s,
        )

    async def synthesize(self, stage: SynthesizeStage, note: Note) -> Synthesis:
        """Ask for the clusters, once more if the engine dies."""
        return await try_twice(partial(self._synthesize, stage), note)

    async def _synthesize(self, stage: SynthesizeStage) -> Synthesis:
        try:
            return await stage.run(await self._engines.get("llm"))
        except EngineDeadError:
            await self._engines.drop_dead()
            raise

    async def close(self) -> None:
        """Unload what is loaded."""
        await self._engines.close()
