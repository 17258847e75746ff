"""The one seam between the stages and the models: requests go in, results come out.

An engine knows how to answer a `GenerationRequest`. It knows nothing of stages, files or resume.
Errors are of two kinds: an `ItemError` is the outcome of one request and the run goes on; an
`EngineError` is raised and stops the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from ictc.records import DecodedImage


class Task(StrEnum):
    """What the package's own requests are for: the names of their steps, but where a step asks for several things."""

    CAPTION = "caption"
    LABEL = "label"
    SYNTHESIZE = "synthesize"
    NAME = "name"
    ASSIGN = "assign"
    EVIDENCE = "evidence"
    SUGGEST = "suggest"
    INTRUDER = "intruder"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation, text only: the image of a request comes first in its first user turn."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample; `temperature` 0 is greedy."""

    max_tokens: int
    _: KW_ONLY
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 42


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """The answer must be one JSON document that satisfies `schema` (JSON Schema).

    Its upper bounds on lengths are there to end an answer in time. Not every engine keeps to a schema, and who reads an
    answer makes right what does not change what it says (`ictc.answers`).
    """

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """The answer must be one of `options`, letter by letter."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """The answer is free text."""


AnswerFormat = JsonAnswer | ChoiceAnswer | TextAnswer


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One question to a model.

    Attributes:
        request_id: unique among the requests in flight; for the map stages it is the image id.
        task: the name of the step that it is for, for engines that read no prompts.
        messages: the rendered prompt.
        answer: what the answer must be.
        sampling: how to sample.
        image: at most one.
        min_answer_tokens: what the answer takes at least; a prompt that leaves fewer in the context is too long.
        inputs: what the prompt was rendered from, for engines that do not read prompts:
            caption: `criterion`; label: `criterion, category, brand, text, summary, analysis`;
            synthesize: `criterion, num_clusters, labels` (a list of `{label, count}`, most frequent first);
            name: `criterion, labels` (of a group, as above), `examples` (captions), `others` (labels of each of the
            other groups) and `taken` (names of other groups);
            assign: as label, with `label` ("" if there is none) and `options`
            (from each option of the `ChoiceAnswer` to `{cluster_id, name, description}` and its rules if it has any;
            `cluster_id` is None for the option that no cluster fits); of a `JsonAnswer`, which is about all clusters
            that fit, `options` are by the letters that it may name;
            evidence: as label, with `cluster` (name, description, and its rules `include` and `exclude` if it has any);
            intruder: `criterion` and `options` (from each letter of the `ChoiceAnswer` to what label is given of an
            image);
            suggest: `images` (what label is given of each, but the criterion), `known` (criteria that there are) and
            `num_criteria` (most that are wanted).
    """

    request_id: str
    _: KW_ONLY
    task: str
    messages: tuple[Message, ...]
    answer: AnswerFormat
    sampling: SamplingParams
    image: DecodedImage | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    min_answer_tokens: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    Attributes:
        text: without any `<think>` section; for a `ChoiceAnswer` exactly one of its options.
        prompt_tokens, completion_tokens: None where the engine doesn't tell.
        finish_reason: "stop", or "length" if it was cut off at `max_tokens`.
        scores: for a `ChoiceAnswer`, from each option to its probability (they sum to 1), where the
            engine can tell.
    """

    request_id: str
    _: KW_ONLY
    text: str
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    finish_reason: Literal["stop", "length"] = "stop"
    scores: Mapping[str, float] | None = None


class ItemErrorKind(StrEnum):
    """Why one request has no answer; it decides what is worth trying again."""

    PROMPT_TOO_LONG = "prompt too long"
    REFUSED = "refused by the engine"
    UNCONSTRAINED = "answer ignored the constraint"
    TRANSIENT = "engine failed on this item"


@dataclass(frozen=True, slots=True)
class ItemError:
    """The failure of one request; the others are not affected.

    Attributes:
        share_that_fits: of a prompt that is too long, at most how much would fit, where the engine can tell.
    """

    request_id: str
    kind: ItemErrorKind
    _: KW_ONLY
    message: str
    raw_text: str = ""
    share_that_fits: float | None = None


GenerationResult = Answer | ItemError


class Engine(Protocol):
    """A loaded model that answers requests.

    `generate` pulls requests as it has room for them, never more than `window` ahead of its
    results, and yields exactly one result for each, in order of completion. `requests` may wait for
    results before it yields more, so an engine must not wait for a full batch.

    Raises:
        EngineError: the engine as a whole cannot go on.
    """

    @property
    def window(self) -> int:
        """How many requests may be in flight at a time."""
        ...

    def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]: ...

    async def close(self) -> None:
        """Release the model, its memory and its processes; may be called twice."""
        ...


class Engines(Protocol):
    """Engines of one model side by side: each is loaded, dies and is loaded anew by itself."""

    def __len__(self) -> int:
        """Return how many there are, with those that are not loaded."""
        ...

    def __getitem__(self, place: int) -> Engine | None:
        """Return one of them, None while it is not loaded."""
        ...

    async def drop(self, place: int) -> None:
        """Unload one that is dead."""
        ...

    async def reload(self, place: int) -> Engine:
        """Load one that is not loaded.

        Raises:
            EngineLoadError: with the cause and a remedy.
        """
        ...


def is_waiting(engine: Engine) -> bool:
    """Whether an engine gives no results on purpose, as its servers asked it to wait: it is not dead then.

    An engine that waits for others says so by an attribute of this name; one that computes itself has none.
    """
    return bool(getattr(engine, "is_waiting", False))


async def generate_in_window(
    requests: AsyncIterable[GenerationRequest],
    answer: Callable[[GenerationRequest], Awaitable[GenerationResult]],
    window: int,
) -> AsyncGenerator[GenerationResult, None]:
    """Run `answer` on up to `window` requests at a time and yield the results as they complete.

    An exception of `answer` or of `requests` cancels what is in flight and is raised here.
    """
    slots = asyncio.Semaphore(window)
    results: asyncio.Queue[GenerationResult | BaseException | None] = asyncio.Queue()
    in_flight: set[asyncio.Task[None]] = set()

    async def run_one(request: GenerationRequest) -> None:
        try:
            results.put_nowait(await answer(request))
        except Exception as error:
            results.put_nowait(error)

    def settle(task: asyncio.Task[None]) -> None:
        in_flight.discard(task)
        slots.release()

    async def feed() -> None:
        try:
            await slots.acquire()
            async for request in requests:
                task = asyncio.create_task(run_one(request))
                in_flight.add(task)
                task.add_done_callback(settle)
                await slots.acquire()
            await asyncio.gather(*in_flight)
            results.put_nowait(None)
        except Exception as error:
            results.put_nowait(error)

    feeder = asyncio.create_task(feed())
    try:
        while (result := await results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        tasks = [feeder, *in_flight]
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
