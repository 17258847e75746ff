"""An engine in a worker: whatever it dies of or hangs on, all others are answered, and the culprits are named."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ictc.config import ModelSpec
from ictc.engines import scripted
from ictc.engines.base import Answer, GenerationRequest, GenerationResult, Message, SamplingParams, Task, TextAnswer
from ictc.engines.scripted import ScriptedEngine, ScriptedOptions
from ictc.errors import ConfigError, EngineDeadError, EngineLoadError
from ictc.executors import engine_host
from ictc.executors.engine_host import MAX_DEATHS_IN_A_ROW, EngineHost, HostLimits, SuspectRequests
from ictc.stages.outcome import Outcome

NUMBERS = [str(number) for number in range(20)]


def ask_all(limits: HostLimits, **options: object) -> dict[str, GenerationResult | Outcome]:
    """Return what a host says to twenty requests that come at the same time."""

    async def ask(host: EngineHost, number: str) -> GenerationResult | Outcome:
        request = GenerationRequest(
            number,
            task=Task.LABEL,
            messages=(Message("user", number),),
            answer=TextAnswer(),
            sampling=SamplingParams(8),
        )
        async with host.slot():
            return await host.ask(request)

    async def scenario() -> list[GenerationResult | Outcome]:
        host = EngineHost(ModelSpec(engine="scripted", model="scripted", options=options), limits)
        return await asyncio.wait_for(asyncio.gather(*(ask(host, number) for number in NUMBERS)), 30)

    return dict(zip(NUMBERS, asyncio.run(scenario()), strict=True))


def check_quarantined(answers: dict[str, GenerationResult | Outcome], culprits: Collection[str]) -> None:
    for number, answer in answers.items():
        if number in culprits:
            assert isinstance(answer, Outcome)
            assert answer.data["reason"].startswith("quarantined: the engine died 2 times with this image")
        else:
            assert isinstance(answer, Answer)
            assert answer.request_id == number


@given(
    culprits=st.sets(st.sampled_from(NUMBERS), max_size=MAX_DEATHS_IN_A_ROW - 1),
    window=st.integers(1, 25),
    latency_s=st.sampled_from([0, 0.001]),
)
@settings(max_examples=30)
def test_the_culprits_and_nobody_else_are_quarantined(culprits: set[str], window: int, latency_s: float) -> None:
    answers = ask_all(HostLimits(window, 600.0), die_on=sorted(culprits), window=8, latency_s=latency_s)
    check_quarantined(answers, culprits)


def test_what_hangs_is_no_better_than_what_dies() -> None:
    check_quarantined(ask_all(HostLimits(None, 0.1), hang_on=["7"], window=8), ["7"])


def test_an_engine_that_dies_of_everything_is_given_up() -> None:
    with pytest.raises(EngineDeadError, match=f"it died {MAX_DEATHS_IN_A_ROW} times in a row"):
        ask_all(HostLimits(None, 600.0), die_on=NUMBERS, window=8)


def test_one_that_does_not_start_says_why() -> None:
    with pytest.raises(ConfigError, match="Extra inputs"):
        ask_all(HostLimits(None, 600.0), what=1)


def test_one_that_does_not_come_back_at_once_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    async def load_engine(spec: ModelSpec) -> ScriptedEngine:
        loads.append(spec.model)
        if len(loads) in (2, 3):
            raise EngineLoadError("no memory")
        return ScriptedEngine(ScriptedOptions(window=8, die_on=frozenset({"7"} if len(loads) == 1 else ())))

    monkeypatch.setattr(scripted, "load_scripted_engine", load_engine)
    monkeypatch.setattr(engine_host, "RELOAD_PAUSE_S", 0.0)
    check_quarantined(ask_all(HostLimits(None, 600.0)), [])
    assert len(loads) == 4


def test_what_a_dead_engine_had_is_asked_in_halves_and_nobody_else_meanwhile() -> None:
    async def scenario() -> list[tuple[bool, bool]]:
        suspects = SuspectRequests()
        suspects.blame(["a", "b", "c", "d"])
        turns = [(suspects.is_turn("b"), suspects.is_turn("d"))]
        suspects.blame(["a", "b"])
        turns.append((suspects.is_turn("b"), suspects.is_turn("a")))
        suspects.acquit("a", answered=True)
        suspects.acquit("b", answered=True)
        turns.append((suspects.is_turn("d"), suspects.is_turn("x")))
        suspects.acquit("c", answered=True)
        suspects.acquit("d", answered=True)
        turns.append((suspects.is_turn("x"), suspects.is_turn("y")))
        return turns

    assert asyncio.run(scenario()) == [(True, False), (False, True), (True, False), (True, True)]
