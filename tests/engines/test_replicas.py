"""Engines side by side: the same results, and the death of one is no matter of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat

from ictc.config import ModelSpec
from ictc.engines.base import Answer, GenerationRequest, Message, SamplingParams, Task, TextAnswer
from ictc.engines.replicas import ReplicatedEngine, load_replicas
from ictc.engines.scripted import ScriptedEngine, ScriptedOptions
from ictc.engines.vllm_options import gpu_groups, visible_gpu_numbers
from ictc.errors import EngineDeadError, EngineLoadError


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 24)


@pytest.fixture
def ictc(capsys: pytest.CaptureFixture[str]) -> Ictc:
    return Ictc(capsys)


class TestRuns:
    def test_they_give_what_one_engine_gives(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        options = orjson.dumps({"window": 2, "latency_s": 0.002}).decode()
        ictc.succeed(ads, tmp_path / "three", "--replicas", 3, "--engine_options", options)
        ictc.succeed(ads, tmp_path / "one")
        assert exported_bytes(tmp_path / "three") == exported_bytes(tmp_path / "one")

    def test_a_poisonous_image_costs_itself_and_suspects_the_neighbors_of_one_engine_only(
        self, ictc: Ictc, ads: Path, tmp_path: Path
    ) -> None:
        options = orjson.dumps({"window": 2, "latency_s": 0.01, "die_on": ["ad_010"]}).decode()
        outcome = ictc.succeed(ads, tmp_path / "out", "--replicas", 4, "--engine_options", options, "--steps", "1")
        assert {"1 images that were in flight", "2 images that were in flight"} & {
            line.split(" when ")[0] for line in outcome.stderr.splitlines()
        }
        assert "8 images that were in flight" not in outcome.stderr
        captions = {**load(tmp_path / "out", "step1_captions.json"), **load(tmp_path / "out", "ui_only_images.json")}
        assert set(captions) == {f"ad_{number:03d}" for number in range(24)} - {"ad_010"}


def request(request_id: str) -> GenerationRequest:
    return GenerationRequest(request_id, Task.LABEL, (Message("user", request_id),), TextAnswer(), SamplingParams(8))


class TestDeath:
    def test_the_living_keep_their_model_and_the_dead_is_loaded_anew(self) -> None:
        loaded: list[str] = []

        async def load_engine(name: str) -> ScriptedEngine:
            loaded.append(name)
            return ScriptedEngine(ScriptedOptions(window=2, latency_s=0.001, die_on=frozenset({"7"})))

        async def requests() -> AsyncIterator[GenerationRequest]:
            for number in range(12):
                yield request(str(number))

        async def answer_all(engine: ReplicatedEngine, answered: list[str]) -> None:
            async for result in engine.generate(requests()):
                assert isinstance(result, Answer)
                answered.append(result.request_id)

        async def scenario() -> tuple[EngineDeadError, list[str]]:
            engine = await load_replicas([lambda: load_engine("a"), lambda: load_engine("b")])
            assert engine.window == 4
            answered: list[str] = []
            with pytest.raises(EngineDeadError) as death:
                await answer_all(engine, answered)
            assert engine.has_dead
            await engine.recover()
            assert not engine.has_dead
            await engine.close()
            return death.value, answered

        death, answered = asyncio.run(scenario())
        assert death.in_flight is not None
        assert "7" in death.in_flight
        assert len(death.in_flight) <= 2
        assert not death.in_flight & set(answered)
        assert sorted(loaded) in (["a", "a", "b"], ["a", "b", "b"])

    def test_if_one_does_not_start_the_others_are_closed(self) -> None:
        closed: list[str] = []

        class Closable(ScriptedEngine):
            async def close(self) -> None:
                closed.append("a")

        async def start() -> ScriptedEngine:
            return Closable(ScriptedOptions())

        async def fail() -> ScriptedEngine:
            raise EngineLoadError("no memory")

        with pytest.raises(EngineLoadError, match="no memory"):
            asyncio.run(load_replicas([start, fail]))
        assert closed == ["a"]


class TestGpuGroups:
    @pytest.mark.parametrize(
        ("settings", "visible", "groups"),
        [
            ({}, 4, [(0, 1, 2, 3)]),
            ({"tensor_parallel_size": 1}, 4, [(0,), (1,), (2,), (3,)]),
            ({"tensor_parallel_size": 2}, 5, [(0, 1), (2, 3)]),
            ({"replicas": 2}, 4, [(0, 1), (2, 3)]),
            ({"replicas": 3, "tensor_parallel_size": 1}, 4, [(0,), (1,), (2,)]),
            ({"replicas": 1, "tensor_parallel_size": 2}, 4, [(0, 1)]),
        ],
    )
    def test_the_gpus_are_divided(self, settings: dict[str, int], visible: int, groups: list[tuple[int, ...]]) -> None:
        spec = ModelSpec(engine="vllm", model="m", **settings)  # type: ignore[arg-type]
        assert gpu_groups(spec, range(visible)) == groups

    def test_too_few_are_refused(self) -> None:
        with pytest.raises(EngineLoadError, match="needs 6 GPUs, and 4 can be used"):
            gpu_groups(ModelSpec(engine="vllm", model="m", replicas=3, tensor_parallel_size=2), range(4))

    def test_the_environment_names_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
        assert visible_gpu_numbers(2) == [4, 6]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa")
        with pytest.raises(EngineLoadError, match="--gpu_ids"):
            visible_gpu_numbers(1)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert visible_gpu_numbers(2) == [0, 1]


@pytest.mark.parametrize("engine", [("openai", "--base_url", "http://localhost:1/v1"), ("lite",)])
def test_engines_that_gain_nothing_refuse_it(ictc: Ictc, ads: Path, tmp_path: Path, engine: tuple[str, ...]) -> None:
    refused = ictc(*("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", "--replicas", 2), "--engine", *engine)
    assert refused.exit_code == 2
    assert "--replicas" in refused.stderr
