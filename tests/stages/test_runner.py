"""The loop's window: bounded in requests and in bytes of pixels, never empty for want of either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from ictc.engines.base import (
    Answer,
    Engine,
    GenerationRequest,
    GenerationResult,
    Message,
    SamplingParams,
    Task,
    TextAnswer,
    generate_in_window,
)
from ictc.engines.replicas import Replicas
from ictc.errors import EngineDeadError
from ictc.records import DecodedImage
from ictc.stages.lane import Lane
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.runner import Limits, MapRunner
from ictc.stages.sharing import NoLeaders
from ictc.stages.suspects import Suspects
from ictc.stages.work import WorkItem
from ictc.storage.journal import Journal

NUM_IMAGES = 40
IMAGE_BYTES = 64 * 64 * 3


@dataclass(frozen=True)
class Pictures:
    """A stage that asks about images of one size; an item is the id of its image."""

    name: str = "caption"
    reads_images: bool = True

    def detached(self) -> Pictures:
        return self

    def iter_items(self) -> Iterator[WorkItem[str]]:
        for number in range(NUM_IMAGES):
            yield WorkItem(f"image_{number}", input_digest=f"{number:016x}", load=partial(str, f"image_{number}"))

    async def find_source(self, item: str) -> None:
        """All differ."""

    async def build_request(self, item: str, attempt: Attempt) -> GenerationRequest:
        image = DecodedImage(width=64, height=64, rgb=bytes(IMAGE_BYTES))
        return GenerationRequest(
            item,
            task=Task.CAPTION,
            messages=(Message("user", "?"),),
            answer=TextAnswer(),
            sampling=SamplingParams(8),
            image=image,
        )

    def parse_answer(self, item: str, answer: Answer) -> Outcome:
        return Outcome(Status.DONE, {"said": answer.text})


@dataclass
class CountingEngine:
    """Takes a moment for each answer, and notes how many requests it had at a time."""

    window: int = 64
    in_flight: int = 0
    at_a_time: list[int] = field(default_factory=list)

    def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        return generate_in_window(requests, self._answer, self.window)

    async def close(self) -> None:
        """Nothing to release."""

    async def _answer(self, request: GenerationRequest) -> GenerationResult:
        self.in_flight += 1
        self.at_a_time.append(self.in_flight)
        await asyncio.sleep(0.01)
        self.in_flight -= 1
        return Answer(request.request_id, text="something")


class Silence:
    """Progress that nobody watches."""

    def advance(self, status: Status, tokens: int | None) -> None:
        """Tell nobody."""


async def load(engine: Engine) -> Replicas:
    """Return engines that are one, whenever it is loaded."""

    async def load_engine() -> Engine:
        return engine

    engines = Replicas([load_engine])
    await engines.load()
    return engines


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (Limits(window=7), 7),
        (Limits(window=7, prefetch=4, lookahead=9), 7),
        (Limits(window=64, image_bytes=5 * IMAGE_BYTES), 5),
        (Limits(window=64, prefetch=4, image_bytes=5 * IMAGE_BYTES - 1), 5),
        (Limits(window=64, image_bytes=1), 1),
    ],
)
def test_the_window_is_full_and_no_fuller(tmp_path: Path, limits: Limits, most: int) -> None:
    engine = CountingEngine()
    with (
        Journal(tmp_path / "journal") as journal,
        closing(Suspects(tmp_path / "in_flight.log")) as suspects,
    ):
        lane = Lane(stage=Pictures(), journal=journal, suspects=suspects, progress=Silence(), leaders=NoLeaders())

        async def run() -> None:
            await MapRunner([lane], asyncio.Event(), limits).run(await load(engine))

        asyncio.run(run())
        assert len(journal) == NUM_IMAGES
    assert max(engine.at_a_time) == most


@dataclass
class PausedEngine(CountingEngine):
    """Gives nothing for a while; says that this is on purpose, or doesn't."""

    pause_s: float = 0.5
    is_waiting: bool = True

    async def _answer(self, request: GenerationRequest) -> GenerationResult:
        await asyncio.sleep(self.pause_s)
        return Answer(request.request_id, text="something")


@pytest.mark.parametrize("is_waiting", [True, False])
def test_an_engine_that_waits_on_purpose_is_not_dead(tmp_path: Path, is_waiting: bool) -> None:
    with (
        Journal(tmp_path / "journal") as journal,
        closing(Suspects(tmp_path / "in_flight.log")) as suspects,
    ):
        lane = Lane(stage=Pictures(), journal=journal, suspects=suspects, progress=Silence(), leaders=NoLeaders())

        async def run() -> None:
            await runner.run(await load(PausedEngine(is_waiting=is_waiting)))

        runner = MapRunner([lane], asyncio.Event(), Limits(window=NUM_IMAGES, hang_timeout_s=0.1))
        with nullcontext() if is_waiting else pytest.raises(EngineDeadError):
            asyncio.run(run())
        assert len(journal) == (NUM_IMAGES if is_waiting else 0)
