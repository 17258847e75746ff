"""Loads the model that a step needs, when it needs it, and holds at most one at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from ictc.config import EngineSettings, ModelSpec
from ictc.engines.base import Engine
from ictc.engines.replicas import Replicas

logger = logging.getLogger(__name__)

Role = Literal["vlm", "llm"]
Note = Callable[[str], None]


async def build_replicas(spec: ModelSpec, note: Note = logger.info) -> Replicas:
    """Prepare the engines of `spec`, one or several; they are not loaded yet. Only this knows which engines there are.

    Args:
        note: told in one line what an engine has chosen from the hardware.

    Raises:
        EngineLoadError: the hardware does not have what they need.
    """
    if spec.engine == "vllm":
        from ictc.engines.vllm import divide_gpus, load_vllm_engine

        division = await divide_gpus(spec)
        note(division.description)
        return _prepare(load_vllm_engine, division.specs)
    if spec.engine == "openai":
        from ictc.engines.openai import load_openai_engine

        return _prepare(load_openai_engine, [spec])
    if spec.engine == "lite":
        from ictc.engines.lite import load_lite_engine

        return _prepare(load_lite_engine, [spec])
    from ictc.engines.scripted import load_scripted_engine

    return _prepare(load_scripted_engine, [spec] * (spec.replicas or 1))


def identify_served_model(spec: ModelSpec) -> str | None:
    """Return what tells a model behind servers from others of its name, None if nothing does now."""
    from ictc.engines.openai import identity

    return identity.identify_served_model(spec)


def _prepare(load: Callable[[ModelSpec], Awaitable[Engine]], specs: Sequence[ModelSpec]) -> Replicas:
    return Replicas([partial(load, spec) for spec in specs])


async def build_engine(spec: ModelSpec, note: Note = logger.info) -> Engine:
    """Load the model of `spec` once.

    Raises:
        EngineLoadError: with the cause and a remedy.
    """
    return await (await build_replicas(replace(spec, replicas=1), note)).reload(0)


class EngineProvider:
    """Hands out the engine of a role.

    In unified mode one load serves both roles; in separate mode the vision-language model is
    unloaded before the text model is loaded. A run that has no captions to make loads without vision.
    """

    def __init__(
        self, settings: EngineSettings, *, seed: int, note: Note = logger.info, requests_per_image: int = 1
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
        self._loaded: tuple[ModelSpec, Replicas] | None = None
        self._is_under_way = False

    async def get(self, role: Role) -> Replicas:
        """Return the engines for `role`, loading them if needed.

        At the beginning all must start, as somebody is there to mend what is wrong; later on, those that do go on.

        Raises:
            EngineLoadError: with the cause and a remedy.
        """
        spec = replace(self._settings.model_spec(role, self._seed), requests_per_image=self._requests_per_image)
        if self._loaded is not None:
            loaded_spec, engines = self._loaded
            if spec == loaded_spec or (self._settings.is_unified and loaded_spec.vision):
                return engines
            await self.close()
        logger.info("loading %s with the %s engine%s", spec.model, spec.engine, "" if spec.vision else ", text only")
        engines = await build_replicas(spec, self._note)
        await engines.load(self._note if self._is_under_way else None)
        self._loaded, self._is_under_way = (spec, engines), True
        return engines

    async def close(self) -> None:
        """Unload what is loaded."""
        if self._loaded is not None:
            _, engines = self._loaded
            self._loaded = None
            await engines.close()
