"""What is chosen from the hardware, and the line that tells it, for cards that this machine needn't have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ictc.config import ModelSpec
from ictc.engines.gpu import Gpu
from ictc.engines.shapes import KNOWN_SHAPES, find_shape, shape_of_config
from ictc.engines.sizing import Batch, choose_batch, choose_tensor_parallel_size, describe_layout, divide_memory

A100_40 = Gpu("NVIDIA A100-SXM4-40GB", (8, 0), 42.4)
A100_80 = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 85.0)
L4 = Gpu("NVIDIA L4", (8, 9), 23.6)
H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 85.0)
B200 = Gpu("NVIDIA B200", (10, 0), 191.5)

QWEN_9B_CONFIG = {
    "text_config": {
        "vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 32,
        "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256, "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
    },
    "vision_config": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304},
}  # fmt: skip


def spec(model: str = "Qwen/Qwen3.5-9B", **settings: Any) -> ModelSpec:
    return ModelSpec(engine="vllm", model=model, **settings)


@pytest.mark.parametrize(
    ("model", "gpus", "size"),
    [
        ("Qwen/Qwen3.5-9B", [A100_40] * 4, 1),
        ("Qwen/Qwen3.5-27B", [A100_40] * 4, 2),
        ("Qwen/Qwen3.5-27B", [A100_80] * 4, 1),
        ("Qwen/Qwen3.5-27B", [L4] * 8, 4),
        ("Qwen/Qwen3.5-122B-A10B", [H100] * 8, 4),
        ("Qwen/Qwen3.5-27B", [L4] * 3, None),
        ("somebody/finetune", [H100] * 2, None),
    ],
)
def test_a_model_lies_on_as_few_gpus_as_it_fits(model: str, gpus: list[Gpu], size: int | None) -> None:
    assert choose_tensor_parallel_size(spec(model), gpus) == size


@pytest.mark.parametrize(
    ("model", "gpus", "batch"),
    [
        (spec(), [H100], Batch(sequences=256, tokens=16384)),
        (spec(), [A100_80], Batch(sequences=256, tokens=8192)),
        (spec(), [B200], Batch(sequences=512, tokens=16384)),
        (spec(), [A100_40], Batch(sequences=160, tokens=8192)),
        (spec("Qwen/Qwen3.5-27B"), [H100], Batch(sequences=64, tokens=16384)),
        (spec("somebody/finetune"), [L4], Batch(sequences=256, tokens=8192)),
        (spec(options={"max_num_seqs": 9}), [H100], Batch(sequences=9, tokens=16384)),
        (spec(options={"max_num_batched_tokens": 64}), [H100], Batch(sequences=64, tokens=64)),
    ],
)
def test_a_batch_fits_the_cache(model: ModelSpec, gpus: list[Gpu], batch: Batch) -> None:
    assert choose_batch(model, gpus) == batch


def test_shorter_contexts_leave_room_for_more() -> None:
    few = choose_batch(spec("Qwen/Qwen3.5-27B", max_image_tokens=2560), [H100]).sequences
    more = choose_batch(spec("Qwen/Qwen3.5-27B", max_image_tokens=512), [H100]).sequences
    assert few < more


def test_memory_is_divided_without_rest() -> None:
    memory = divide_memory(spec(gpu_memory_utilization=0.8), [H100, H100], 8192)
    assert memory is not None
    assert memory.weights_gb + memory.batch_gb + memory.cache_gb == pytest.approx(0.8 * 2 * 85)


@pytest.mark.parametrize(
    ("model", "gpus", "num_engines", "line"),
    [
        (
            spec(),
            [H100],
            1,
            "Qwen/Qwen3.5-9B on 1 x H100 80GB HBM3: 1 engine, 256 sequences at a time, 16,384 tokens a batch, a "
            "context of 4,096; weights 18 GB, cache about 55 GB",
        ),
        (spec("somebody/finetune"), [L4, L4], 1, "somebody/finetune on 2 x L4: 1 engine over 2 GPUs, 256 sequences"),
        (spec("Qwen/Qwen3.5-27B"), [A100_40, A100_40], 4, "on 8 x A100-SXM4-40GB: 4 engines over 2 GPUs each, "),
    ],
)
def test_the_choice_is_told_in_a_line(model: ModelSpec, gpus: list[Gpu], num_engines: int, line: str) -> None:
    assert line in describe_layout(model, gpus, num_engines)


class TestShapes:
    def test_the_table_is_what_the_configuration_says(self) -> None:
        known, computed = KNOWN_SHAPES[9.0], shape_of_config(QWEN_9B_CONFIG)
        for name in ("body", "head", "stored_body", "vision", "vision_width", "state_bytes", "kv_bytes"):
            assert getattr(computed, name) == pytest.approx(getattr(known, name), rel=0.005), name

    def test_of_experts_each_token_passes_through_some(self) -> None:
        text = QWEN_9B_CONFIG["text_config"] | {
            "num_experts": 64, "num_experts_per_tok": 4, "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
        }  # fmt: skip
        shape = shape_of_config({"text_config": text})
        assert shape.stored_body - shape.body == pytest.approx(32 * 60 * 3 * 4096 * 512)
        assert shape.vision == 0

    def test_a_plain_decoder_has_no_recurrent_state(self) -> None:
        text = {
            "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8,
        }  # fmt: skip
        shape = shape_of_config(text)
        assert shape.state_bytes == 0
        assert shape.kv_bytes == 128 * 1024
        assert shape.body + 2 * shape.head == pytest.approx(8.03e9, rel=0.01)

    def test_a_folder_tells_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(QWEN_9B_CONFIG))
        shape = find_shape(str(tmp_path))
        assert shape is not None
        assert shape.source == "its config.json"
        (tmp_path / "config.json").write_text("[1")
        assert find_shape(str(tmp_path)) is None

    @pytest.mark.parametrize(
        ("model", "body", "stored"),
        [("Qwen/Qwen3.5-4B", 3.1e9, 3.1e9), ("Qwen/Qwen3.5-35B-A3B", 2.7e9, 31.6e9)],
    )
    def test_a_name_gives_an_estimate_that_is_called_one(self, model: str, body: float, stored: float) -> None:
        shape = find_shape(model)
        assert shape is not None
        assert (shape.body, shape.stored_body) == pytest.approx((body, stored), rel=0.02)
        assert "estimate" in shape.source

    def test_a_name_without_a_size_tells_nothing(self) -> None:
        assert find_shape("somebody/finetune") is None
