"""Step 2b against engines with little room: the list is as long as fits, and all that is said is about that list."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from ictc.engines.base import Answer, GenerationRequest, GenerationResult, ItemError, ItemErrorKind
from ictc.engines.scripted import ScriptedEngine, ScriptedOptions, count_tokens
from ictc.errors import StageError
from ictc.stages.asking import Answering
from ictc.steps.histogram import build_histogram
from ictc.steps.synthesis.proposing import Aim
from ictc.steps.synthesize import Synthesis, SynthesizeTask
from ictc.tracks import load_track

LABELS = [f"label number {number}" for number in range(400)]
COUNTS = {label: 1 + len(LABELS) // (place + 1) for place, label in enumerate(LABELS)}


class SilentEngine(ScriptedEngine):
    """Refuses what is too long without a word about how much of it would fit, as servers do."""

    def __init__(self, context: int) -> None:
        super().__init__(ScriptedOptions(context=context))
        self.asked: list[GenerationRequest] = []

    async def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        async for result in super().generate(self._watch(requests)):
            yield replace(result, share_that_fits=None) if isinstance(result, ItemError) else result

    async def _watch(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationRequest, None]:
        async for request in requests:
            self.asked.append(request)
            yield request


class TalkingEngine(SilentEngine):
    """Says how much would fit, as an engine with a tokenizer does."""

    async def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        async for result in ScriptedEngine.generate(self, self._watch(requests)):
            yield result


async def collect(engine: ScriptedEngine, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
    return await Answering().collect(engine, requests)


def synthesize(engine: ScriptedEngine, num_clusters: int = 5) -> Synthesis:
    histogram = build_histogram(COUNTS).head(400)
    stage = SynthesizeTask(
        aim=Aim(track=load_track("marketing"), criterion="Marketing Strategy", num_clusters=num_clusters, seed=1),
        labels=histogram,
        num_labels=400,
    )
    return asyncio.run(stage.run(partial(collect, engine)))


def listed(request: GenerationRequest) -> list[tuple[int, str]]:
    """Return the counts and labels that the prompt lists."""
    return [(int(count), label) for count, label in re.findall(r"^(\d+) × (.+)$", request.messages[-1].text, re.M)]


@pytest.mark.parametrize("kind", [SilentEngine, TalkingEngine])
def test_a_prompt_speaks_of_the_labels_that_are_in_it(kind: type[SilentEngine]) -> None:
    engine = kind(context=1500)
    made = synthesize(engine)
    for request in engine.asked:
        images = sum(count for count, _ in listed(request))
        assert f"They stand for {images} of {sum(COUNTS.values())} images" in request.messages[-1].text
    assert made.num_labels == len(listed(engine.asked[-1])) < 400
    assert listed(engine.asked[-1]) == listed(engine.asked[0])[: made.num_labels]


def test_an_engine_that_counts_tokens_reads_as_much_as_fits() -> None:
    engine = TalkingEngine(context=1500)
    synthesize(engine)
    last = engine.asked[-1]
    assert 1500 - 40 < count_tokens(last) + last.min_answer_tokens <= 1500
    assert len(engine.asked) < 10


def test_room_for_the_answer_is_kept() -> None:
    few, many = TalkingEngine(context=1500), TalkingEngine(context=1500)
    assert synthesize(few, 3).num_labels > synthesize(many, 15).num_labels


@pytest.mark.parametrize("kind", [SilentEngine, TalkingEngine])
def test_a_context_without_room_for_k_labels_is_told_with_the_remedy(kind: type[SilentEngine]) -> None:
    engine = kind(context=300)
    with pytest.raises(
        StageError, match=r"prompt too long: .*longer context \(--max_model_len.*or lower --num_clusters"
    ):
        synthesize(engine)
    assert len(listed(engine.asked[-1])) == 5


def test_enough_room_reads_everything_at_once() -> None:
    engine = SilentEngine(context=100_000)
    assert synthesize(engine).num_labels is None  # all of them
    assert len(engine.asked) == 1


def test_an_answer_that_the_context_cuts_off_gets_a_shorter_list() -> None:
    class Tight(SilentEngine):
        async def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
            async for result in super().generate(requests):
                if isinstance(result, Answer) and len(listed(self.asked[-1])) > 250:
                    yield replace(result, text=result.text[:50], completion_tokens=12, finish_reason="length")
                else:
                    yield result

    engine = Tight(context=100_000)
    assert synthesize(engine).num_labels == 225
    assert [len(listed(request)) for request in engine.asked] == [400, 300, 225]


def test_other_failures_are_no_matter_of_length() -> None:
    class Refusing(SilentEngine):
        async def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
            async for request in self._watch(requests):
                yield ItemError(request.request_id, ItemErrorKind.REFUSED, message="no")

    engine = Refusing(context=1)
    with pytest.raises(StageError, match="try another --num_clusters"):
        synthesize(engine)
    assert len(engine.asked) == 1
