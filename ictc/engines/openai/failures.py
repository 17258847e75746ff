"""What a server's failure means: one table, from what it says to what is done about it (in words: docs/engines.md).

Servers use the same status for different things and different ones for the same, so the words count as much as the
number. Knows no network and no state.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from ictc.secrecy import scrub

MAX_MESSAGE_LENGTH = 400
NO_STATUS = 0
"""Of a failure without a response."""


class Meaning(StrEnum):
    """Whose failure it is, and so what to do."""

    ACCOUNT = "the key or the account is not accepted"  # the run ends, nothing is rejected
    GONE = "the server no longer serves the model"  # likewise
    PAUSED = "the server asks to wait"  # all requests to this server wait
    DOWN = "the server is down, or not up yet"  # likewise
    TOO_LONG = "the prompt is too long"  # the ladder of shorter prompts
    BAD_OUTPUT = "the model's output is unusable"  # the ladder of other answers
    NO_IMAGES = "the model reads no images"  # the run ends, where no image was ever answered
    REFUSED = "the request is refused"  # costs the item, where others are answered
    FAILED = "the server failed"  # tried again


@dataclass(frozen=True, slots=True)
class Failure:
    """What came instead of an answer.

    Attributes:
        status: of HTTP, or the one that a body of status 200 names; `NO_STATUS` without a response.
        message: in one line, without secrets.
        code: the words by which the server names the kind of failure.
        is_sent: whether the server may have begun to work on the request.
        is_protocol: whether the body is of the protocol, not a page of something between us and the server.
        retry_after_s: how long the server wants to be left alone, None if it doesn't say.
        raw_text: the model's output, where the failure is about that.
    """

    status: int
    message: str
    _: KW_ONLY
    code: str = ""
    is_sent: bool = True
    is_protocol: bool = True
    retry_after_s: float | None = None
    raw_text: str = ""

    @property
    def text(self) -> str:
        """The failure in one line."""
        return f"{self.status} {self.message}".strip() if self.status else self.message

    @property
    def words(self) -> str:
        """What the words of a rule are looked for in."""
        return f"{self.code} {self.message}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table: it applies where all that it names is so.

    Attributes:
        words: a pattern, None for any.
        statuses: () for any.
        is_protocol, has_retry_after: None for both.
    """

    meaning: Meaning
    statuses: tuple[int, ...] = ()
    words: re.Pattern[str] | None = field(default=None)
    _: KW_ONLY
    is_protocol: bool | None = None
    has_retry_after: bool | None = None

    def applies(self, failure: Failure) -> bool:
        """Whether this line is about `failure`."""
        return (
            (not self.statuses or failure.status in self.statuses)
            and (self.words is None or self.words.search(failure.words) is not None)
            and self.is_protocol in (None, failure.is_protocol)
            and self.has_retry_after in (None, failure.retry_after_s is not None)
        )


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_ACCOUNT_CODES = _words(
    r"\b(insufficient_quota|billing_(hard_limit_reached|not_active)|invalid_api_key|account_(deactivated|disabled)|"
    r"access_terminated|insufficient_(balance|funds|credits?))\b"
)
_UNPAID = _words(
    r"(insufficient|low|not enough|out of|no more|exhausted) (account )?(balance|funds|credits?)|balance is too low|"
    r"exceeded your current quota|payment required|\barrear(s|age)\b|good standing|failure to pay\b|"
    r"(overdue|unpaid) (balance|payment|bill|invoice)|account.?overdue|"
    r"\baccount\b.{0,60}\b(not active|suspended|deactivated|disabled)|"
    r"\b(organi[sz]ation|project|subscription|service|key)\b.{0,60}\bsuspended|"
    r"(?<!memory.)(?<!disk.)\b(usage|spend(ing)?|billing|credit).(limit|cap)s?\b|"
    r"(?<!thinking.)(?<!reasoning.)(?<!memory.)(?<!cache.)(?<!tokens.)(?<!token.)budget.{0,20}(exceed|exhaust|used up)|"
    r"(exceed\w*|over) ?((your|the|its|max|maximum|monthly|daily|team|user|key) )*budget"
)
_BAD_KEY = _words(
    r"(invalid|incorrect|expired|revoked) (api )?(key|token)|api key (is )?(not valid|invalid|expired|disabled|missing)"
)
_FILTERED = _words(
    r"content.?(management )?(filter|policy)|moderation|\bflagged\b|responsible.?ai|data_inspection_failed|"
    r"safety (system|filter|setting|polic)|blocked by (the |our )?(safety|policy)|inappropriate content"
)
_TOO_BIG = _words(r"request (is )?too large|payload too large|entity too large")
_BUSY = _words(
    r"rate.?limit|rate exceeded|too many (concurrent )?requests|overloaded|over capacity|at capacity|"
    r"capacity.?exceeded|resource.?exhausted|throttl|slow down|queue (is )?full|server (is )?busy"
)
_LATER = _words(r"try again later")
_CRASHED = _words(
    r"\bcrashed\b|out of memory|\bcuda\b|internal (server )?error|model (was |is |has been )?(un|re)loaded|"
    r"try again|temporar(y|ily)|unavailable|timed? ?out|upstream"
)
_LOADING = _words(r"\bloading\b|starting up|warming up|not ready|shutting down|restarting")
_BLIND = _words(
    r"image (input|content|url)s? (is|are) not supported|"
    r"(not|n't) support(s|ed|ing)? (for )?(\w+ )?(images?\b(?! format)|vision|multi-?modal)|"
    r"\bmmproj\b|not a (multi-?modal|vision|vlm)|at most 0 image|no endpoints found that support image|"
    r"image_url.{0,60}(not supported|only supported|unsupported)|only supports? text|text.?only|"
    r"content (must|should) be a string|messages?\S* content.{0,40}(valid string|expected (a )?string|not a string)"
)
_UNUSABLE = _words(
    r"json_validate_failed|failed to (validate|generate|parse) json|output that does not match|failed_generation|"
    r"tool_use_failed|could not parse the model"
)
_LONG = _words(
    r"context.?(length|size|window)|(prompt|input|request)\b.{0,60}\btoo (long|large)|tokens?\b.{0,60}\bexceed|"
    r"maximum (input|prompt|model) length|(reduce|shorten) the length"
)
_MODEL = _words(r"\bmodel\b|deployment")

CLIENT_ERRORS = tuple(range(400, 500))
GATEWAY_ERRORS = (502, 503, 504, 521, 522, 523, 530)

RULES = (
    Rule(Meaning.ACCOUNT, words=_ACCOUNT_CODES),
    Rule(Meaning.ACCOUNT, (401, 402)),
    Rule(Meaning.REFUSED, (400, 403, 422, 451), _FILTERED),
    Rule(Meaning.ACCOUNT, words=_UNPAID, has_retry_after=False),
    Rule(Meaning.ACCOUNT, (400, 403, 429), _BAD_KEY, has_retry_after=False),
    Rule(Meaning.ACCOUNT, (407,)),
    Rule(Meaning.TOO_LONG, (413, 429), _TOO_BIG),
    Rule(Meaning.TOO_LONG, (413,)),
    Rule(Meaning.NO_IMAGES, words=_BLIND),
    Rule(Meaning.BAD_OUTPUT, words=_UNUSABLE),
    Rule(Meaning.PAUSED, CLIENT_ERRORS, _BUSY),
    Rule(Meaning.PAUSED, (403, 408, 409, 423, 425), has_retry_after=True),
    Rule(Meaning.ACCOUNT, (403,), is_protocol=True),
    Rule(Meaning.PAUSED, (429, 498, 529)),
    Rule(Meaning.PAUSED, (503,), has_retry_after=True),
    Rule(Meaning.DOWN, (500, *GATEWAY_ERRORS), _LOADING),
    Rule(Meaning.PAUSED, (500, *GATEWAY_ERRORS), _BUSY),
    Rule(Meaning.PAUSED, (500, *GATEWAY_ERRORS), _LATER),
    Rule(Meaning.TOO_LONG, (400, 422, 500), _LONG),
    Rule(Meaning.DOWN, GATEWAY_ERRORS),
    Rule(Meaning.GONE, (404,), _MODEL, is_protocol=True),
    Rule(Meaning.DOWN, (404,), is_protocol=False),
    Rule(Meaning.GONE, (404, 405, 410)),
    Rule(Meaning.FAILED, (408, 409, 412, 423, 424, 425, 499)),
    Rule(Meaning.FAILED, CLIENT_ERRORS, _CRASHED),
    Rule(Meaning.REFUSED, CLIENT_ERRORS),
)
"""The first line that applies says it. What none is about is a failure of the server."""


def meaning_of(failure: Failure) -> Meaning:
    """Return what `failure` means."""
    if not failure.status:
        return Meaning.FAILED if failure.is_sent else Meaning.DOWN
    return next((rule.meaning for rule in RULES if rule.applies(failure)), Meaning.FAILED)


# From what comes over the wire


def failure_of_response(status: int, headers: Mapping[str, str], text: str) -> Failure:
    """Return the failure that a response tells of; one of status 200 names the true status in its body."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    error = _find_error(body[0] if isinstance(body, list) and body else body)
    message = _message_of(error) or ("" if body is not None else text) or "no words"
    if status < 400 and not error.keys() & {"message", "code", "detail"}:
        return Failure(500, _one_line(f"the answer is no chat completion: {message}"), is_protocol=body is not None)
    code = " ".join(
        str(error[name]) for name in ("code", "type", "__type", "status", "param") if error.get(name) is not None
    )
    return Failure(
        status=status if status >= 400 else _status_in(error),
        message=_one_line(message),
        code=scrub(code[:100]),
        is_protocol=body is not None,
        retry_after_s=find_retry_after(headers, message, counts_down=status == 429),
        raw_text=scrub(str(error.get("failed_generation") or "")),
    )


def failure_of_exception(error: Exception, *, is_sent: bool) -> Failure:
    """Return the failure that there was no response at all; the client library leaves half of it in the cause."""
    words = dict.fromkeys(filter(None, (str(error), str(error.__cause__ or ""))))
    return Failure(NO_STATUS, _one_line(" ".join(words) or type(error).__name__), is_sent=is_sent)


def _find_error(body: Any) -> dict[str, Any]:
    """Return the error in a body: its own, or that of its first choice."""
    if not isinstance(body, dict):
        return {"message": body} if isinstance(body, str) else {}
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = body.get("error") or first.get("error")
    if isinstance(error, dict):
        return error
    return body | {"message": error} if isinstance(error, str) else body


def _message_of(error: Mapping[str, Any]) -> str:
    """Return the words of an error, with those of the server behind a router."""
    message = next((error[name] for name in ("message", "detail", "msg", "errors") if error.get(name)), "")
    metadata = error.get("metadata")
    beneath = metadata.get("raw") if isinstance(metadata, Mapping) else None
    words = [one if isinstance(one, str) else json.dumps(one) for one in (message, beneath) if one]
    return " ".join(words) or (json.dumps(error) if error else "")


def _status_in(error: Mapping[str, Any]) -> int:
    for name in ("code", "status", "status_code"):
        value = str(error.get(name, ""))
        if re.fullmatch(r"[45]\d\d", value):
            return int(value)
    return 429 if _BUSY.search(str(error.get("code", "")) + str(error.get("type", ""))) else 500


def _one_line(text: str) -> str:
    return " ".join(scrub(text[: 4 * MAX_MESSAGE_LENGTH]).split())[:MAX_MESSAGE_LENGTH]


# How long to wait

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)[a-z]*\s*", re.IGNORECASE)
_HINT = re.compile(
    r"(?:try again|retry)(?: your request)? (?:in|after) ((?:\d+(?:\.\d+)?\s*(?:ms|s|m|h|d)[a-z]*\s*)+)", re.I
)


def find_retry_after(headers: Mapping[str, str], message: str, *, counts_down: bool = True) -> float | None:
    """Return the seconds that a server asks to wait, None if it doesn't say; by its headers first, then its words.

    Args:
        counts_down: whether headers count that tell of every request when a limit is lifted.
    """
    fields = {name.lower(): value.strip() for name, value in headers.items()}
    asked = (
        _number(fields.get("retry-after-ms"), 0.001),
        _seconds_or_date(fields.get("retry-after"), now=fields.get("date")),
        _reset_of(fields) if counts_down else None,
        _duration(hint[1]) if (hint := _HINT.search(message)) else None,
    )
    return next((seconds for seconds in asked if seconds is not None), None)


def _number(text: str | None, unit_s: float = 1.0) -> float | None:
    try:
        seconds = float(text or "nan") * unit_s
    except ValueError:
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _seconds_or_date(text: str | None, *, now: str | None) -> float | None:
    """Return what is left until a date by the clock of the server, or the seconds that are given."""
    if text is None or _number(text) is not None:
        return _number(text)
    if (then := _timestamp(text)) is None:
        return _duration(text)
    return max(then - (_timestamp(now) or time.time()), 0.0)


def _timestamp(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None


def _duration(text: str) -> float | None:
    """Return the seconds of `1h2m3.5s`, `20ms` or `7 seconds`."""
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text.strip(), re.IGNORECASE):
        return None
    return sum(float(count) * _UNITS_S[unit.lower()] for count, unit in _DURATION.findall(text))


def _reset_of(fields: Mapping[str, str]) -> float | None:
    """Return when the limit that is used up is lifted, by the headers that count down to it."""
    resets = {name: _until(value) for name, value in fields.items() if "ratelimit" in name and "reset" in name}
    known = {name: seconds for name, seconds in resets.items() if seconds is not None}
    used_up = [seconds for name, seconds in known.items() if fields.get(name.replace("reset", "remaining")) == "0"]
    return max(used_up) if used_up else min(known.values(), default=None)


def _until(text: str) -> float | None:
    """Return the seconds until a moment, given as what is left, or in seconds or milliseconds since 1970."""
    number = _number(text)
    if number is None:
        return _duration(text)
    moment = number / 1000 if number > 1e12 else number
    return max(moment - time.time(), 0.0) if moment > 1e9 else number
