"""An engine without a model: answers that satisfy each request's constraint, derived from its input.

For dry runs and tests of everything around a model. The same request always gets the same answer,
whatever came before it. `--engine_options` scripts delays and failures:

    latency_s     seconds that each answer takes
    fail          ids whose requests fail as items
    invalid       ids whose answers ignore the constraint
    die_on        ids that kill the engine
    hang_on       ids that never get an answer
    freeze_on     ids at which the engine stops answering, whatever it has been asked
    refuse        share of the pictures, in [0, 1], that it refuses, told by their pixels alone
    misquote      share of the quotes, in [0, 1], that stand nowhere, whatever else is asked
    by_label      share of the images, in [0, 1], whose cluster follows from the first word of their label
    salt          any text: with another, every answer is another
    context       tokens of prompt and answer, of four letters each; a longer prompt is refused
    window        requests in flight
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictc.config import ModelSpec
from ictc.engines.base import (
    Answer,
    ChoiceAnswer,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
    Task,
    generate_in_window,
)
from ictc.errors import ConfigError, EngineDeadError

WORDS = """
amber autumn bright calm candid cedar clever copper coral curious daily distant early eager festive gentle golden honest
hidden humble indigo ivory jolly keen lively loyal lunar mellow misty modest noble open patient plain proud quick quiet
rapid river rustic sacred silent silver simple solar steady stone sunny tender timber urban vivid
""".split()  # noqa: SIM905 - a list literal would be a page long


class ScriptedOptions(BaseModel):
    """What `--engine_options` may say."""

    model_config = ConfigDict(extra="forbid")

    latency_s: float = Field(0.0, ge=0)
    window: int = Field(64, ge=1)
    fail: frozenset[str] = frozenset()
    invalid: frozenset[str] = frozenset()
    die_on: frozenset[str] = frozenset()
    hang_on: frozenset[str] = frozenset()
    freeze_on: frozenset[str] = frozenset()
    refuse: float = Field(0.0, ge=0, le=1)
    misquote: float = Field(0.0, ge=0, le=1)
    by_label: float = Field(0.0, ge=0, le=1)
    salt: str = ""
    context: int | None = Field(None, ge=1)


async def load_scripted_engine(spec: ModelSpec) -> ScriptedEngine:
    """Return the engine that `spec.options` script.

    Raises:
        ConfigError: an option is unknown, of the wrong kind or out of range.
    """
    try:
        return ScriptedEngine(ScriptedOptions(**spec.options))
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(ScriptedOptions.model_fields)
        raise ConfigError(
            f"--engine_options: {'.'.join(map(str, first['loc']))}: {first['msg']}; the scripted engine knows {known}"
        ) from None


class ScriptedEngine:
    """Answers from a script."""

    def __init__(self, options: ScriptedOptions) -> None:
        self._options = options
        self._is_frozen = False

    @property
    def window(self) -> int:
        return self._options.window

    def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        return generate_in_window(requests, self._answer, self.window)

    async def close(self) -> None:
        """Nothing to release."""

    async def _answer(self, request: GenerationRequest) -> GenerationResult:
        options, request_id = self._options, request.request_id
        if request_id in options.die_on:
            raise EngineDeadError(f"scripted: the engine died on {request_id!r}")
        self._is_frozen |= request_id in options.freeze_on
        if options.latency_s:
            await asyncio.sleep(options.latency_s)
        if self._is_frozen or request_id in options.hang_on:
            await asyncio.Event().wait()
        if request_id in options.fail:
            return ItemError(request_id, ItemErrorKind.REFUSED, message="scripted failure")
        if _refuses(request, options.refuse):
            return ItemError(request_id, ItemErrorKind.REFUSED, message="scripted refusal")
        prompt_tokens = count_tokens(request)
        if options.context is not None and prompt_tokens > (room := options.context - request.min_answer_tokens):
            return _too_long(request_id, prompt_tokens=prompt_tokens, room=room)
        text, scores = ("scripted nonsense", None) if request_id in options.invalid else self._say(request)
        return Answer(
            request_id, text=text, prompt_tokens=prompt_tokens, completion_tokens=len(text) // 4 + 1, scores=scores
        )

    def _say(self, request: GenerationRequest) -> tuple[str, Mapping[str, float] | None]:
        """Return the answer that the script has for a request, and scores for a closed choice."""
        if request.task == Task.ASSIGN and isinstance(request.answer, JsonAnswer):
            return orjson.dumps({"clusters": fits_for(request, self._options.salt)}).decode(), None
        if request.task == Task.ASSIGN and _follows_label(request, self._options.by_label):
            return choose_by_label(request, self._options.salt), None
        if request.task != Task.EVIDENCE:
            return answer_for(request, self._options.salt)
        random = Random(f"{self._options.salt}{orjson.dumps(request.inputs, option=orjson.OPT_SORT_KEYS)!r}")
        if random.random() < self._options.misquote:
            return orjson.dumps({"quote": "words that stand nowhere"}).decode(), None
        return orjson.dumps({"quote": quote_from(request.inputs, random)}).decode(), None


def fits_for(request: GenerationRequest, salt: str = "") -> list[dict[str, Any]]:
    """Return some of the clusters with a score each, most often one or two; sometimes none, where that is allowed."""
    assert isinstance(request.answer, JsonAnswer)
    random, letters = Random(f"{salt}{_fingerprint(request)}"), list(request.inputs["options"])
    least = request.answer.schema["properties"]["clusters"].get("minItems", 0)
    number = max(least, min(len(letters), random.choice((0, 1, 1, 1, 2, 2, 3))))
    return [{"cluster": one, "score": random.randint(1, 5)} for one in random.sample(letters, number)]


def _follows_label(request: GenerationRequest, share: float) -> bool:
    return Random(f"label{_fingerprint(request)}").random() < share


def choose_by_label(request: GenerationRequest, salt: str = "") -> str:
    """Return the letters of the cluster that all images get whose label begins with the same word."""
    first = str(request.inputs["label"]).partition(" ")[0]
    options = {option["name"]: letters for letters, option in request.inputs["options"].items()}
    chosen: str = options[Random(f"{salt}{first}").choice(sorted(options))]
    return chosen


def quote_from(inputs: Mapping[str, Any], random: Random) -> str:
    """Return a few words that stand side by side in what is known of an image, "" if there are none."""
    fields = [words for name in ("text", "summary", "category") if (words := inputs[name].split())]
    words = random.choice(fields) if fields else []
    start = random.randrange(len(words)) if words else 0
    return " ".join(words[start : start + 4])


def count_tokens(request: GenerationRequest) -> int:
    """Return how many tokens a prompt is taken for."""
    image_tokens = request.image.num_tokens if request.image else 0
    return sum(len(message.text) for message in request.messages) // 4 + image_tokens


def _too_long(request_id: str, *, prompt_tokens: int, room: int) -> ItemError:
    message = f"a prompt of {prompt_tokens} tokens where {room} fit"
    share = max(room, 0) / prompt_tokens
    return ItemError(request_id, ItemErrorKind.PROMPT_TOO_LONG, message=message, share_that_fits=share)


def _refuses(request: GenerationRequest, share: float) -> bool:
    """Whether the engine refuses a picture, which depends on nothing but its pixels."""
    return request.image is not None and zlib.crc32(request.image.rgb) < share * 2**32


def answer_for(request: GenerationRequest, salt: str = "") -> tuple[str, Mapping[str, float] | None]:
    """Return an answer that satisfies the request's constraint, and scores for a closed choice."""
    random = Random(f"{salt}{_fingerprint(request)}" if salt else _fingerprint(request))
    if isinstance(request.answer, JsonAnswer):
        return orjson.dumps(sample_json(request.answer.schema, random)).decode(), None
    if isinstance(request.answer, ChoiceAnswer):
        weights = [random.random() for _ in request.answer.options]
        scores = {option: weight / sum(weights) for option, weight in zip(request.answer.options, weights, strict=True)}
        return max(scores, key=scores.__getitem__), scores
    return " ".join(random.choices(WORDS, k=8)), None


def sample_json(schema: Mapping[str, Any], random: Random) -> Any:
    """Return a value that satisfies `schema`: objects, arrays, strings of bounded length, enums, booleans, numbers.

    Raises:
        ValueError: the schema uses something else.
    """
    return _sample(schema, schema.get("$defs", {}), random)


def _sample(schema: Mapping[str, Any], definitions: Mapping[str, Any], random: Random) -> Any:
    sample = partial(_sample, definitions=definitions, random=random)
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema or "const" in schema:
        return random.choice(schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "object":
            return {name: sample(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema["items"]) for _ in range(schema.get("minItems", 1))]
        case "string":
            return _sample_string(schema, random)
        case "boolean":
            return random.random() < 0.05
        case "integer" | "number":
            return random.randint(int(schema.get("minimum", 0)), int(schema.get("maximum", 100)))
    raise ValueError(f"the scripted engine cannot answer the schema {dict(schema)}")


def _sample_string(schema: Mapping[str, Any], random: Random) -> str:
    """Return a few words: two, some much more frequent than others, where a pattern asks for a label; else five."""
    if "pattern" in schema:
        return " ".join(WORDS[int(len(WORDS) * random.random() ** 3)] for _ in range(2))
    text = " ".join(random.sample(WORDS, k=5)).ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength", len(text))].rstrip()


def _fingerprint(request: GenerationRequest) -> int:
    """Return a seed from what the answer may depend on: task, inputs, pixels, sampling; not from the id."""
    pixels = zlib.crc32(request.image.rgb) if request.image else 0
    content = [str(request.task), request.inputs, request.sampling.seed, request.sampling.temperature, pixels]
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return int.from_bytes(blake2b(orjson.dumps(content, option=options), digest_size=8).digest(), "big")
