"""How reduce steps ask: in rows of questions side by side, and nothing twice that was answered before a crash."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.engines.base import (
    Answer,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    Message,
    SamplingParams,
    TextAnswer,
)
from ictc.engines.scripted import ScriptedEngine, ScriptedOptions
from ictc.errors import EngineDeadError, EngineError
from ictc.stages.asking import Answering, KeptAnswers
from ictc.stages.dialogue import Dialogue, hold


def ask_for(text: str, name: str) -> GenerationRequest:
    return GenerationRequest(
        name,
        task="talk",
        messages=(Message("user", text),),
        answer=TextAnswer(),
        sampling=SamplingParams(8),
        inputs={"text": text},
    )


class Model:
    """Says a text backwards; dies when it has said so much."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.asked: list[str] = []
        self._left = dies_after

    async def __call__(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        texts = [request.messages[0].text for request in requests]
        if self._left is not None and len(texts) > self._left:
            raise EngineDeadError("gone")
        if self._left is not None:
            self._left -= len(texts)
        self.asked += texts
        return [Answer(request.request_id, text=text[::-1]) for request, text in zip(requests, texts, strict=True)]


def talk(name: str, length: int) -> Dialogue[list[str]]:
    """Say what was answered last, so many times."""
    said = [name]
    for number in range(length):
        result = yield ask_for(f"{said[-1]}{number}", name)
        assert isinstance(result, Answer)
        said.append(result.text)
    return said


def lengths_of_talks() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 5), min_size=1, max_size=6)


@given(lengths_of_talks())
def test_dialogues_side_by_side_come_to_what_each_comes_to_alone(lengths: list[int]) -> None:
    together = Model()
    talks = [talk(f"talk {place}", length) for place, length in enumerate(lengths)]
    found = asyncio.run(hold(together, talks))
    alone = [asyncio.run(hold(Model(), [talk(f"talk {place}", length)]))[0] for place, length in enumerate(lengths)]
    assert found == alone
    assert len(together.asked) == sum(lengths)


@given(lengths_of_talks(), st.lists(st.integers(0, 12), max_size=5))
def test_what_died_again_and_again_asks_nothing_twice(lengths: list[int], deaths: list[int]) -> None:
    """However often the model dies, the end is the same, and each answer was paid for once."""

    def talks() -> list[Dialogue[list[str]]]:
        return [talk(f"talk {place}", length) for place, length in enumerate(lengths)]

    expected = asyncio.run(hold(Model(), talks()))
    asked: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        for dies_after in [*deaths, None]:
            model = Model(dies_after)
            with KeptAnswers(Path(folder) / "answers") as answers:
                try:
                    found = asyncio.run(hold(answers.asking(model), talks()))
                except EngineDeadError:
                    found = []
            asked.update(model.asked)
            if found:
                break
    assert found == expected
    assert set(asked.values()) == {1}


def test_an_error_is_asked_about_again_and_answers_are_forgotten_on_demand(tmp_path: Path) -> None:
    requests = [ask_for("a", "one"), ask_for("b", "two")]

    async def fail_first(requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        error = ItemError(requests[0].request_id, ItemErrorKind.TRANSIENT, message="no")
        return [error, *await Model()(requests[1:])]

    first, second, third = fail_first, Model(), Model()
    for model in (first, second):
        with KeptAnswers(tmp_path / "answers") as answers:
            results = asyncio.run(answers.asking(model)(requests))
    assert [getattr(result, "text", None) for result in results] == ["a", "b"]
    assert second.asked == ["a"]
    with KeptAnswers(tmp_path / "answers") as answers:
        answers.forget()
    assert not (tmp_path / "answers").exists()
    with KeptAnswers(tmp_path / "answers") as answers:
        asyncio.run(answers.asking(third)(requests))
    assert third.asked == ["a", "b"]


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"seed": 1}, {"max_tokens": 9}])
def test_another_question_is_another_question(tmp_path: Path, change: dict[str, float]) -> None:
    base = ask_for("a", "one")
    other = GenerationRequest(
        "one",
        task=base.task,
        messages=base.messages,
        answer=base.answer,
        sampling=SamplingParams(**{"max_tokens": 8, **change}),  # type: ignore[arg-type]
        inputs=base.inputs,
    )
    model = Model()
    with KeptAnswers(tmp_path / "answers") as answers:
        asking = answers.asking(model)
        asyncio.run(asking([base]))
        asyncio.run(asking([other]))
        asyncio.run(asking([base]))
    assert model.asked == ["a", "a"]


def test_results_come_in_the_order_of_the_requests_and_none_is_missing() -> None:
    engine = ScriptedEngine(ScriptedOptions(latency_s=0.001))
    requests = [ask_for(str(number), f"request {number}") for number in range(200)]
    results = asyncio.run(Answering().collect(engine, requests))
    assert [result.request_id for result in results] == [request.request_id for request in requests]

    class Forgetful(ScriptedEngine):
        async def generate(self, requests):  # type: ignore[no-untyped-def, override]
            async for result in super().generate(requests):
                if result.request_id != "request 7":
                    yield result

    with pytest.raises(EngineError, match="without answering request 7"):
        asyncio.run(Answering().collect(Forgetful(ScriptedOptions()), requests))
