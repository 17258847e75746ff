"""The lite engine: real small models from the package index, on a CPU, without a download at run time.

It answers from a request's `inputs` and image and ignores the rendered prompt. It knows the models;
it knows nothing of stages, files or resume. The same request gets the same answer, whatever else is in
flight: nothing is batched, and each thread computes on one core.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ictc.config import ModelSpec
from ictc.engines.base import GenerationRequest, GenerationResult, generate_in_window
from ictc.errors import ConfigError, EngineLoadError

if TYPE_CHECKING:
    from ictc.engines.lite.answers import Answerer

logger = logging.getLogger(__name__)

IMAGE_LIMITS = (
    "The lite engine reads the words in an image and nothing else: it does not see people, scenes, products or style, "
    "and images without English words are labeled as unreadable. Labels are words ranked by small models; expect "
    "plausible groups of ads that say what they sell, not the judgment of a vision-language model."
)
TEXT_LIMITS = (
    "The lite engine knows English words, not what a text argues. Labels are words ranked by small models; expect "
    "plausible groups of texts that name their subject, not the judgment of a language model."
)
MAX_THREADS = 8


async def load_lite_engine(spec: ModelSpec) -> LiteEngine:
    """Load the models; without vision the text reader is left out.

    Raises:
        ConfigError: options are given.
        EngineLoadError: a package is missing, or a weight file is not the pinned one.
    """
    if spec.options:
        raise ConfigError(f"--engine_options: the lite engine has none; remove {min(spec.options)!r}")
    logger.warning(IMAGE_LIMITS if spec.vision else TEXT_LIMITS)
    try:
        return await asyncio.to_thread(build_engine, spec.vision)
    except ImportError as error:
        raise EngineLoadError(f"lite engine: {error}; install its packages with: pip install 'ictc[lite]'") from error


def build_engine(vision: bool) -> LiteEngine:
    """Load everything in the calling thread."""
    from threadpoolctl import threadpool_limits

    from ictc.engines.lite.answers import Answerer

    # One core a thread: sums over cores come in another order on another machine, and threads would compete.
    limits = threadpool_limits(1)
    return LiteEngine(Answerer(vision), limits)


class LiteEngine:
    """Answers requests on a few threads."""

    def __init__(self, answerer: Answerer, thread_limits: Any) -> None:
        self._num_threads = min(os.cpu_count() or 1, MAX_THREADS)
        self._answerer = answerer
        self._thread_limits = thread_limits
        self._executor = ThreadPoolExecutor(self._num_threads, thread_name_prefix="lite")

    @property
    def window(self) -> int:
        return 2 * self._num_threads

    def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        return generate_in_window(requests, self._answer, self.window)

    async def close(self) -> None:
        """Stop the threads after the requests that they are computing."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        self._thread_limits.restore_original_limits()

    async def _answer(self, request: GenerationRequest) -> GenerationResult:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._answerer.answer, request)
