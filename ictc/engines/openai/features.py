"""What a server has shown not to take, and how it is asked instead.

Each is found out once for each server, told in one line, and remembered. What a server isn't asked for is still checked
in its answers. Knows the words of the protocol; sends nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from ictc.engines.openai.failures import Failure
from ictc.engines.openai.protocol import Call
from ictc.engines.openai.reading import without_keywords

REFUSABLE_FIELDS = ("chat_template_kwargs", "top_logprobs", "logprobs", "seed", "temperature", "top_p", "max_tokens")
"""What servers are known to refuse; a request goes without it, or under its other name."""
OPTIONAL_FIELDS = (
    frozenset({"chat_template_kwargs"}),
    frozenset({"logprobs", "top_logprobs"}),
    frozenset({"seed"}),
    frozenset({"top_p"}),
)
"""What an answer can do without, by what goes together."""
OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
MIN_TOKENS = 16
"""Fewer make no answer."""


class Form(IntEnum):
    """How the form of an answer is asked for, from the strictest on."""

    SCHEMA = 0
    PLAIN_SCHEMA = 1
    OBJECT = 2
    WORDS = 3


FORMS = {
    Form.PLAIN_SCHEMA: "the schema goes without patterns and lengths",
    Form.OBJECT: "it is asked for JSON, with the schema in the prompt",
    Form.WORDS: "the schema stands in the prompt alone",
}
"""What is done instead, for people."""

DETAILS = ("pattern", "maxLength", "minLength", "minItems", "maxItems")
"""What a schema may go without: answers are checked for it."""

_UNSUPPORTED = re.compile(
    r"un(supported|known|recognized|expected|available|implemented)|extra_forbidden|\binvalid|must be|not implemented|"
    r"(\bnot|n't)\b.{0,40}\b(permitted|allowed|support|accept)|max(imum)? allowed",
    re.I,
)
_ABOUT_DETAILS = re.compile(rf"\b({'|'.join(DETAILS)}|regex|regular expression|grammar|invalid schema)\b", re.I)
_ABOUT_FORM = re.compile(
    r"response_?format|json_?schema|json schema|structured.?output|guided|grammar|\bschema\b", re.I
)
_ABOUT_SYSTEM = re.compile(
    r"(system|developer) (role|message|prompt|instruction)s?\b.{0,40}\bnot (supported|allowed|enabled)|"
    r"roles must alternate|only user and (assistant|model) roles|does not support (the )?system",
    re.I,
)
_ABOUT_TOKENS = re.compile(r"max_?(completion_|new_|output_)?tokens|(completion|output) tokens", re.I)
_TOO_MANY = re.compile(r"too (large|high|many|big)|maximum|\brange\b|exceed|limit", re.I)
_BOUND = re.compile(
    r"(?:less than or equal to|at most|<=|no more than|up to|range\b[^\[]{0,30}\[\d+,|>)\W{0,3}(\d[\d,]*)", re.I
)
_ROOM = re.compile(r"> (\d+) - (\d+)")
_PROMPT_TO_BLAME = re.compile(
    r"context|in the (messages|prompt)|input tokens|prompt contains|length of the (messages|input|prompt)", re.I
)


@dataclass(frozen=True, slots=True)
class Features:
    """What one server takes.

    Attributes:
        refused: fields that it does not.
        most_tokens: most that an answer may be given, None if it has set no bound.
        merges_system: whether the system turn goes into the first user turn.
    """

    refused: frozenset[str] = frozenset()
    form: Form = Form.SCHEMA
    most_tokens: int | None = None
    merges_system: bool = False

    def fit(self, call: Call) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the messages and fields of a call in a form that this server takes."""
        fields = dict(call.fields)
        if self.most_tokens is not None and "max_tokens" in fields:
            fields["max_tokens"] = min(fields["max_tokens"], self.most_tokens)
        for name in self.refused & fields.keys():
            value = fields.pop(name)
            if name in OTHER_NAMES:
                fields[OTHER_NAMES[name]] = value
        messages = _without_system(call.messages) if self.merges_system else call.messages
        if self.form > Form.SCHEMA and "response_format" in fields:
            messages = self._fit_form(messages, fields)
        return messages, fields

    def _fit_form(self, messages: list[dict[str, Any]], fields: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask for the form of the answer in another way."""
        asked = fields.pop("response_format")
        schema = asked.get("json_schema", {}).get("schema", {})
        if self.form is Form.PLAIN_SCHEMA:
            asked = deepcopy(asked)
            asked["json_schema"]["schema"] = without_keywords(schema, DETAILS)
            fields["response_format"] = asked
            return messages
        if self.form is Form.OBJECT:
            fields["response_format"] = {"type": "json_object"}
        return _with_words(
            messages,
            "Answer with one JSON object that satisfies this JSON Schema, and with nothing else:\n"
            + json.dumps(schema),
        )

    def learn(self, failure: Failure, fields: Mapping[str, Any], *, is_too_long: bool) -> Lesson | None:
        """Return what a refusal teaches, None if nothing.

        Args:
            fields: those that were refused.
            is_too_long: whether it is about the length of the whole; then fewer tokens for the answer may be the way.
        """
        if _ABOUT_TOKENS.search(failure.words) and (most := lower_bound(failure.message, _tokens_of(fields))):
            return Lesson(f"at most {most} tokens are asked for", replace(self, most_tokens=most))
        if is_too_long or not (_UNSUPPORTED.search(failure.words) or _ABOUT_SYSTEM.search(failure.words)):
            return None
        if _ABOUT_SYSTEM.search(failure.words) and not self.merges_system:
            return Lesson("the system turn goes into the user's", replace(self, merges_system=True))
        named = [name for name in REFUSABLE_FIELDS if name in fields and re.search(rf"\b{name}\b", failure.words)]
        return self._leave_out(named[0]) if named else self._loosen(failure, fields)

    def _leave_out(self, name: str) -> Lesson:
        what = f"is called {OTHER_NAMES[name]!r}" if name in OTHER_NAMES else "is left out"
        return Lesson(f"{name!r} {what}", replace(self, refused=self.refused | {name}))

    def _loosen(self, failure: Failure, fields: Mapping[str, Any]) -> Lesson | None:
        """Ask for the form of answers less strictly, if the failure is about that."""
        is_detail = _ABOUT_DETAILS.search(failure.words) is not None
        if "response_format" not in fields or not (is_detail or _ABOUT_FORM.search(failure.words)):
            return None
        is_whole = self.form is Form.SCHEMA and not is_detail
        form = Form.OBJECT if is_whole else Form(self.form + 1)
        return Lesson(FORMS[form], replace(self, form=form))

    def iter_simpler(self, fields: Mapping[str, Any]) -> Iterator[Lesson]:
        """Yield what may help at a server that refuses everything and doesn't say why, one change at a time first."""
        for names in OPTIONAL_FIELDS:
            if names & fields.keys():
                yield Lesson(f"{min(names)!r} is left out", replace(self, refused=self.refused | names))
        for form in (form for form in FORMS if form > self.form and "response_format" in fields):
            yield Lesson(FORMS[form], replace(self, form=form))
        bare = replace(self, refused=self.refused.union(*OPTIONAL_FIELDS), form=Form.WORDS, merges_system=True)
        yield Lesson("it is asked for nothing but an answer", bare)


@dataclass(frozen=True, slots=True)
class Lesson:
    """How to ask a server from now on, and that in words."""

    words: str
    features: Features


def _tokens_of(fields: Mapping[str, Any]) -> int:
    return int(fields.get("max_tokens", fields.get("max_completion_tokens", 0)))


def lower_bound(message: str, asked: int) -> int | None:
    """Return how many tokens an answer may have, if `message` says that `asked` are too many; None if it doesn't.

    A context that the prompt fills is the prompt's fault: then there is nothing to gain here.
    """
    if room := _ROOM.search(message):
        bounds = [int(room[1]) - int(room[2])]
    elif bound := _BOUND.search(message):
        bounds = [_number(bound[1])]
    elif not _TOO_MANY.search(message) or _PROMPT_TO_BLAME.search(message):
        bounds = []
    else:
        bounds = [_number(digits) for digits in re.findall(r"\d[\d,]*", message)]
    return max((bound for bound in bounds if MIN_TOKENS <= bound < asked), default=None)


def _number(digits: str) -> int:
    return int(digits.replace(",", "")[:12])


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the conversation with the system turn at the head of the first user turn."""
    system = [turn["content"] for turn in messages if turn["role"] == "system"]
    others = [dict(turn) for turn in messages if turn["role"] != "system"]
    if system and others:
        others[0]["content"] = _add_text(others[0]["content"], before="\n\n".join(system) + "\n\n")
    return others or messages


def _with_words(messages: list[dict[str, Any]], words: str) -> list[dict[str, Any]]:
    """Return the conversation with `words` at the end of its last turn."""
    *others, last = messages
    return [*others, last | {"content": _add_text(last["content"], after="\n\n" + words)}]


def _add_text(content: Any, *, before: str = "", after: str = "") -> Any:
    """Return the content of a turn with more text around its own."""
    if isinstance(content, str):
        return before + content + after
    return [part | {"text": before + part["text"] + after} if part["type"] == "text" else part for part in content]
