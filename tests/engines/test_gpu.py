"""Refusals before loading: capability, memory and the number of GPUs, for cards that this machine needn't have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ictc.config import ModelSpec
from ictc.engines.gpu import Gpu, check_gpus, weights_gb
from ictc.errors import EngineLoadError

V100 = Gpu("Tesla V100", (7, 0), 34)
A100_40 = Gpu("NVIDIA A100-SXM4-40GB", (8, 0), 42)
A100_80 = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 85)
L4 = Gpu("NVIDIA L4", (8, 9), 24)
H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 85)
MI300 = Gpu("AMD Instinct MI300X", None, 206)


def spec(model: str = "Qwen/Qwen3.5-9B", **settings: Any) -> ModelSpec:
    return ModelSpec(engine="vllm", model=model, **settings)


@pytest.mark.parametrize(
    ("model", "gpus"),
    [
        (spec("Qwen/Qwen3.5-27B"), [A100_80]),
        (spec("Qwen/Qwen3.5-27B"), [A100_40, A100_40]),
        (spec("Qwen/Qwen3.5-9B"), [A100_40]),
        (spec("Qwen/Qwen3.5-9B", quantization="fp8"), [H100]),
        (spec("Qwen/Qwen3.5-9B", quantization="fp8"), [L4]),
        (spec("Qwen/Qwen3.5-9B", dtype="float16"), [V100]),
        (spec("Qwen/Qwen3.5-27B", quantization="awq"), [L4]),
        (spec("Qwen/Qwen3.5-27B", quantization="fp8"), [MI300]),
        (spec("an-unknown/model"), [L4]),
    ],
)
def test_runs(model: ModelSpec, gpus: list[Gpu]) -> None:
    check_gpus(model, gpus, len(gpus))


@pytest.mark.parametrize(
    ("model", "gpus", "expected"),
    [
        (
            spec("Qwen/Qwen3.5-27B", quantization="fp8"),
            [A100_80],
            [
                "fp8 needs compute capability 8.9",
                "A100-SXM4-80GB has 8.0",
                "about 54 GB",
                "(--quantization awq or gptq)",
            ],
        ),
        (
            spec("Qwen/Qwen3.5-27B", quantization="fp8"),
            [A100_40],
            ["about 54 GB", "--num_gpus 2", "Qwen3.5-9B takes 18 GB"],
        ),
        (spec("Qwen/Qwen3.5-9B"), [V100], ["V100 has 7.0", "--dtype float16"]),
        (
            spec("Qwen/Qwen3.5-27B"),
            [A100_40],
            ["does not fit", "about 54 GB", "offer 38 GB at --gpu_util 0.9", "--num_gpus 2", "Qwen3.5-9B takes 18 GB"],
        ),
        (spec("Qwen/Qwen3.5-27B", quantization="awq"), [Gpu("T4", (7, 5), 16)], ["--dtype float16"]),
    ],
)
def test_refused_with_what_to_use_instead(model: ModelSpec, gpus: list[Gpu], expected: list[str]) -> None:
    with pytest.raises(EngineLoadError) as refusal:
        check_gpus(model, gpus, len(gpus))
    message = str(refusal.value)
    assert "\n" not in message
    for words in expected:
        assert words in message


def test_more_ranks_than_gpus_are_refused() -> None:
    with pytest.raises(EngineLoadError, match=r"size of 4 .* 2 are visible: lower --llm_tp"):
        check_gpus(spec(vision=False), [H100, H100], 4)


def test_a_gpu_that_is_not_used_does_not_matter() -> None:
    check_gpus(spec("Qwen/Qwen3.5-9B"), [H100, V100], 1)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (spec("Qwen/Qwen3.5-27B"), 54),
        (spec("Qwen/Qwen3.5-0.8B"), 1.6),
        (spec("Qwen/Qwen3.5-35B-A3B"), 70),
        (spec("meta-llama/Llama-3.1-8B-Instruct"), 16),
        (spec("meta-llama/Llama-3.1-8B-Instruct", dtype="float32"), 32),
        (spec("Qwen/Qwen3.5-27B-FP8"), 27),
        (spec("Qwen/Qwen3.5-27B", quantization="gptq"), 16.2),
        (spec("somebody/finetune"), None),
    ],
)
def test_weights_by_the_name(model: ModelSpec, expected: float | None) -> None:
    assert weights_gb(model) == (expected and pytest.approx(expected))


def test_weights_of_a_folder_are_what_is_stored(tmp_path: Path) -> None:
    for shard in (1, 2):
        with (tmp_path / f"model-{shard}.safetensors").open("wb") as file:
            file.truncate(3_000_000)
    assert weights_gb(spec(str(tmp_path))) == pytest.approx(0.006)
