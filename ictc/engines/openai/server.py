"""One server: asks it, and turns what comes back into a result, or into what to do next.

Knows the client library, this server's gate and what it has shown not to take. Whom else to ask, and when to give
up, is the engine's matter.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from json import loads
from typing import TYPE_CHECKING, Any, cast

from ictc.engines.base import GenerationResult, ItemError, ItemErrorKind
from ictc.engines.openai.failures import (
    Failure,
    Meaning,
    failure_of_exception,
    failure_of_response,
    meaning_of,
)
from ictc.engines.openai.features import Features, Lesson
from ictc.engines.openai.gate import MAX_WAIT_S, Gate
from ictc.engines.openai.probes import neutral_call, without_image
from ictc.engines.openai.protocol import Call, is_broken_off, read_completion
from ictc.errors import EngineUnavailableError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam

logger = logging.getLogger(__name__)

LEARNABLE_STATUSES = (400, 404, 415, 422, 500, 501)
"""With these a server says that it doesn't take something."""
AVOID_S = 15.0
"""How long a server that failed gets no requests while others answer; after that, one at a time until it answers."""
PROXY_STATUS = 407
CRASH_STATUSES = (502, 504)
"""With these a gateway says that the server behind it went away or fell silent amid a request."""
MAX_LESSONS = 12
"""Most that one request may teach: a server that finds fault with everything must not be asked for ever."""


class Verdict(Enum):
    """What to do with a request that got no result."""

    AGAIN = "ask again, when a server may be asked: it was not the request's fault"
    CRASHED = "ask again, unless that happens with this request again and again"
    FAILED = "try again, for a while"
    DOUBTED = "refused: find out whose fault it is"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A request that got no result, and why in one line."""

    verdict: Verdict
    reason: str


class RefusesAllError(EngineUnavailableError):
    """A server answers no request of a kind, and never did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server's trouble may last, in seconds."""

    pause_s: float
    outage_s: float

    def with_(self, meaning: Meaning) -> float:
        """Return how long to bear what `meaning` says."""
        return self.pause_s if meaning is Meaning.PAUSED else self.outage_s


@dataclass(slots=True, eq=False, kw_only=True)
class Server:
    """One server: how it is doing, and what it has shown not to understand.

    Attributes:
        name: its URL, without what is secret in it.
        on_change: told when other requests may pass, or never will.
        answered: the last call of each kind (with an image or without) that it answered.
        proven_at: when the last request of each kind was sent that it has answered.
        refuses: the kinds of which it has shown to answer none; it is left out until it answers one.
        failures: requests failed since its last answer, the last of them at `failed_at`.
    """

    name: str
    model: str
    client: AsyncOpenAI
    gate: Gate
    patience: Patience
    on_change: Callable[[], None] = lambda: None
    features: Features = field(default_factory=Features)
    in_flight: int = 0
    last_failure: str = ""
    failures: int = 0
    failed_at: float = 0.0
    answered: dict[bool, Call] = field(default_factory=dict)
    proven_at: dict[bool, float] = field(default_factory=dict)
    refuses: set[bool] = field(default_factory=set)
    _judging: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def may_be_asked(self) -> bool:
        """Whether another request may go to this server now."""
        return self.gate.admits(self.in_flight)

    @property
    def is_avoided(self) -> bool:
        """Whether it has failed of late: others get its requests, and then it gets one at a time."""
        return self.failures > 0 and (self.in_flight > 0 or time.monotonic() - self.failed_at < AVOID_S)

    async def ask(self, call: Call) -> GenerationResult | Trouble:
        """Return what this server makes of `call`.

        Raises:
            EngineUnavailableError: the failure is about all requests, and waiting does not help.
        """
        was_open, entered_at = self.gate.is_open, self.gate.enter()
        self.in_flight += 1
        try:
            reply = await self._exchange(call)
        finally:
            self.in_flight -= 1
            if not was_open:
                self.gate.release()
            self.on_change()
        if not isinstance(reply, Failure):
            self._record_answer(call, entered_at)
            return read_completion(call.request, reply)
        self.last_failure = reply.text
        meaning = self._meaning_of(reply, call)
        if meaning in (Meaning.PAUSED, Meaning.DOWN):
            self._close(reply, meaning, entered_at)
            crashed = was_open and reply.status in CRASH_STATUSES
            return Trouble(Verdict.CRASHED if crashed else Verdict.AGAIN, reply.text)
        if call.has_image in self.refuses and meaning in (Meaning.REFUSED, Meaning.NO_IMAGES, Meaning.FAILED):
            self.shut()
            return Trouble(Verdict.AGAIN, reply.text)
        if meaning is Meaning.FAILED:
            self.failures, self.failed_at = self.failures + 1, time.monotonic()
        elif meaning in (Meaning.TOO_LONG, Meaning.BAD_OUTPUT):
            self.gate.record_answer(entered_at)  # it is there, and asks for no pause
        return self._judge(reply, meaning, call)

    def has_answered_since(self, moment: float, call: Call) -> bool:
        """Return whether it has answered a request of the kind of `call` that was sent after `moment`."""
        return self.proven_at.get(call.has_image, -math.inf) > moment

    def _record_answer(self, call: Call, entered_at: float) -> None:
        kind = call.has_image
        self.answered[kind] = call
        self.proven_at[kind] = max(self.proven_at.get(kind, entered_at), entered_at)
        self.refuses.discard(kind)
        self.failures = 0
        self.gate.record_answer(entered_at)
        self.on_change()

    def _meaning_of(self, failure: Failure, call: Call) -> Meaning:
        meaning = meaning_of(failure)
        if meaning is Meaning.DOWN and failure.status == 404 and not self.answered:
            return Meaning.GONE
        if meaning is Meaning.NO_IMAGES and not call.has_image:
            return Meaning.REFUSED
        return meaning

    def _close(self, failure: Failure, meaning: Meaning, entered_at: float) -> None:
        patience_s = self.patience.with_(meaning)
        wait_s = failure.retry_after_s
        if self.gate.close(entered_at, wait_s=wait_s, patience_s=patience_s):
            what = "asks to wait" if meaning is Meaning.PAUSED else "is down or not ready"
            logger.warning(
                "%s %s (%s): asking again %s",
                self.name,
                what,
                failure.text,
                f"in {wait_s:.0f} s" if wait_s else f"at growing intervals, for up to {patience_s / 60:.0f} min",
            )
        self.on_change()

    def _judge(self, failure: Failure, meaning: Meaning, call: Call) -> ItemError | Trouble:
        """Return what a failure means that is neither a pause nor an outage."""
        item = call.request.request_id
        if meaning in (Meaning.ACCOUNT, Meaning.GONE):
            raise self._end(meaning, failure)
        if meaning is Meaning.TOO_LONG:
            return ItemError(item, ItemErrorKind.PROMPT_TOO_LONG, message=failure.text)
        if meaning is Meaning.BAD_OUTPUT:
            return ItemError(item, ItemErrorKind.UNCONSTRAINED, message=failure.text, raw_text=failure.raw_text)
        if meaning is Meaning.FAILED or (meaning is Meaning.NO_IMAGES and True in self.answered):
            return Trouble(Verdict.FAILED, failure.text)  # of several servers behind one address, another may see
        return Trouble(Verdict.DOUBTED, failure.text)

    def _end(self, meaning: Meaning, failure: Failure) -> EngineUnavailableError:
        if meaning is Meaning.GONE:
            what, remedy = f"no longer serves {self.model!r}", "check the model and --base_url"
        elif failure.status == PROXY_STATUS:
            what, remedy = "is behind a proxy that wants a password", "correct HTTP_PROXY and HTTPS_PROXY"
        else:
            what = "does not accept the key or the account"
            remedy = "check the API key and the balance of its account"
        return EngineUnavailableError(
            f"{self.name} {what} ({failure.text}): {remedy}, then run the same command again to resume; no image was "
            "rejected for it"
        )

    def describe_trouble(self) -> str:
        """Return in words why it can't be asked."""
        seconds = self.gate.seconds_left
        asks = f"asks to wait for {seconds / 60:.0f} min" if seconds > MAX_WAIT_S else "does not answer"
        return f"{self.name} {asks} ({self.last_failure})"

    def shut(self) -> None:
        """Ask it no more for a while: it answers nothing, and others do."""
        self.gate.close(time.monotonic(), wait_s=MAX_WAIT_S, patience_s=self.patience.outage_s)
        self.on_change()

    # Whose fault

    async def can_answer(self, call: Call, *, unless_open: bool = False) -> bool:
        """Return whether this server answers a request of this kind that is beyond doubt, so that `call` is to blame.

        One that it answered before is asked again, unless it answers another meanwhile; a first one is neutral.
        False: it is down or asks to wait.

        Args:
            unless_open: wait until it may be asked, and ask only if nothing else has opened the gate meanwhile.

        Raises:
            RefusesAllError: it answers none, and never did: all requests have that in common.
            EngineUnavailableError: it does not accept the account, or no longer serves the model.
        """
        doubted_at = time.monotonic()
        async with self._judging:
            if unless_open:
                await asyncio.sleep(self.gate.seconds_left)
            if (unless_open and self.gate.is_open) or self.has_answered_since(doubted_at, call):
                return True
            if self.gate.seconds_left > 0:
                return False  # another server may be asked meanwhile
            entered_at, probe = time.monotonic(), self.answered.get(call.has_image) or neutral_call(call)
            failure = await self._probe(probe)
            if failure is None:
                self._record_answer(probe, entered_at)
                return True
            meaning = self._meaning_of(failure, probe)
            if meaning in (Meaning.ACCOUNT, Meaning.GONE):
                raise self._end(meaning, failure)
            if meaning in (Meaning.PAUSED, Meaning.DOWN) or call.has_image in self.answered:
                self._close(failure, meaning, entered_at)
                return False
            if await self._find_simpler(probe):
                return False  # asked differently, `call` may do as well
            raise await self._refuses_all(probe, failure)

    async def _probe(self, call: Call) -> Failure | None:
        reply = await self._exchange(call)
        return reply if isinstance(reply, Failure) else None

    async def _find_simpler(self, probe: Call) -> bool:
        """Look for a form of the request that a server takes which refuses everything without saying why."""
        given = self.features
        for lesson in given.iter_simpler(given.fit(probe)[1]):
            self.features = lesson.features
            if await self._probe(probe) is None:
                self._tell(lesson, "it refused requests without saying why")
                return True
        self.features = given
        return False

    async def _refuses_all(self, probe: Call, failure: Failure) -> RefusesAllError:
        again = "then run the same command again to resume"
        if probe.has_image and (
            meaning_of(failure) is Meaning.NO_IMAGES or await self._probe(without_image(probe)) is None
        ):
            return RefusesAllError(
                f"{self.name} reads no images with {self.model!r} ({failure.text}): give a vision-language model as "
                f"--vlm_model (llama.cpp: with its --mmproj), {again}"
            )
        return RefusesAllError(
            f"{self.name} answers no request, not even a trivial one ({failure.text}): correct its settings or "
            f"--engine_options, {again}"
        )

    # Over the wire

    async def _exchange(self, call: Call) -> Mapping[str, Any] | Failure:
        """Return the completion, or the failure, after all that it teaches about this server."""
        for _ in range(MAX_LESSONS):
            asked = self.features
            messages, fields = asked.fit(call)
            reply = await self._send(messages, fields)
            if not isinstance(reply, Failure) or reply.status not in LEARNABLE_STATUSES:
                return reply
            if asked is self.features:
                is_too_long = meaning_of(reply) in (Meaning.TOO_LONG, Meaning.BAD_OUTPUT)
                lesson = asked.learn(reply, fields, is_too_long=is_too_long)
                if lesson is None:
                    return reply
                self.features = lesson.features
                self._tell(lesson, reply.text)
        return reply

    def _tell(self, lesson: Lesson, why: str) -> None:
        logger.warning("%s: %s; from now on %s", self.name, why, lesson.words)

    async def _send(self, messages: list[dict[str, Any]], fields: Mapping[str, Any]) -> Mapping[str, Any] | Failure:
        from openai import APIConnectionError, APIStatusError

        try:
            raw = await self.client.chat.completions.with_raw_response.create(
                model=self.model, messages=cast("list[ChatCompletionMessageParam]", messages), extra_body=fields
            )
            response = raw.http_response
        except APIStatusError as error:
            response = error.response
        except APIConnectionError as error:
            return failure_of_exception(error, is_sent=not is_of_connecting(error))
        text = response.content.decode("utf-8-sig", "replace")  # JSON is UTF-8, whatever a header says
        return read_response(response.status_code, response.headers, text)


def is_of_connecting(error: Exception) -> bool:
    """Return whether no connection came about, so that the server knows nothing of the request."""
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")


def read_response(status: int, headers: Mapping[str, str], text: str) -> Mapping[str, Any] | Failure:
    """Return the completion that a response holds, or the failure that it tells of."""
    completion = _completion_in(text) if status < 400 else None
    if completion is None:
        return failure_of_response(status, headers, text)
    choice = completion["choices"][0]
    if is_broken_off(choice):
        return Failure(500, f"the server broke off the answer (finish_reason {choice.get('finish_reason')!r})")
    return completion


def _completion_in(text: str) -> Mapping[str, Any] | None:
    """Return the completion if there is one, whose first choice is no error of a server behind."""
    try:
        body = _unwrapped(loads(text))
    except (ValueError, RecursionError):
        return None
    choices = body.get("choices") if isinstance(body, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict) or first.get("error") or not {"message", "text"} & first.keys():
        return None
    return cast("Mapping[str, Any]", body)


def _unwrapped(body: Any) -> Any:
    """Return what a gateway has put into a list or into a document of its own."""
    if isinstance(body, list) and len(body) == 1:
        return body[0]
    if isinstance(body, dict) and "choices" not in body:
        return next((body[name] for name in ("data", "result", "response") if isinstance(body.get(name), dict)), body)
    return body
