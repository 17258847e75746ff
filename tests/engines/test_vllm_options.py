"""What vLLM is started with, and what a failed start tells the user; vLLM itself is not needed here."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ictc.config import EngineSettings, ModelSpec
from ictc.engines import vllm
from ictc.engines.gpu import Gpu
from ictc.engines.provider import EngineProvider
from ictc.engines.scripted import ScriptedEngine, ScriptedOptions
from ictc.engines.vllm_failure import explain_load_failure
from ictc.engines.vllm_options import (
    check_model,
    divide_spec,
    engine_arguments,
    loading_environment,
    tensor_parallel_size,
)
from ictc.errors import EngineLoadError

SPEC = ModelSpec(engine="vllm", model="Qwen/Qwen3.5-9B")
H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 85)
A100 = Gpu("NVIDIA A100-SXM4-40GB", (8, 0), 42.4)
KNOWN = {
    "model",
    "quantization",
    "max_num_seqs",
    "max_num_batched_tokens",
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


def test_how_much_is_done_at_a_time_comes_from_the_gpu() -> None:
    assert engine_arguments(SPEC, 1, KNOWN, [H100])["max_num_batched_tokens"] == 16384
    assert engine_arguments(SPEC, 1, KNOWN, [A100])["max_num_batched_tokens"] == 8192
    own = replace(SPEC, options={"max_num_seqs": 7})
    assert engine_arguments(own, 1, KNOWN, [H100])["max_num_seqs"] == 7


def test_on_a_cpu_the_defaults_of_vllm_stay() -> None:
    assert not {"max_num_seqs", "max_num_batched_tokens"} & set(arguments())


@pytest.mark.parametrize(
    ("settings", "gpus", "expected"),
    [
        ({}, [A100] * 4, [(0,), (1,), (2,), (3,)]),
        ({"gpus": (2, 3)}, [A100] * 2, [(2,), (3,)]),
        ({"model": "Qwen/Qwen3.5-27B"}, [A100] * 4, [(0, 1), (2, 3)]),
        ({"replicas": 2}, [A100] * 4, [(0, 1), (2, 3)]),
        ({"tensor_parallel_size": 2}, [A100] * 4, [(0, 1), (2, 3)]),
    ],
)
def test_engines_side_by_side_where_the_model_fits(
    settings: dict[str, Any], gpus: list[Gpu], expected: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    specs = divide_spec(replace(SPEC, **settings), gpus)
    assert [one.gpus for one in specs] == expected
    assert {one.tensor_parallel_size for one in specs} == {len(expected[0])}


@pytest.mark.parametrize(
    ("settings", "num_gpus", "size"),
    [
        ({}, 1, 1),
        ({"num_gpus": 4}, 4, 4),
        ({"options": {"tensor_parallel_size": 4}}, 4, 4),
        ({"options": {"pipeline_parallel_size": 2}}, 4, 4),
        ({"model": "somebody/finetune"}, 4, 4),
        ({"model": "Qwen/Qwen3.5-27B"}, 3, 2),
    ],
)
def test_one_engine_where_the_user_says_so_or_nobody_knows(settings: dict[str, Any], num_gpus: int, size: int) -> None:
    (one,) = divide_spec(replace(SPEC, **settings), [A100] * num_gpus)
    assert tensor_parallel_size(one, num_gpus) == size


def test_what_was_chosen_is_told_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(vllm, "import_vllm", lambda: (A100, A100))  # no such GPUs here
    division = asyncio.run(vllm.divide_gpus(SPEC))
    assert [one.gpus for one in division.specs] == [(0,), (1,)]
    assert "on 2 x A100-SXM4-40GB: 2 engines, 160 sequences at a time" in division.description
    with pytest.raises(EngineLoadError, match="27B does not fit"):
        asyncio.run(vllm.divide_gpus(replace(SPEC, model="Qwen/Qwen3.5-27B", tensor_parallel_size=1)))
    monkeypatch.setattr(vllm, "import_vllm", lambda: None)
    on_cpu = asyncio.run(vllm.divide_gpus(replace(SPEC, replicas=2)))
    assert (len(on_cpu.specs), on_cpu.description) == (2, "Qwen/Qwen3.5-9B on the CPU: 2 engines, a context of 4,096")


def test_each_load_is_noted_once_for_all_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(spec: ModelSpec) -> ScriptedEngine:
        return ScriptedEngine(ScriptedOptions())

    async def load_twice(notes: list[str]) -> None:
        provider = EngineProvider(EngineSettings(vlm_model="Qwen/Qwen3.5-9B"), seed=1, note=notes.append)
        await provider.get("vlm")
        await provider.get("llm")
        await provider.close()

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(vllm, "import_vllm", lambda: (A100, A100, A100))
    monkeypatch.setattr(vllm, "load_vllm_engine", load)
    notes: list[str] = []
    asyncio.run(load_twice(notes))
    (line,) = notes
    assert "3 engines" in line


def test_gpus_that_have_no_numbers_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,GPU-bbbb")
    (one,) = divide_spec(SPEC, [H100, H100])
    assert tensor_parallel_size(one, 2) == 2


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
