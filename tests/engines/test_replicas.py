"""Engines side by side: the same results as of one, and the end of one is no matter of the others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat

from ictc.config import ModelSpec
from ictc.engines import scripted
from ictc.engines.replicas import Replicas
from ictc.engines.scripted import ScriptedEngine, ScriptedOptions
from ictc.engines.vllm_options import gpu_groups, visible_gpu_numbers
from ictc.errors import EngineLoadError
from ictc.stages import supervisor
from ictc.stages.supervisor import MAX_FAILURES


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 24)


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
        assert re.search(r"engine [1-4] of 4 died .* with [12] images? in flight", outcome.stderr)
        assert not re.search(r"with [3-8] images in flight", outcome.stderr)
        captions = {**load(tmp_path / "out", "step1_captions.json"), **load(tmp_path / "out", "ui_only_images.json")}
        assert set(captions) == {f"ad_{number:03d}" for number in range(24)} - {"ad_010"}

    def test_one_that_does_not_come_back_is_left_out_and_tried_again_by_the_next_step(
        self, ictc: Ictc, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loads: list[str] = []

        async def load_engine(spec: ModelSpec) -> ScriptedEngine:
            loads.append(spec.model)
            if 2 < len(loads) <= 2 + MAX_FAILURES:
                raise EngineLoadError("no memory")
            die_on = frozenset({"ad_003"} if len(loads) <= 2 else ())
            return ScriptedEngine(ScriptedOptions(window=2, latency_s=0.05, die_on=die_on))

        monkeypatch.setattr(scripted, "load_scripted_engine", load_engine)
        monkeypatch.setattr(supervisor, "RELOAD_PAUSE_S", 0.0)
        outcome = ictc.succeed(ads, tmp_path / "out", "--replicas", 2)
        assert "does not start (no memory); trying again; 1 at work, 50% of the rate" in outcome.stderr
        assert outcome.stderr.count("is left out (no memory; it failed 5 times in a row)") == 1
        assert outcome.stderr.count("is loaded anew; 2 at work, 100% of the rate") >= 1
        assert len(load(tmp_path / "out", "step3_final_assignment.json")) > 0


def script_engines(*fates: Sequence[str]) -> tuple[Replicas, list[str]]:
    """Return engines of which each load has a fate, "loads" or an error, and a list of what happens to them."""
    events: list[str] = []

    class Closable(ScriptedEngine):
        def __init__(self, name: str) -> None:
            super().__init__(ScriptedOptions())
            self._name = name

        async def close(self) -> None:
            events.append(f"{self._name} closed")

    async def load_engine(name: str, left: list[str]) -> ScriptedEngine:
        fate = left.pop(0)
        if fate != "loads":
            raise EngineLoadError(fate)
        await asyncio.sleep(0.01)
        events.append(f"{name} loaded")
        return Closable(name)

    loads = [partial(load_engine, name, list(fate)) for name, fate in zip("abc", fates, strict=False)]
    return Replicas(loads), events


class TestLoading:
    def test_each_is_loaded_and_dropped_by_itself(self) -> None:
        async def scenario() -> None:
            await engines.load()
            await engines.drop(1)
            assert [engine is None for engine in engines] == [False, True, False]
            await asyncio.gather(engines.reload(1), engines.reload(1))
            assert all(engine is not None for engine in engines)
            await engines.close()

        engines, events = script_engines(["loads"], ["loads", "loads"], ["loads"])
        asyncio.run(scenario())
        assert events[:5] == ["a loaded", "b loaded", "c loaded", "b closed", "b loaded"]
        assert sorted(events[5:]) == ["a closed", "b closed", "c closed"]

    def test_if_one_does_not_start_the_others_are_closed(self) -> None:
        engines, events = script_engines(["loads"], ["no memory"])
        with pytest.raises(EngineLoadError, match="no memory"):
            asyncio.run(engines.load())
        assert events == ["a loaded", "a closed"]

    def test_in_the_middle_of_a_run_those_that_start_go_on(self) -> None:
        notes: list[str] = []
        engines, events = script_engines(["no memory"], ["loads"])
        asyncio.run(engines.load(notes.append))
        assert notes == ["engine 1 of 2 does not start (no memory); the others go on without it"]
        assert events == ["b loaded"]

    def test_even_then_one_must_start(self) -> None:
        engines, _ = script_engines(["no memory"], ["no GPU"])
        with pytest.raises(EngineLoadError, match="no GPU"):
            asyncio.run(engines.load(lambda _: None))

    def test_the_first_that_lives_is_found_or_loaded(self) -> None:
        async def scenario() -> list[int]:
            places = [await engines.first()]
            await engines.drop(1)
            places.append(await engines.first())
            await engines.close()
            return places

        engines, _ = script_engines(["no memory", "loads"], ["loads"])
        assert asyncio.run(scenario()) == [1, 0]

    def test_one_that_nobody_waits_for_any_more_is_closed_in_the_end(self) -> None:
        async def scenario() -> None:
            waiting = asyncio.create_task(engines.reload(0))
            await asyncio.sleep(0)
            waiting.cancel()
            await engines.close()

        engines, events = script_engines(["loads"])
        asyncio.run(scenario())
        assert events == ["a loaded", "a closed"]


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
