"""Whether a model can run on the GPUs at hand, and what would if it can't: arithmetic over capability and memory.

Knows how many bytes weights take and refuses only what cannot work; `sizing` divides the rest of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ictc.config import ModelSpec
from ictc.engines.shapes import billions_in_name
from ictc.errors import EngineLoadError

BFLOAT16_CAPABILITY = (8, 0)
FP8_CAPABILITY = (8, 9)
BYTES_PER_WEIGHT = {"float32": 4.0, "fp8": 1.0, "awq": 0.6, "gptq": 0.6}
"""4-bit weights with their scales; the embeddings and the vision tower stay at 16 bits."""
HEADROOM = 1.2
"""Memory to plan for, as a multiple of the weights: activations and a key-value cache to batch with."""
DENSE_QWEN_SIZES = (27.0, 9.0, 4.0, 2.0, 0.8)
"""Qwen3.5 by 10^9 parameters, largest first: what is proposed in place of a model that does not fit."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        capability: CUDA compute capability, None for another maker's.
        memory_gb: in 10^9 bytes.
    """

    name: str
    capability: tuple[int, int] | None
    memory_gb: float


def check_gpus(spec: ModelSpec, gpus: Sequence[Gpu], tensor_parallel_size: int) -> None:
    """Refuse what cannot run on the first `tensor_parallel_size` of `gpus`.

    Raises:
        EngineLoadError: naming the limit and what would run.
    """
    if tensor_parallel_size > len(gpus):
        raise EngineLoadError(
            f"a tensor-parallel size of {tensor_parallel_size} needs as many GPUs, but {len(gpus)} are visible: "
            f"lower {'--vlm_tp' if spec.vision else '--llm_tp'} or --num_gpus"
        )
    used = gpus[:tensor_parallel_size]
    for gpu in used:
        _check_capability(spec, gpu, used)
    if (needed_gb := weights_gb(spec)) and needed_gb > usable_gb(spec, used):
        raise EngineLoadError(f"{spec.model} does not fit: {describe_memory(spec, used)}")


def _check_capability(spec: ModelSpec, gpu: Gpu, used: Sequence[Gpu]) -> None:
    if gpu.capability is None:
        return
    version = ".".join(map(str, gpu.capability))
    if spec.quantization == "fp8" and gpu.capability < FP8_CAPABILITY:
        raise EngineLoadError(
            f"--quantization fp8 needs compute capability 8.9 or more (L4, H100), {gpu.name} has {version}; "
            f"without it {describe_memory(replace(spec, quantization='none'), used)}"
        )
    if spec.dtype == "bfloat16" and gpu.capability < BFLOAT16_CAPABILITY:
        raise EngineLoadError(
            f"bfloat16 needs compute capability 8.0 or more (A100), {gpu.name} has {version}: add --dtype float16"
        )


def describe_memory(spec: ModelSpec, gpus: Sequence[Gpu]) -> str:
    """Return, in one line, what the weights need, what there is, and what would fit."""
    facts = f"{len(gpus)} GPU(s) offer {usable_gb(spec, gpus):.0f} GB at --gpu_util {spec.gpu_memory_utilization:g}"
    if needed_gb := weights_gb(spec):
        method = spec.dtype if spec.quantization == "none" else spec.quantization
        facts = f"its {method} weights take about {needed_gb:.0f} GB and {facts}"
    return f"{facts}: use {', or '.join(what_fits(spec, gpus))}"


def what_fits(spec: ModelSpec, gpus: Sequence[Gpu]) -> list[str]:
    """Return what to try, the smallest change first."""
    usable, needed_gb = usable_gb(spec, gpus), weights_gb(spec)
    num_gpus = math.ceil((needed_gb or 0) * HEADROOM / (usable / len(gpus)))
    remedies = [f"more GPUs (--num_gpus {num_gpus})"] if num_gpus > len(gpus) else ["a lower --max_model_len"]
    if spec.quantization == "none":
        remedies.append("an AWQ or GPTQ checkpoint (--quantization awq or gptq)")
    smaller = [2 * size for size in DENSE_QWEN_SIZES if 2 * size * HEADROOM <= usable]
    if smaller and smaller[0] < (needed_gb or math.inf):
        remedies.append(f"a smaller model (Qwen/Qwen3.5-{smaller[0] / 2:g}B takes {smaller[0]:.0f} GB)")
    return remedies


def usable_gb(spec: ModelSpec, gpus: Sequence[Gpu]) -> float:
    """Return what the engine may take of all `gpus` together; tensor parallelism divides it evenly."""
    return len(gpus) * min(gpu.memory_gb for gpu in gpus) * spec.gpu_memory_utilization


def weights_gb(spec: ModelSpec) -> float | None:
    """Return the size of the weights in 10^9 bytes: as stored, else by the model's name; None if neither tells."""
    stored = sum(file.stat().st_size for file in Path(spec.model).glob("*.safetensors"))
    if stored and spec.quantization != "fp8":  # which vLLM makes of 16-bit weights while it loads them
        return stored / 1e9
    billions = billions_in_name(spec.model)
    return billions * bytes_per_weight(spec) if billions else None


def bytes_per_weight(spec: ModelSpec) -> float:
    """Return what one weight takes, by the quantization or precision that the settings or the model's name tell."""
    name = Path(spec.model).name.lower()
    for method, num_bytes in BYTES_PER_WEIGHT.items():
        if method in (spec.quantization, spec.dtype) or method in name:
            return num_bytes
    return 2.0
