"""From a `ModelSpec` to vLLM's engine arguments and environment; knows their names, loads nothing."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ictc.config import ModelSpec
from ictc.engines.gpu import Gpu
from ictc.engines.sizing import choose_batch, choose_tensor_parallel_size, leaves_layout_open
from ictc.errors import EngineLoadError
from ictc.records import IMAGE_TOKEN_SIDE_PX

DEFAULT_ENVIRONMENT = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would copy our threads, locks and log handlers
    "VLLM_NO_USAGE_STATS": "1",  # what is clustered here is nobody else's business
}
PROCESSOR_CACHE_GB = 2
"""Holds the 50 largest images of the default budget; the requests about one follow each other at once."""
STRUCTURED_OUTPUTS = {
    # llguidance, not xgrammar: for strings of bounded length over Qwen's 248,000 tokens xgrammar 0.2.8 takes 4.4 ms a
    # token (llguidance 1.7: 0.09 ms) and 11 s to compile, lets raw control characters in, and allows no escapes.
    "backend": "guidance",
    "disable_any_whitespace": True,  # a model can go on with spaces until max_tokens
}


def check_model(spec: ModelSpec) -> None:
    """Refuse what needs no vLLM to see.

    Raises:
        EngineLoadError: the model's folder is missing or no checkpoint, or an image leaves no room for words.
    """
    folder = Path(spec.model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise EngineLoadError(f"no checkpoint in {folder}: it has no config.json")
    elif not folder.is_file() and _is_path(spec.model):
        raise EngineLoadError(f"no such model folder: {folder}")
    if spec.vision and spec.max_image_tokens >= spec.max_model_len:
        raise EngineLoadError(
            f"--max_image_tokens {spec.max_image_tokens} leaves no room for a prompt in "
            f"--max_model_len {spec.max_model_len}: lower the one or raise the other"
        )


def _is_path(model: str) -> bool:
    """Whether `model` can't be a name of the form owner/name."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or "\\" in model


def tensor_parallel_size(spec: ModelSpec, num_visible_gpus: int) -> int:
    """Return over how many GPUs to divide the model."""
    asked_for = spec.options.get("tensor_parallel_size") or spec.tensor_parallel_size or spec.num_gpus
    return int(asked_for or len(spec.gpus) or num_visible_gpus or 1)


def gpu_groups(spec: ModelSpec, visible: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the GPUs of each replica.

    Unset, there is one replica over all GPUs, or, where a tensor-parallel size is given, as many as the GPUs hold.

    Args:
        visible: numbers of the GPUs that may be used.

    Raises:
        EngineLoadError: there are too few.
    """
    size = spec.options.get("tensor_parallel_size") or spec.tensor_parallel_size
    replicas = spec.replicas or (max(len(visible) // int(size), 1) if size else 1)
    size = int(size or max(len(visible) // replicas, 1))
    if replicas > 1 and replicas * size > len(visible):
        raise EngineLoadError(
            f"--replicas {replicas} with a tensor-parallel size of {size} needs {replicas * size} GPUs, and "
            f"{len(visible)} can be used: lower one of them"
        )
    return [tuple(visible[place * size : (place + 1) * size]) for place in range(replicas)]


def engine_arguments(
    spec: ModelSpec, tensor_parallel_size: int, known: Collection[str], gpus: Sequence[Gpu] = ()
) -> dict[str, Any]:
    """Return the arguments of vLLM's engine; `spec.options` come last.

    Args:
        known: the names that the installed version has.
        gpus: those of this engine, () on a CPU, where vLLM's own defaults are left alone.

    Raises:
        EngineLoadError: an option that it has not.
    """
    _check_options(spec.options, known)
    arguments = {
        "model": spec.model,
        "dtype": spec.dtype,
        "quantization": None if spec.quantization == "none" else spec.quantization,
        "max_model_len": spec.max_model_len,
        "tensor_parallel_size": tensor_parallel_size,
        "gpu_memory_utilization": spec.gpu_memory_utilization,
        "enforce_eager": spec.enforce_eager,
        "seed": spec.seed,
        "performance_mode": "throughput",
        "structured_outputs_config": STRUCTURED_OUTPUTS,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **(batch_arguments(spec, gpus) if gpus else {}),
        **(vision_arguments(spec, tensor_parallel_size) if spec.vision else {"language_model_only": True}),
    }
    return {name: value for name, value in arguments.items() if name in known} | spec.options


def batch_arguments(spec: ModelSpec, gpus: Sequence[Gpu]) -> dict[str, Any]:
    """Return how much the engine does at a time: vLLM's defaults for an embedded engine are those of a small GPU."""
    batch = choose_batch(spec, gpus)
    return {"max_num_seqs": batch.sequences, "max_num_batched_tokens": batch.tokens}


def vision_arguments(spec: ModelSpec, tensor_parallel_size: int) -> dict[str, Any]:
    """Return what makes images cost what `--max_image_tokens` says, and a cache where images come more than once."""
    token_px = IMAGE_TOKEN_SIDE_PX**2
    return {
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "mm_processor_kwargs": {
            "size": {"shortest_edge": token_px, "longest_edge": spec.max_image_tokens * token_px}  # areas, in pixels
        },
        "mm_processor_cache_gb": PROCESSOR_CACHE_GB if spec.requests_per_image > 1 else 0,
        "mm_encoder_tp_mode": "data" if tensor_parallel_size > 1 else "weights",
    }


def _check_options(options: Mapping[str, Any], known: Collection[str]) -> None:
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "see the engine arguments in vLLM's documentation"
            raise EngineLoadError(f"--engine_options: vLLM has no engine argument {name!r}; {hint}")


def divide_spec(spec: ModelSpec, gpus: Sequence[Gpu]) -> list[ModelSpec]:
    """Return what each engine is to load: as the user says, else one engine on as few GPUs as the model fits.

    Args:
        gpus: the visible ones, those of `spec.gpus` if that names any.

    Raises:
        EngineLoadError: there are too few.
    """
    spec = settle_layout(spec, gpus)
    if spec.replicas in (None, 1) and spec.tensor_parallel_size is None:
        return [spec]
    numbers = spec.gpus or visible_gpu_numbers(len(gpus))
    groups = gpu_groups(spec, list(numbers)[: spec.num_gpus])
    if len(groups) == 1:
        return [spec]
    return [replace(spec, gpus=group, num_gpus=None, tensor_parallel_size=len(group)) for group in groups]


def settle_layout(spec: ModelSpec, gpus: Sequence[Gpu]) -> ModelSpec:
    """Return `spec` with a tensor-parallel size where the user left the layout open and the GPUs can be told apart.

    Args:
        gpus: the visible ones.
    """
    if len(gpus) > 1 and leaves_layout_open(spec) and (spec.gpus or _gpus_are_numbered()):
        return replace(spec, tensor_parallel_size=choose_tensor_parallel_size(spec, gpus))
    return spec


def visible_gpu_numbers(count: int) -> list[int]:
    """Return the numbers of the `count` GPUs that the environment leaves visible.

    Raises:
        EngineLoadError: the environment names them in another way.
    """
    if not _gpus_are_numbered():
        raise EngineLoadError(
            f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}: name the GPUs of --replicas by number, "
            "in --gpu_ids"
        )
    return [int(name) for name in _visible_gpu_names()] or list(range(count))


def _visible_gpu_names() -> list[str]:
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [name.strip() for name in names if name.strip()]


def _gpus_are_numbered() -> bool:
    """Whether the environment names the visible GPUs by number, not by UUID."""
    return all(name.isdecimal() for name in _visible_gpu_names())


@contextmanager
def loading_environment(spec: ModelSpec) -> Iterator[None]:
    """Set the environment that vLLM and its processes start in; the user's own settings win over ours."""
    settings = {name: value for name, value in DEFAULT_ENVIRONMENT.items() if name not in os.environ}
    if spec.gpus:
        settings |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, spec.gpus))}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
