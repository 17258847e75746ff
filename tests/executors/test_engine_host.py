"""An engine in a worker: whatever it dies of or hangs on, all others are answered, and the culprits are named."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ictc.config import ModelSpec
from ictc.engines.base import Answer, GenerationRequest, GenerationResult, Message, SamplingParams, Task, TextAnswer
from ictc.errors import EngineDeadError, EngineLoadError
from ictc.executors.engine_host import MAX_DEATHS_IN_A_ROW, EngineHost, HostLimits
from ictc.stages.outcome import Outcome

NUMBERS = [str(number) for number in range(20)]


def ask_all(limits: HostLimits, **options: object) -> dict[str, GenerationResult | Outcome]:
    """Return what a host says to twenty requests that come at the same time."""

    async def ask(host: EngineHost, number: str) -> GenerationResult | Outcome:
        request = GenerationRequest(number, Task.LABEL, (Message("user", number),), TextAnswer(), SamplingParams(8))
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
    with pytest.raises(EngineLoadError, match="Extra inputs"):
        ask_all(HostLimits(None, 600.0), what=1)
