"""Scripted engines side by side over a stage of texts: which of them dies, freezes or does not start, and when."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ictc.engines.base import Answer, GenerationRequest, GenerationResult, Message, SamplingParams, Task, TextAnswer
from ictc.engines.replicas import Replicas
from ictc.engines.scripted import ScriptedEngine, ScriptedOptions
from ictc.errors import EngineDeadError, EngineLoadError, InvalidAnswer
from ictc.records import Wait
from ictc.stages.lane import Lane
from ictc.stages.outcome import Outcome, Status, from_record
from ictc.stages.retry import Attempt
from ictc.stages.runner import Limits, MapRunner
from ictc.stages.sharing import NoLeaders
from ictc.stages.suspects import Suspects
from ictc.stages.work import WorkItem
from ictc.storage.journal import Journal


@dataclass(frozen=True)
class Script:
    """How an engine behaves from one of its loads to the next.

    Attributes:
        starts: whether it loads at all.
        dies_after: answers after which it dies of itself, None if it doesn't.
        freezes_after: answers after which it gives no more, None if it goes on.
        is_stubborn: whether it can't even be told to stop, once it is frozen.
    """

    window: int = 4
    latency_s: float = 0.001
    die_on: frozenset[str] = frozenset()
    freeze_on: frozenset[str] = frozenset()
    starts: bool = True
    dies_after: float | None = None
    freezes_after: float | None = None
    is_stubborn: bool = False


class FailingEngine(ScriptedEngine):
    """A scripted engine that also fails of itself."""

    def __init__(self, script: Script) -> None:
        super().__init__(
            ScriptedOptions(
                window=script.window, latency_s=script.latency_s, die_on=script.die_on, freeze_on=script.freeze_on
            )
        )
        self._script = script
        self._num_asked = 0

    async def _answer(self, request: GenerationRequest) -> GenerationResult:
        self._num_asked += 1
        if self._script.dies_after is not None and self._num_asked > self._script.dies_after:
            raise EngineDeadError("it died of itself")
        if self._script.freezes_after is not None and self._num_asked > self._script.freezes_after:
            await freeze(is_stubborn=self._script.is_stubborn)
        return await super()._answer(request)


async def freeze(*, is_stubborn: bool) -> None:
    """Wait for ever, or a minute more when told to stop."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if is_stubborn:
            await asyncio.sleep(60.0)
        raise


def script_load(scripts: Sequence[Script], loads: Counter[int], place: int) -> Callable[[], Awaitable[ScriptedEngine]]:
    """Return what loads an engine as one script after the other says, the last one again and again."""

    async def load() -> ScriptedEngine:
        script = scripts[min(loads[place], len(scripts) - 1)]
        loads[place] += 1
        if not script.starts:
            raise EngineLoadError("no memory")
        return FailingEngine(script)

    return load


@dataclass
class Texts:
    """A stage that asks about numbered texts; an item is the id of its image.

    Attributes:
        retried: ids whose first answer is not valid.
        rebuild_s: seconds that their second request takes to build.
    """

    num_images: int
    retried: frozenset[str] = frozenset()
    rebuild_s: float = 0.0
    name: str = "label"
    reads_images: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    def detached(self) -> Texts:
        return self

    def iter_items(self) -> Iterator[WorkItem[str]]:
        for number in range(self.num_images):
            yield WorkItem(f"i{number}", input_digest=f"{number:016x}", load=partial(str, f"i{number}"))

    async def find_source(self, item: str) -> None:
        """All differ."""

    async def build_request(self, item: str, attempt: Attempt) -> GenerationRequest:
        if attempt.number:
            await asyncio.sleep(self.rebuild_s)
        self.asked[item] += 1
        return GenerationRequest(
            item, task=Task.LABEL, messages=(Message("user", item),), answer=TextAnswer(), sampling=SamplingParams(8)
        )

    def parse_answer(self, item: str, answer: Answer) -> Outcome:
        if item in self.retried and self.asked[item] == 1:
            raise InvalidAnswer("not this one")
        return Outcome(Status.DONE, {"said": answer.text})


@dataclass
class Report:
    """What a run over engines side by side came to.

    Attributes:
        outcomes: by image id.
        loads: how often each engine was loaded, or was to be.
        times: when each image was recorded, on the monotonic clock in seconds.
        left: what stayed in the file of suspects.
        waited_s: how long the engines waited for what.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    loads: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    left: str = ""
    waited_s: dict[Wait, float] = field(default_factory=dict)

    def advance(self, status: Status, tokens: int | None) -> None:
        """Be told of an image that has left the stage."""
        self.times.append(time.monotonic())

    def ids(self, status: Status) -> set[str]:
        """Return the images that ended so."""
        return {image_id for image_id, outcome in self.outcomes.items() if outcome.status is status}


def run_side_by_side(
    directory: Path,
    stage: Texts,
    engines: Sequence[Sequence[Script]],
    *,
    hang_timeout_s: float = 600.0,
    window: int | None = None,
) -> Report:
    """Run a stage over engines, each of which follows its scripts, one for each load.

    Args:
        window: most images in flight, of all engines together.

    Raises:
        EngineError: none of them can go on.
    """
    report = Report()
    suspects_path = directory / "in_flight.log"

    async def run(lane: Lane[str]) -> None:
        replicas = Replicas([script_load(scripts, report.loads, place) for place, scripts in enumerate(engines)])
        await replicas.load()
        limits = Limits(window=window, hang_timeout_s=hang_timeout_s)
        try:
            await MapRunner([lane], asyncio.Event(), limits, report.notes.append).run(replicas)
        finally:
            await replicas.close()

    with Journal(directory / "journal") as journal, closing(Suspects(suspects_path)) as suspects:
        lane = Lane(stage=stage, journal=journal, suspects=suspects, progress=report, leaders=NoLeaders())
        asyncio.run(run(lane))
        report.waited_s = lane.times.seconds()
        for image_id in journal:
            record = journal.get(image_id)
            assert record is not None
            report.outcomes[image_id] = from_record(record)
    report.left = suspects_path.read_text() if suspects_path.exists() else ""
    return report
