"""What vLLM is started with, and what a failed start tells the user; vLLM itself is not needed here."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ictc.config import ModelSpec
from ictc.engines.gpu import Gpu
from ictc.engines.vllm_failure import explain_load_failure
from ictc.engines.vllm_options import check_model, engine_arguments, loading_environment, tensor_parallel_size
from ictc.errors import EngineLoadError

SPEC = ModelSpec("vllm", "Qwen/Qwen3.5-9B")
KNOWN = {
    "model",
    "quantization",
    "max_num_seqs",
    "max_model_len",
    "limit_mm_per_prompt",
    "mm_processor_kwargs",
    "mm_encoder_tp_mode",
    "language_model_only",
}


def arguments(tp_size: int = 1, **settings: Any) -> dict[str, Any]:
    return engine_arguments(replace(SPEC, **settings), tp_size, KNOWN)


def test_an_image_costs_at_most_its_budget() -> None:
    chosen = arguments(max_image_tokens=640)
    assert chosen["mm_processor_kwargs"]["size"] == {"shortest_edge": 32 * 32, "longest_edge": 640 * 32 * 32}
    assert chosen["limit_mm_per_prompt"] == {"image": 1, "video": 0}
    assert "language_model_only" not in chosen


def test_a_text_only_load_leaves_the_vision_tower_out() -> None:
    chosen = arguments(vision=False)
    assert chosen["language_model_only"] is True
    assert "limit_mm_per_prompt" not in chosen


def test_arguments_that_this_version_has_not_are_left_out() -> None:
    assert set(arguments()) <= KNOWN


def test_no_quantization_is_none() -> None:
    assert arguments()["quantization"] is None
    assert arguments(quantization="awq")["quantization"] == "awq"


def test_the_vision_tower_is_divided_by_images_over_several_gpus() -> None:
    assert arguments(tp_size=2)["mm_encoder_tp_mode"] == "data"


def test_options_of_the_user_win() -> None:
    chosen = arguments(options={"max_num_seqs": 7, "max_model_len": 1024})
    assert (chosen["max_num_seqs"], chosen["max_model_len"]) == (7, 1024)


@pytest.mark.parametrize("name", ["max_num_seq", "max-num-seqs", "MAX_num_seqs"])
def test_an_unknown_option_names_the_nearest(name: str) -> None:
    with pytest.raises(EngineLoadError, match=r"no engine argument '.*'; did you mean 'max_num_seqs'\?"):
        arguments(options={name: 8})


@pytest.mark.parametrize(
    ("settings", "num_visible", "expected"),
    [
        ({}, 4, 4),
        ({}, 0, 1),
        ({"gpus": (2, 3)}, 4, 2),
        ({"num_gpus": 3}, 4, 3),
        ({"num_gpus": 3, "tensor_parallel_size": 1}, 4, 1),
        ({"tensor_parallel_size": 1, "options": {"tensor_parallel_size": 2}}, 4, 2),
    ],
)
def test_tensor_parallel_size(settings: dict[str, Any], num_visible: int, expected: int) -> None:
    assert tensor_parallel_size(replace(SPEC, **settings), num_visible) == expected


def test_named_gpus_are_all_that_is_seen_while_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with loading_environment(replace(SPEC, gpus=(2, 3))):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"


@pytest.mark.parametrize("model", ["/no/such/folder", "./missing", "models/qwen/9b"])
def test_a_missing_folder_is_named(model: str) -> None:
    with pytest.raises(EngineLoadError, match="no such model folder"):
        check_model(replace(SPEC, model=model))


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineLoadError, match=r"no config\.json"):
        check_model(replace(SPEC, model=str(tmp_path)))


def test_an_image_must_leave_room_for_words() -> None:
    too_many = replace(SPEC, max_image_tokens=4096, max_model_len=4096)
    with pytest.raises(EngineLoadError, match="--max_image_tokens 4096 leaves no room"):
        check_model(too_many)
    check_model(replace(too_many, vision=False))


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("ValueError: Free memory on device cuda:0 (3/80 GiB) on startup is less than desired", "--gpu_ids"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "weights take about 18 GB"),
        ("ValueError: No available memory for the cache blocks. Try increasing", "a lower --max_model_len"),
        (
            "ValueError: To serve at least one request with the model's max seq len (8192), (4 GiB KV cache is needed, "
            "which is larger than the available KV cache memory (1 GiB). Based on the available memory, the estimated "
            "maximum model length is 2048. Try increasing",
            "--max_model_len to 2048",
        ),
        ("ValueError: Quantization method specified in the model config (awq) does not match", "leave --quantization"),
        ("OSError: Qwen/Qwen3.5-9B is not a local folder and is not a valid model identifier", "check its spelling"),
        ("AssertionError: something new", "something new; the log file has the details"),
    ],
)
def test_a_failed_start_is_explained(cause: str, expected: str) -> None:
    failed = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    message = str(explain_load_failure(SPEC, failed, cause, [Gpu("L4", (8, 9), 24)]))
    assert expected in message
    assert "Qwen/Qwen3.5-9B" in message
    assert "\n" not in message


def test_a_killed_process_is_told_from_an_error() -> None:
    failed = RuntimeError("Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}")
    assert "lack of main memory" in str(explain_load_failure(SPEC, failed, None, ()))
