"""The main engine: vLLM in this process, one request at a time handed to its scheduler, answers as they finish.

Knows how vLLM starts, fails and ends; `vllm_requests` knows its words, `vllm_options` its arguments, `vllm_log` its
log, `gpu` what a model can run on. Knows nothing of stages. Importing this module imports no vLLM.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import importlib.util
import math
import multiprocessing
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from ictc.config import ModelSpec
from ictc.engines.base import (
    ChoiceAnswer,
    Engine,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    Message,
    SamplingParams,
    Task,
    TextAnswer,
    generate_in_window,
)
from ictc.engines.gpu import Gpu, check_gpus
from ictc.engines.main_module import sparing_main_module
from ictc.engines.sizing import count_engines, describe_layout
from ictc.engines.vllm_failure import explain_load_failure, one_line
from ictc.engines.vllm_log import EngineLog
from ictc.engines.vllm_options import (
    check_model,
    divide_spec,
    engine_arguments,
    loading_environment,
    tensor_parallel_size,
)
from ictc.engines.vllm_requests import (
    build_conversation,
    build_sampling_params,
    count_image_tokens,
    find_option_tokens,
    item_error,
    read_output,
)
from ictc.errors import EngineDeadError, EngineLoadError
from ictc.records import IMAGE_TOKEN_SIDE_PX, DecodedImage

WINDOW_PER_SEQUENCE = 1.1
"""Requests in flight for each sequence that vLLM runs at a time: the next is at hand, and deeper queues hurt."""
SHUTDOWN_TIMEOUT_S = 30.0


async def load_vllm_engine(spec: ModelSpec) -> Engine:
    """Load the model of `spec` on the GPUs, or on the CPU where that build of vLLM is installed.

    Raises:
        EngineLoadError: with the cause and a remedy.
    """
    check_model(spec)
    engine_log = EngineLog()
    try:
        with loading_environment(spec):
            gpus = await asyncio.to_thread(import_vllm)
            llm = await asyncio.to_thread(start_vllm, spec, gpus, engine_log)
    except BaseException:
        engine_log.close()
        raise
    engine_log.mark_start()
    engine = VllmEngine(llm, spec, engine_log)
    try:
        if spec.vision:
            await engine.check_image_tokens()
    except BaseException:
        await engine.close()
        raise
    return engine


@dataclass(frozen=True)
class Division:
    """What each engine is to load, and a line that tells the user what was chosen."""

    specs: Sequence[ModelSpec]
    description: str


async def divide_gpus(spec: ModelSpec) -> Division:
    """Divide the GPUs between engines, as the user says or as the model fits them.

    Raises:
        EngineLoadError: vLLM does not fit this machine, or the model does not fit its GPUs.
    """
    check_model(spec)
    with loading_environment(spec):
        gpus = await asyncio.to_thread(import_vllm)
    if gpus is None:
        specs = [spec] * (spec.replicas or 1)
        layout = f"{count_engines(len(specs))}, a context of {spec.max_model_len:,}"
        return Division(specs, f"{spec.model} on the CPU: {layout}")
    specs = divide_spec(spec, gpus)
    size = tensor_parallel_size(specs[0], len(gpus))
    for place, one in enumerate(specs):
        check_gpus(one, gpus[place * size :], size)
    return Division(specs, describe_layout(specs[0], gpus[:size], len(specs)))


def import_vllm() -> tuple[Gpu, ...] | None:
    """Import vLLM and return the GPUs that it sees, without waking them up; None where it runs on the CPU.

    A step of its own: modules that vLLM imports keep tracebacks, whose frames would keep the engine alive for good.

    Raises:
        EngineLoadError: vLLM does not fit this machine, or there is no GPU.
    """
    if importlib.util.find_spec("vllm") is None:
        raise EngineLoadError("vLLM is not installed: pip install 'ictc[vllm]', or use --engine openai or lite")
    try:
        gpus = _visible_gpus()
        import vllm.v1.engine.async_llm  # noqa: F401
    except ImportError as error:
        raise EngineLoadError(f"vLLM cannot be imported here: {one_line(str(error))}") from error
    return gpus


def _visible_gpus() -> tuple[Gpu, ...] | None:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return None
    if current_platform.is_unspecified() or not current_platform.device_count():
        raise EngineLoadError("no GPU found: --engine openai, lite or scripted run without one")
    return tuple(_describe_gpu(current_platform, index) for index in range(current_platform.device_count()))


def _describe_gpu(platform: Any, index: int) -> Gpu:
    capability = platform.get_device_capability(index) if platform.is_cuda() else None
    return Gpu(
        name=platform.get_device_name(index),
        capability=(capability.major, capability.minor) if capability else None,
        memory_gb=platform.get_device_total_memory(index) / 1e9,
    )


def start_vllm(spec: ModelSpec, gpus: Sequence[Gpu] | None, engine_log: EngineLog) -> Any:
    """Start vLLM's processes and return its `AsyncLLM`. Blocks until the weights are loaded.

    Args:
        gpus: the visible ones, which `divide_gpus` has checked; None on a CPU.

    Raises:
        EngineLoadError: with the cause and a remedy.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    tp_size = tensor_parallel_size(spec, len(gpus or ()))
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    used = (gpus or ())[:tp_size]
    arguments = engine_arguments(spec, tp_size, known, used)
    try:
        return _start_async_llm(spec, arguments, engine_log)
    except EngineLoadError:
        raise
    except Exception as error:
        raise explain_load_failure(spec, error, engine_log.cause(), used) from error


def _start_async_llm(spec: ModelSpec, arguments: dict[str, Any], engine_log: EngineLog) -> Any:
    from vllm.config.logging import LoggingConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    log_config = LoggingConfig(pylogging_config_file=str(engine_log.config_path))
    engine_args = AsyncEngineArgs(**{"logging_config": log_config, **arguments})
    vllm_config = engine_args.create_engine_config(UsageContext.ENGINE_CONTEXT)
    if spec.vision and not vllm_config.model_config.supports_multimodal_inputs:
        raise EngineLoadError(f"{spec.model} reads text only: --vlm_model needs a vision-language model")
    engine_log.save_worker_config()
    with sparing_main_module():
        return AsyncLLM.from_vllm_config(vllm_config, disable_log_stats=engine_args.disable_log_stats)


class VllmEngine:
    """A model that vLLM has loaded."""

    def __init__(self, llm: Any, spec: ModelSpec, engine_log: EngineLog) -> None:
        from vllm.renderers import ChatParams

        self._llm = llm
        self._spec = spec
        self._log = engine_log
        self._max_model_len: int = llm.model_config.max_model_len
        self._max_num_seqs: int = llm.vllm_config.scheduler_config.max_num_seqs
        self._option_tokens: dict[tuple[str, ...], tuple[int, ...] | None] = {}
        self._chat_params = ChatParams(
            chat_template_kwargs={"add_generation_prompt": True, "enable_thinking": False, "tokenize": False}
        )

    @property
    def window(self) -> int:
        return math.ceil(WINDOW_PER_SEQUENCE * self._max_num_seqs)

    def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        return generate_in_window(requests, self._answer, self.window)

    async def close(self) -> None:
        llm, self._llm = self._llm, None
        if llm is None:
            return
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # it would take the end for a death
        await asyncio.to_thread(llm.shutdown, timeout=SHUTDOWN_TIMEOUT_S)
        del llm
        gc.collect()  # it is in reference cycles; left to the end of the interpreter, it complains
        multiprocessing.active_children()  # collects the processes that have ended
        self._log.close()

    async def check_image_tokens(self) -> None:
        """Check that the model's image processor keeps to `max_image_tokens`.

        Raises:
            EngineLoadError: it does not.
        """
        side_px = math.isqrt(self._spec.max_image_tokens) * IMAGE_TOKEN_SIDE_PX
        image = DecodedImage(width=side_px, height=side_px, rgb=bytes(3 * side_px * side_px))
        probe = GenerationRequest(
            "probe",
            task=Task.CAPTION,
            messages=(Message("user", "Describe."),),
            answer=TextAnswer(),
            sampling=SamplingParams(1),
            image=image,
        )
        num_tokens = count_image_tokens(await self._render(probe))
        if num_tokens > self._spec.max_image_tokens:
            raise EngineLoadError(
                f"{self._spec.model} spends {num_tokens} tokens on an image of {side_px}x{side_px} px, more than "
                f"--max_image_tokens {self._spec.max_image_tokens}: its image processor ignores the limit; raise it, "
                f"or use a Qwen3.5 model"
            )

    async def _answer(self, request: GenerationRequest) -> GenerationResult:
        from vllm.exceptions import VLLMClientError, VLLMServerError

        try:
            prompt = await self._render(request)
            return self._refuse(request, prompt) or await self._complete(request, prompt)
        except VLLMServerError as error:
            if self._llm.errored:
                raise self._death() from error
            return item_error(request, error.__cause__ or error)
        except (VLLMClientError, ValueError) as error:
            return item_error(request, error)

    def _death(self) -> EngineDeadError:
        self._log.relay()
        cause = self._log.cause() or "one of its processes ended without a word, perhaps killed for lack of memory"
        return EngineDeadError(f"the vLLM engine died: {one_line(cause)}; run the same command again to go on")

    async def _render(self, request: GenerationRequest) -> Any:
        """Return the prompt in tokens, with the image tokens in it and the image made ready for the model."""
        _, (prompt,) = await self._llm.renderer.render_chat_async([build_conversation(request)], self._chat_params)
        return prompt

    def _refuse(self, request: GenerationRequest, prompt: Any) -> ItemError | None:
        num_tokens, num_image_tokens = len(prompt["prompt_token_ids"]), count_image_tokens(prompt)
        room = self._max_model_len - request.min_answer_tokens
        if num_tokens > room:
            return ItemError(
                request.request_id,
                ItemErrorKind.PROMPT_TOO_LONG,
                message=f"a prompt of {num_tokens} tokens, {num_image_tokens} of them for the image, and an answer of "
                f"at least {request.min_answer_tokens} don't fit into a context of {self._max_model_len}: "
                "raise --max_model_len or lower --max_image_tokens",
                share_that_fits=max(room, 0) / num_tokens,
            )
        if num_image_tokens > self._spec.max_image_tokens:
            return ItemError(
                request.request_id,
                ItemErrorKind.REFUSED,
                message=f"the image takes {num_image_tokens} tokens, more than --max_image_tokens "
                f"{self._spec.max_image_tokens}",
            )
        return None

    async def _complete(self, request: GenerationRequest, prompt: Any) -> GenerationResult:
        option_tokens = self._find_option_tokens(request)
        context_left = self._max_model_len - len(prompt["prompt_token_ids"])
        sampling = build_sampling_params(request, option_tokens, context_left)
        async with aclosing(self._llm.generate(prompt, sampling, request.request_id)) as outputs:
            async for output in outputs:
                return read_output(request, output, option_tokens)
        raise ValueError("vLLM gave no answer")

    def _find_option_tokens(self, request: GenerationRequest) -> tuple[int, ...] | None:
        """Return one token for each option of a choice, or None if they can't be told apart by their first."""
        if not isinstance(request.answer, ChoiceAnswer):
            return None
        options = request.answer.options
        if options not in self._option_tokens:
            self._option_tokens[options] = find_option_tokens(self._llm.get_tokenizer(), options)
        return self._option_tokens[options]
