"""Loads the model that a step needs, when it needs it, and holds at most one at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from ictc.config import EngineSettings, ModelSpec
from ictc.engines.base import Engine
from ictc.engines.replicas import ReplicatedEngine, load_replicas

logger = logging.getLogger(__name__)

Role = Literal["vlm", "llm"]
Note = Callable[[str], None]


async def build_engine(spec: ModelSpec, note: Note = logger.info) -> Engine:
    """Load the model of `spec`, once or side by side. The only function that knows which engines there are.

    Args:
        note: told in one line what an engine has chosen from the hardware, before it loads.

    Raises:
        EngineLoadError: with the cause and a remedy.
    """
    if spec.engine == "vllm":
        from ictc.engines.vllm import divide_gpus, load_vllm_engine

        division = await divide_gpus(spec)
        note(division.description)
        return await _load(load_vllm_engine, division.specs)
    if spec.engine == "openai":
        from ictc.engines.openai import load_openai_engine

        return await load_openai_engine(spec)
    if spec.engine == "lite":
        from ictc.engines.lite import load_lite_engine

        return await load_lite_engine(spec)
    from ictc.engines.scripted import load_scripted_engine

    return await _load(load_scripted_engine, [spec] * (spec.replicas or 1))


async def _load(load: Callable[[ModelSpec], Awaitable[Engine]], specs: Sequence[ModelSpec]) -> Engine:
    if len(specs) == 1:
        return await load(specs[0])
    return await load_replicas([partial(load, spec) for spec in specs])


class EngineProvider:
    """Hands out the engine of a role.

    In unified mode one load serves both roles; in separate mode the vision-language model is
    unloaded before the text model is loaded. A run that has no captions to make loads without vision.
    """

    def __init__(
        self, settings: EngineSettings, seed: int, note: Note = logger.info, requests_per_image: int = 1
    ) -> None:
        """Prepare to load.

        Args:
            note: told in a line what each engine has chosen from the hardware.
            requests_per_image: how many requests in a row will be about the same image.
        """
        self._settings = settings
        self._seed = seed
        self._note = note
        self._requests_per_image = requests_per_image
        self._loaded: tuple[ModelSpec, Engine] | None = None

    async def get(self, role: Role) -> Engine:
        """Return the engine for `role`, loading it if needed.

        Raises:
            EngineLoadError: with the cause and a remedy.
        """
        spec = replace(self._settings.model_spec(role, self._seed), requests_per_image=self._requests_per_image)
        if self._loaded is not None:
            loaded_spec, engine = self._loaded
            if spec == loaded_spec or (self._settings.is_unified and loaded_spec.vision):
                return engine
            await self.close()
        logger.info("loading %s with the %s engine%s", spec.model, spec.engine, "" if spec.vision else ", text only")
        engine = await build_engine(spec, self._note)
        self._loaded = (spec, engine)
        return engine

    async def drop_dead(self) -> None:
        """Unload what has died, so that `get` loads it anew: of several engines those, else all there is."""
        engine = self._loaded[1] if self._loaded is not None else None
        if isinstance(engine, ReplicatedEngine) and engine.has_dead:
            await engine.recover()
        else:
            await self.close()

    async def close(self) -> None:
        """Unload what is loaded."""
        if self._loaded is not None:
            _, engine = self._loaded
            self._loaded = None
            await engine.close()
