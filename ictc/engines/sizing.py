"""How a model is laid out over GPUs of one kind and how much it does at a time: arithmetic, before anything is loaded.

The one memory model of this package: what `ictc run` starts vLLM with and what `ictc plan` foretells come from here.
What is chosen can be overridden; `vllm_options` puts it into vLLM's words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ictc.config import ModelSpec
from ictc.engines.gpu import HEADROOM, Gpu, usable_gb, weights_gb
from ictc.engines.shapes import find_shape

LARGE_MEMORY_GB = 75.0
"""From 70 GiB on, vLLM itself takes batches of 16,384 tokens for offline work, but not on an A100, where they are
slower (`EngineArgs.get_batch_defaults`, vLLM 0.32)."""
LARGE_BATCH_TOKENS, BATCH_TOKENS = 16_384, 8_192

MAX_SEQUENCES = 256
"""For each token of its answer a running sequence lets about ten prompt tokens in: 256 of them keep a step of any GPU
up to the H100 far above the 300 tokens from which computing, not memory, is the limit. More only cost cache."""
VERY_LARGE_MEMORY_GB = 170.0
MAX_SEQUENCES_VERY_LARGE = 512

TEXT_TOKENS = 512
"""Prompt and answer of a caption. What takes more waits for room in the cache; it is not refused."""
TEXT_STEP_TOKENS = 1024
"""Prompt and answer of a text step."""

FIXED_GB = 1.0
BATCH_GB_PER_TOKEN = 128 * 1024 / 1e9
"""CUDA graphs and activations, per GPU; an estimate: vLLM measures its own when it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How an engine's share of the GPU memory is divided, in 10^9 bytes over all of its GPUs."""

    usable_gb: float
    weights_gb: float
    batch_gb: float

    @property
    def cache_gb(self) -> float:
        """What is left for running sequences."""
        return max(self.usable_gb - self.weights_gb - self.batch_gb, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one engine does at a time.

    Attributes:
        sequences: requests that run at once.
        tokens: most tokens of one step, prompts and answers together.
    """

    sequences: int
    tokens: int


def leaves_layout_open(spec: ModelSpec) -> bool:
    """Whether the user has said neither how many GPUs nor how many engines."""
    asked_for = (spec.num_gpus, spec.tensor_parallel_size, spec.replicas)
    return not any(asked_for) and not any("parallel" in option for option in spec.options)


def choose_tensor_parallel_size(spec: ModelSpec, gpus: Sequence[Gpu]) -> int | None:
    """Return over how few of `gpus` the model fits with room to work, a power of two; None if nobody can tell.

    One engine a GPU does more than one engine over all: tensor parallelism spends time on talking.
    """
    needed_gb = weights_gb(spec)
    if needed_gb is None:
        return None
    size = 1
    while size <= len(gpus):
        if needed_gb * HEADROOM <= usable_gb(spec, gpus[:size]):
            return size
        size *= 2
    return None


def choose_batch(spec: ModelSpec, gpus: Sequence[Gpu]) -> Batch:
    """Return what one engine over `gpus` should do at a time; `spec.options` win."""
    tokens = int(spec.options.get("max_num_batched_tokens") or _batch_tokens(gpus))
    memory_gb = min(gpu.memory_gb for gpu in gpus)
    most = MAX_SEQUENCES if memory_gb < VERY_LARGE_MEMORY_GB else MAX_SEQUENCES_VERY_LARGE
    room = sequences_that_fit(spec, divide_memory(spec, gpus, tokens))
    sequences = min(most, tokens, most if room is None else _round_down(room))
    return Batch(sequences=int(spec.options.get("max_num_seqs") or sequences), tokens=tokens)


def divide_memory(spec: ModelSpec, gpus: Sequence[Gpu], batch_tokens: int) -> Memory | None:
    """Return how one engine over `gpus` divides their memory; None if the size of the weights is unknown."""
    needed_gb = weights_gb(spec)
    if needed_gb is None:
        return None
    batch_gb = len(gpus) * (FIXED_GB + batch_tokens * BATCH_GB_PER_TOKEN)
    return Memory(usable_gb=usable_gb(spec, gpus), weights_gb=needed_gb, batch_gb=batch_gb)


def sequences_that_fit(spec: ModelSpec, memory: Memory | None) -> int | None:
    """Return how many sequences the cache holds, with images of full size; None if nobody can tell."""
    shape = find_shape(spec.model)
    if memory is None or shape is None:
        return None
    return int(memory.cache_gb * 1e9 / shape.sequence_bytes(context_tokens(spec)))


def context_tokens(spec: ModelSpec) -> int:
    """Return the tokens of a request with an image of full size, and of its answer."""
    return min(spec.max_model_len, spec.max_image_tokens + TEXT_TOKENS if spec.vision else TEXT_STEP_TOKENS)


def describe_layout(spec: ModelSpec, gpus: Sequence[Gpu], num_engines: int) -> str:
    """Return in one line what was chosen for `num_engines` engines of `spec`, each over as many as `gpus`."""
    batch = choose_batch(spec, gpus)
    name = gpus[0].name.removeprefix("NVIDIA ")
    line = (
        f"{spec.model} on {num_engines * len(gpus)} x {name}: {count_engines(num_engines, gpus_each=len(gpus))}, "
        f"{batch.sequences:,} sequences at a time, {batch.tokens:,} tokens a batch, a context of {spec.max_model_len:,}"
    )
    memory = divide_memory(spec, gpus, batch.tokens)
    if memory is None:
        return line
    return f"{line}; weights {memory.weights_gb:.0f} GB, cache about {memory.cache_gb:.0f} GB"


def count_engines(num_engines: int, *, gpus_each: int = 1) -> str:
    """Return how many engines there are and over how many GPUs each lies, in words."""
    engines = "1 engine" if num_engines == 1 else f"{num_engines} engines"
    if gpus_each == 1:
        return engines
    return f"{engines} over {gpus_each} GPUs{' each' if num_engines > 1 else ''}"


def _batch_tokens(gpus: Sequence[Gpu]) -> int:
    large = all(gpu.memory_gb >= LARGE_MEMORY_GB and "a100" not in gpu.name.lower() for gpu in gpus)
    return LARGE_BATCH_TOKENS if large else BATCH_TOKENS


def _round_down(count: int) -> int:
    """Return a multiple of 8, as the captured graphs have, or what little there is, but at least 1."""
    return count // 8 * 8 if count >= 8 else max(count, 1)
