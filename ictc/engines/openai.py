"""Answer requests by any OpenAI-compatible server, or several: vLLM, SGLang, llama.cpp, Ollama, hosted ones.

Knows the servers: how busy each is, which fields it refuses, and whether a failure is its own or the item's. Knows
neither prompts nor answers (`chat_completions` does). Trying again with back-off is the client library's work;
this module takes what one server could not answer to another, and decides when to give up.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import math
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictc.config import ModelSpec
from ictc.engines.base import (
    Engine,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    generate_in_window,
)
from ictc.engines.chat_completions import build_fields, build_messages, encode_image, read_completion
from ictc.errors import ConfigError, EngineLoadError, EngineUnavailableError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

logger = logging.getLogger(__name__)

NO_API_KEY = "none"
"""The client library insists on a key; local servers ignore it."""
HEALTH_TIMEOUT_S = 10.0
RETRYABLE_STATUSES = (408, 409, 429)
"""What the client library repeats, beside 5xx."""
AVOID_S = 15.0
"""How long a server that failed gets no requests while others answer; after that, one at a time until it answers."""
MAX_CONSECUTIVE_FAILURES = 10
"""When every server has failed so many requests in a row, the next ones would fail as well."""

REFUSABLE_FIELDS = ("chat_template_kwargs", "top_logprobs", "logprobs", "seed", "temperature", "top_p", "max_tokens")
"""What servers are known to refuse; a request goes without it, or under its other name."""
OTHER_NAMES = {"max_tokens": "max_completion_tokens"}

_UNSUPPORTED = re.compile(
    r"un(supported|known|recognized|expected)|\bnot\b.{0,40}\b(permitted|allowed|support)|max(imum)? allowed", re.I
)
_TOO_LONG = re.compile(
    r"context.(length|size|window)|(prompt|input|request)\b.{0,60}\btoo (long|large)|"
    r"tokens?\b.{0,60}\bexceed|maximum (input|prompt|model) length",
    re.IGNORECASE,
)


class OpenAIOptions(BaseModel):
    """What `--engine_options` may hold for this engine.

    Attributes:
        api_key_env: environment variable that holds the API key.
        timeout_s: for one try of one request.
        max_retries: tries after the first, on 429, 5xx, time-outs and broken connections.
        window: requests in flight at each server.
        extra_body: further fields of every request, handed on as they are.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    max_retries: Annotated[int, Field(ge=0)] = 4
    window: Annotated[int, Field(ge=1)] = 64
    extra_body: dict[str, Any] = {}


def parse_options(options: Mapping[str, Any]) -> OpenAIOptions:
    """Check the options of this engine.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    known = list(OpenAIOptions.model_fields)
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"--engine_options: engine openai has no option {name!r}, the nearest is {nearest!r}; "
                f"it takes {', '.join(known)}, and any field of a request inside extra_body"
            )
    try:
        return OpenAIOptions.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--engine_options: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


async def load_openai_engine(spec: ModelSpec) -> Engine:
    """Connect to the servers of `spec.base_urls` and check that each serves `spec.model`.

    Raises:
        ConfigError: no server is named, or `spec.options` are wrong.
        EngineLoadError: a server cannot be reached, refuses the key or does not serve the model.
    """
    if not spec.base_urls:
        raise ConfigError("--engine openai: --base_url names no server; give one such as http://localhost:8000/v1")
    options = parse_options(spec.options)
    engine = OpenAIEngine([_connect(url, spec.model, options) for url in spec.base_urls], options)
    try:
        await engine.check(spec)
    except BaseException:
        await engine.close()
        raise
    return engine


def _connect(url: str, model: str, options: OpenAIOptions) -> _Server:
    try:
        import jsonschema  # noqa: F401  (checks answers later; its absence must not end a run)
        from openai import AsyncOpenAI, Timeout
    except ImportError as error:
        raise EngineLoadError(f"--engine openai needs {error.name}: pip install 'ictc[openai]'") from None
    client = AsyncOpenAI(
        base_url=url,
        api_key=os.environ.get(options.api_key_env) or NO_API_KEY,
        timeout=Timeout(options.timeout_s, connect=min(options.timeout_s, HEALTH_TIMEOUT_S)),
        max_retries=options.max_retries,
    )
    return _Server(url, model, client)


@dataclass(slots=True, eq=False)
class _Server:
    """One server: how it is doing, and what it has shown not to understand.

    Attributes:
        failures: requests failed since the last one that it answered.
        failed_at: when the last of them failed, on the monotonic clock in seconds.
    """

    url: str
    model: str
    client: AsyncOpenAI
    refused_fields: set[str] = field(default_factory=set)
    in_flight: int = 0
    has_answered: bool = False
    failures: int = 0
    failed_at: float = -math.inf
    last_error: str = ""

    @property
    def is_avoided(self) -> bool:
        return self.failures > 0 and (self.in_flight > 0 or time.monotonic() - self.failed_at < AVOID_S)

    @property
    def is_failing(self) -> bool:
        return self.failures >= MAX_CONSECUTIVE_FAILURES

    def record_answer(self) -> None:
        self.has_answered, self.failures = True, 0

    def record_failure(self, reason: str) -> None:
        self.failures, self.failed_at, self.last_error = self.failures + 1, time.monotonic(), reason

    async def list_models(self) -> list[str]:
        """Return the ids of the models that it serves.

        Raises:
            OpenAIError: it does not answer, or refuses.
            ValueError: it answers something else.
        """
        client = self.client.with_options(timeout=HEALTH_TIMEOUT_S, max_retries=0)
        listing = await client.get("/models", cast_to=object)
        if not isinstance(listing, dict) or "data" not in listing:
            raise ValueError("no list of models at /models")
        return [str(model["id"]) for model in listing["data"] or ()]

    async def is_reachable(self) -> bool:
        from openai import APIConnectionError, OpenAIError

        try:
            await self.list_models()
        except APIConnectionError:
            return False
        except (OpenAIError, ValueError):
            return True
        return True

    async def complete(self, messages: list[dict[str, Any]], fields: Mapping[str, Any]) -> ChatCompletion:
        """Answer one request, without the fields that this server refuses.

        Raises:
            OpenAIError: it failed or refused, after all retries.
            ValueError: what it answers is no chat completion.
        """
        from openai import BadRequestError, UnprocessableEntityError

        while True:
            known = _without(fields, self.refused_fields)
            try:
                completion = await self.client.chat.completions.create(
                    model=self.model,
                    messages=cast("list[ChatCompletionMessageParam]", messages),
                    extra_body=known,
                )
            except (BadRequestError, UnprocessableEntityError) as error:
                refused = _refused_field(error, known)
                if refused is None:
                    raise
                if refused not in self.refused_fields:
                    logger.warning("%s refuses %r; going on without it: %s", self.url, refused, _reason(error))
                self.refused_fields.add(refused)
                continue
            choices = getattr(completion, "choices", None)
            if not choices or getattr(choices[0], "message", None) is None:
                raise ValueError("its answer is no chat completion")
            return completion


def _without(fields: Mapping[str, Any], refused: set[str]) -> dict[str, Any]:
    known = {name: value for name, value in fields.items() if name not in refused}
    renamed = {other: fields[name] for name, other in OTHER_NAMES.items() if name in refused and name in fields}
    return known | renamed


def _refused_field(error: APIStatusError, fields: Mapping[str, Any]) -> str | None:
    """Return which of the `fields` the server says that it doesn't take, if it says so."""
    reason = _reason(error)
    if _TOO_LONG.search(reason) or not _UNSUPPORTED.search(reason):
        return None
    named = (name for name in REFUSABLE_FIELDS if name in fields and re.search(rf"\b{name}\b", reason))
    return next(named, None)


def _reason(error: Exception) -> str:
    """Return in one line what went wrong; the client library leaves half of it in the body or the cause."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    words = (getattr(error, "status_code", ""), message or body or error, error.__cause__ or "")
    return " ".join(" ".join(map(str, words)).split())[:400]


class OpenAIEngine:
    """An `Engine` over one or more servers; each request goes to the one with the least to do."""

    def __init__(self, servers: Sequence[_Server], options: OpenAIOptions) -> None:
        self._servers = servers
        self._options = options

    @property
    def window(self) -> int:
        return self._options.window * len(self._servers)

    def generate(self, requests: AsyncIterable[GenerationRequest]) -> AsyncGenerator[GenerationResult, None]:
        return generate_in_window(requests, self._answer, self.window)

    async def close(self) -> None:
        for server in self._servers:
            await server.client.close()

    async def check(self, spec: ModelSpec) -> None:
        """Check that every server is there and serves `spec.model`.

        Raises:
            EngineLoadError: one is not, or does not.
        """
        for server in self._servers:
            await self._check_server(server, spec)

    async def _check_server(self, server: _Server, spec: ModelSpec) -> None:
        from openai import APIConnectionError, APIStatusError

        url = server.url
        try:
            served = await server.list_models()
        except APIConnectionError as error:
            raise EngineLoadError(f"cannot reach {url} ({_reason(error)}): start it, or correct --base_url") from None
        except ValueError as error:
            raise EngineLoadError(f"{url} does not speak the OpenAI protocol ({error}): correct --base_url") from None
        except APIStatusError as error:
            if error.status_code in (401, 403):
                key = self._options.api_key_env
                raise EngineLoadError(f"{url} refuses the API key ({_reason(error)}): set {key}") from None
            if error.status_code not in (404, 405, 501):
                raise EngineLoadError(f"{url} is not ready ({_reason(error)}): wait for it, or restart it") from None
            logger.warning("%s does not list its models; not checked that it serves %s", url, spec.model)
            return
        if spec.model not in served:
            flag = "--vlm_model" if spec.vision else "--llm_model"
            listed = ", ".join(served) or "nothing"
            raise EngineLoadError(f"{url} does not serve {spec.model!r} but {listed}: correct {flag} or --base_url")

    async def _answer(self, request: GenerationRequest) -> GenerationResult:
        image_url = None if request.image is None else await asyncio.to_thread(encode_image, request.image)
        messages = build_messages(request, image_url)
        fields = build_fields(request) | self._options.extra_body
        untried = list(self._servers)
        while untried:
            server = min(untried, key=lambda server: (server.is_avoided, server.in_flight))
            untried.remove(server)
            result = await self._ask(server, request, messages, fields)
            if result is not None:
                return result
        self._raise_if_failing()
        await self._raise_if_unreachable()
        return ItemError(request.request_id, ItemErrorKind.TRANSIENT, server.last_error)

    async def _ask(
        self,
        server: _Server,
        request: GenerationRequest,
        messages: list[dict[str, Any]],
        fields: Mapping[str, Any],
    ) -> GenerationResult | None:
        """Return what `server` makes of the request, or None if it failed."""
        from openai import APIConnectionError, APIStatusError

        server.in_flight += 1
        try:
            completion = await server.complete(messages, fields)
        except (APIConnectionError, ValueError) as error:
            server.record_failure(_reason(error))
            return None
        except APIStatusError as error:
            if error.status_code in RETRYABLE_STATUSES or error.status_code >= 500:
                server.record_failure(_reason(error))
                return None
            return self._judge_refusal(server, request, error)
        finally:
            server.in_flight -= 1
        server.record_answer()
        return read_completion(request, completion)

    def _judge_refusal(self, server: _Server, request: GenerationRequest, error: APIStatusError) -> ItemError:
        reason = _reason(error)
        if error.status_code in (401, 403, 404):
            raise EngineUnavailableError(
                f"{server.url} no longer serves {server.model!r} ({reason}): check the key, the model and --base_url, "
                "then run the same command again to resume"
            )
        if _TOO_LONG.search(reason):
            return ItemError(request.request_id, ItemErrorKind.PROMPT_TOO_LONG, reason)
        if not server.has_answered:
            # A server that never answered anything refuses what all requests have in common.
            server.record_failure(reason)
            self._raise_if_failing()
        return ItemError(request.request_id, ItemErrorKind.REFUSED, reason)

    def _raise_if_failing(self) -> None:
        if all(server.is_failing for server in self._servers):
            raise self._dead(f"every server failed {MAX_CONSECUTIVE_FAILURES} requests in a row")

    async def _raise_if_unreachable(self) -> None:
        if not any(await asyncio.gather(*(server.is_reachable() for server in self._servers))):
            raise self._dead("no server can be reached")

    def _dead(self, what: str) -> EngineUnavailableError:
        errors = "; ".join(f"{server.url}: {server.last_error}" for server in self._servers)
        return EngineUnavailableError(f"{what} ({errors}): restart them, then run the same command again to resume")
