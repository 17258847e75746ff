"""The same work through Ray in two ways: `ictc run --executor ray`, and the processor that Ray Data brings for vLLM.

Both take their engine's options, prompts and images from the settings of `ictc run`, and ask for the same tokens. vLLM
is watched at its entrance, so that every request counts, whoever sends it; there it also dies of an image that is to
kill it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engines import acceptable_answer
from measuring import total_cpu_seconds
from ray_work import Work, constraint, load_work

from ictc.cli.terminal import ConsoleReporter
from ictc.engines.base import Answer, Engine, GenerationRequest, GenerationResult, Message
from ictc.engines.vllm_options import engine_arguments
from ictc.executors import engine_host
from ictc.executors.jobs import Finished
from ictc.executors.ray_pipeline import stream_rows
from ictc.executors.ray_workers import Ask
from ictc.pipeline import run_pipeline
from ictc.tracks import load_track

LOGICAL_CPUS = 8
"""Ray reserves one for each stage; there are fewer cores."""

TOO_LONG = "A word more. " * 4000

ERROR_COLUMN = "__inference_error__"

OLD_CHAT_UTILS, CHAT_UTILS = "vllm.entrypoints.chat_utils", "vllm.renderers.chat_utils"
"""Where Ray 2.60, which asks for vLLM 0.29, looks for a module, and where it is since."""


def run_work(work: Work) -> None:
    """Do the work in its way."""
    if work.way == "ictc":
        run_ictc(work)
    else:
        run_processor(work)


def run_ictc(work: Work) -> None:
    """Run `ictc run --executor ray`, with engines that are watched."""

    async def noted_rows(*arguments: Any) -> AsyncIterator[list[Any]]:
        async with aclosing(stream_rows(*arguments)) as rows:
            async for row in rows:
                for finished in row:
                    note_finished(work, finished)
                yield row
        work.note("ended", cpu_s=total_cpu_seconds())

    async def run() -> None:
        stop = asyncio.Event()
        with (
            patch("ictc.executors.ray_executor.Ask", WatchedAsk),
            patch("ictc.executors.ray_executor.stream_rows", noted_rows),
        ):
            await run_pipeline(work.settings, ConsoleReporter(stop), stop)

    asyncio.run(run())


def note_finished(work: Work, finished: Finished) -> None:
    """Note that an image has left Step 1, and how."""
    reason = str(finished.outcome.data.get("reason", ""))
    work.note("failed" if reason else "arrived", error=reason)


class WatchedAsk(Ask):
    """Has a watched engine, whose answers are as long as the work says."""

    def __init__(self, *arguments: Any) -> None:
        work, build = load_work(), engine_host.build_engine
        watch_vllm(work)

        async def build_watched(*arguments: Any) -> Engine:
            return KnownAnswers(await build(*arguments), work)

        engine_host.build_engine = build_watched
        importlib.import_module("ictc.engines.vllm").build_sampling_params = sampling_of(work)
        super().__init__(*arguments)


def sampling_of(work: Work) -> Any:
    """Return what gives a request vLLM's parameters for an answer of known length."""

    def sampling(request: GenerationRequest, *_: Any) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        return SamplingParams(
            **work.sampling(request.request_id),
            structured_outputs=StructuredOutputsParams(json=constraint()),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    return sampling


@dataclass
class KnownAnswers:
    """An engine whose answers are replaced by such as the step accepts, once they are computed."""

    engine: Engine
    work: Work

    @property
    def window(self) -> int:
        return self.engine.window

    async def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        """Answer as the step wants it."""
        texts: dict[str, str] = {}

        async def note() -> AsyncIterator[GenerationRequest]:
            async for request in requests:
                texts[request.request_id] = acceptable_answer(request)
                too_long = request.request_id == self.work.too_long
                yield replace(request, messages=(Message("user", TOO_LONG),)) if too_long else request

        async with aclosing(self.engine.generate(note())) as results:
            async for result in results:
                text = texts.pop(result.request_id)
                yield replace(result, text=text, finish_reason="stop") if isinstance(result, Answer) else result

    async def close(self) -> None:
        await self.engine.close()


def run_processor(work: Work) -> None:
    """Run a `ray.data.llm` processor for vLLM, with engines that are watched."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.init(address="local", num_cpus=LOGICAL_CPUS, log_to_driver=False, include_dashboard=False)
    listed = ray.data.from_items([{"image": Path(path).stem, "path": path} for path in work.images])
    if work.checkpoints:
        write_checkpointed(work, listed)
        return
    for batch in answer(work, listed).iter_batches(batch_size=None, prefetch_batches=0):
        for error in batch.get(ERROR_COLUMN, [""] * len(batch["image"])):
            work.note("failed" if error else "arrived", error=str(error))
    work.note("ended", cpu_s=total_cpu_seconds())


def answer(work: Work, rows: Any) -> Any:
    """Return the dataset of answers; its batches go through the stages one by one, also where one block holds all."""
    return build_processor(work)(rows.repartition(target_num_rows_per_block=work.batch_size))


def write_checkpointed(work: Work, listed: Any) -> None:
    """Write the answers to files, and checkpoints of what is written; go on from those of an earlier run."""
    import ray
    from ray.data.checkpoint import CheckpointConfig

    folder = Path(work.folder)
    if not (folder / "list").exists():
        listed.write_parquet(str(folder / "list"))  # a checkpoint filters only what is read from files
    ray.data.DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column="image", checkpoint_path=str(folder / "checkpoint"), delete_checkpoint_on_success=False
    )
    answer(work, ray.data.read_parquet(str(folder / "list"))).write_parquet(str(folder / "results"))


def build_processor(work: Work) -> Any:
    """Return Ray's processor, with the stages that its documentation has for images."""
    from ray.data.llm import build_processor as build
    from ray.data.llm import vLLMEngineProcessorConfig

    config = vLLMEngineProcessorConfig(
        model_source=work.spec.model,
        engine_kwargs=engine_options(work),
        batch_size=work.batch_size,
        max_concurrent_batches=work.concurrent_batches,
        concurrency=1,
        should_continue_on_error=work.continues,
        log_engine_metrics=False,
        placement_group_config={"bundles": [{"CPU": 1}]},
        prepare_multimodal_stage={"enabled": True, "chat_template_content_format": "openai"},
        chat_template_stage={"enabled": True, "chat_template_kwargs": {"enable_thinking": False}},
        tokenize_stage=not work.lean,
        detokenize_stage=not work.lean,
    )
    processor = build(config, preprocess=ask_about(work), postprocess=read_answer)
    for name, derive in (("PrepareMultimodalStage", prepare_class), ("vLLMEngineStage", watched_class)):
        stage = processor.get_stage_by_name(name)
        vars(stage)["fn"] = derive(stage.fn)  # an assignment would be checked, and change what has been derived from it
    return processor


def engine_options(work: Work) -> dict[str, Any]:
    """Return the arguments that ictc gives to vLLM."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    options = engine_arguments(replace(work.spec, requests_per_image=1), 1, known)
    return {name: value for name, value in options.items() if name != "model"}


def ask_about(work: Work) -> Any:
    """Return what makes a request of a row."""
    track = load_track(work.flags["track"])
    criterion = work.settings.clustering.criterion or track.criterion
    turns = [{"role": turn.role, "content": turn.text} for turn in track.caption.render(criterion=criterion)]

    def preprocess(row: dict[str, Any]) -> dict[str, Any]:
        from PIL import Image

        sampling = {**work.sampling(row["image"]), "structured_outputs": {"json": constraint()}}
        return {
            "messages": [add_image(turn, Image.open(row["path"]), row["image"] == work.too_long) for turn in turns],
            "sampling_params": sampling if work.lean else {**sampling, "detokenize": False},
        }

    return preprocess


def add_image(turn: dict[str, str], image: Any, is_too_long: bool) -> dict[str, Any]:
    """Return a turn of the conversation, the user's with the image before its words."""
    if turn["role"] != "user":
        return turn
    text = TOO_LONG if is_too_long else turn["content"]
    return {"role": "user", "content": [{"type": "image_pil", "image_pil": image}, {"type": "text", "text": text}]}


def read_answer(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a row."""
    return {"image": row["image"], "text": row["generated_text"]}


def prepare_class(base: type) -> type:
    """Return Ray's stage for images, which finds its module in vLLM from 0.32 on."""

    class Prepare(base):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            if importlib.util.find_spec(OLD_CHAT_UTILS) is None:
                sys.modules[OLD_CHAT_UTILS] = importlib.import_module(CHAT_UTILS)
            super().__init__(*arguments, **options)

    return Prepare


def watched_class(base: type) -> type:
    """Return Ray's stage for vLLM, watched."""

    class Watched(base):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            watch_vllm(load_work())
            super().__init__(*arguments, **options)

    return Watched


def watch_vllm(work: Work) -> None:
    """Note every request to vLLM in this process, and every answer."""
    from vllm.v1.engine.async_llm import AsyncLLM

    generate = AsyncLLM.generate

    async def watched(self: Any, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
        parameters = options.get("sampling_params") or arguments[1]
        image_id = parameters.extra_args["image"]
        work.note("asked", image=image_id, engine=vars(self).setdefault("benchmark_id", uuid.uuid4().hex))
        if image_id == work.deadly:
            kill_engine()
        async with aclosing(generate(self, *arguments, **options)) as outputs:
            async for output in outputs:
                if output.finished:
                    work.note("answered", image=image_id, tokens=len(output.outputs[0].token_ids))
                yield output

    AsyncLLM.generate = watched  # type: ignore[method-assign]


def kill_engine() -> None:
    """Kill the process that computes, as a fault in a kernel would."""
    for child in multiprocessing.active_children():
        if child.name.startswith("EngineCore") and child.pid:
            os.kill(child.pid, signal.SIGKILL)
