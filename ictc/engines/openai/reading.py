"""Finds the answer in what a server sends back, in whatever shape it comes.

Knows the shapes that servers are seen to use, and the form that was asked for. Nothing is guessed: the one JSON value
that satisfies the schema, or the one option that is named, is the answer; of two different ones neither is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ictc.answers import fit_document
from ictc.engines.base import AnswerFormat, ChoiceAnswer, GenerationRequest, JsonAnswer
from ictc.engines.openai.scores import CHOICE_KEY

MAX_JSON_STARTS = 200
"""Most places of a text where JSON is looked for; an answer has it at one of the first."""
MAX_DEPTH = 4
"""How deep a document may lie inside of others."""

THINKING_PARTS = ("thinking", "reasoning", "redacted_thinking")
REASONING_FIELDS = ("reasoning_content", "reasoning")
SAME_AS_CHOICE_KEY = ("answer", "final_answer", "choice", "option", "letter", "cluster", "cluster_id", "selection")
"""Keys under which models give a choice where they are not held to the one; `category` is something of the image."""

_OPENED_THINKING = re.compile(r"\s*<(think|thinking|reasoning)>")
_CLOSED_THINKING = "</think>"
_FENCE = re.compile(r"\A\s*`{3,}[\w-]*[ \t]*\n?(.*?)\n?\s*(?:`{3,}\s*)?\Z", re.DOTALL)
_AROUND = " \t\r\n`'\"*_()[]{}.,:;“”‘’«»。，、：；（）「」『』【】"
"""What writers put around an answer. Not what a name is told from another by, as the < of "<5" or the ! of "Sale!"."""
_PUT_AROUND = f"[{re.escape(_AROUND)}]*"
_LEAD = re.compile(
    rf"\A{_PUT_AROUND}(?:(?:the|my|final|correct|best)\s+)*(?:answer|choice|option|cluster|category)(?:\s+is)?"
    r"(?:[\s*_]*[:=：][*_]*\s*|\s+)",
    re.I,
)
_AFTER_LETTER = re.compile(r"\A(\w{1,2})\s*[.):\-–—]+\s+(\S.*)\Z", re.DOTALL)
_BEFORE_MORE = r"(?:\s*[:;.]\s|\s*\n|\s+[-–—(])"
"""What parts the name of an option from more about it."""


class NoAnswer(ValueError):
    """What came holds no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a message says, by where it stands.

    Attributes:
        content: the text meant for the reader.
        arguments: those of tools that the model called instead.
        reasoning: what the server took for thinking.
    """

    content: str
    _: KW_ONLY
    arguments: tuple[str, ...] = ()
    reasoning: str = ""

    @property
    def raw_text(self) -> str:
        """All of it that tells something."""
        return self.content or "\n".join(self.arguments) or self.reasoning


def read_reply(choice: Mapping[str, Any]) -> Reply:
    """Return what a choice of a completion says, whatever its shape."""
    message = choice.get("message")
    if isinstance(message, str):
        return Reply(message)
    if not isinstance(message, Mapping):
        return Reply(_text_of(choice.get("text")))
    called = message.get("tool_calls")
    calls = called if isinstance(called, list) else []
    functions = [call.get("function") for call in calls if isinstance(call, Mapping)] + [message.get("function_call")]
    arguments = (one.get("arguments") for one in functions if isinstance(one, Mapping))
    return Reply(
        _text_of(message.get("content")),
        arguments=tuple(text for text in map(_text_of, arguments) if text),
        reasoning=next(filter(None, (_text_of(message.get(name)) for name in REASONING_FIELDS)), ""),
    )


def _text_of(value: Any) -> str:
    """Return the text of a string, of a list of parts, or of a document that a proxy has parsed already."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text_of(part) for part in value if not _is_thinking(part))
    if isinstance(value, Mapping):
        is_part = isinstance(value.get("type"), str) and set(value) & {"text", "content"}
        return _text_of(value.get("text", value.get("content"))) if is_part else json.dumps(dict(value))
    return ""


def _is_thinking(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in THINKING_PARTS


def read_answer(request: GenerationRequest, reply: Reply, *, is_cut_off: bool) -> str:
    """Return the answer in the form that was asked for.

    Raises:
        NoAnswer: there is none, or more than one.
    """
    answer, content = request.answer, strip_thinking(reply.content)
    if not isinstance(answer, JsonAnswer | ChoiceAnswer):
        return content
    places = [content, *reply.arguments]
    if not content and not reply.arguments and not is_cut_off:
        # A server takes the whole answer for thinking where it expects a model that always thinks.
        places = [_end_of(reply.reasoning or _opened_thinking(reply.content))]
    found = _find_in(places, request, is_cut_off=is_cut_off)
    if len(found) == 1:
        return found[0]
    raise NoAnswer(_describe(places, found, answer, reply))


def _find_in(places: list[str], request: GenerationRequest, *, is_cut_off: bool) -> list[str]:
    """Return the different answers in the first place that has any."""
    for text in places:
        if isinstance(request.answer, JsonAnswer):
            found = _find_documents(text, request.answer.schema)
        else:
            found = _find_choices(text, request, is_cut_off=is_cut_off)
        if found:
            return list(dict.fromkeys(found))
    return []


def _describe(places: list[str], found: list[str], answer: AnswerFormat, reply: Reply) -> str:
    if found:
        return f"{len(found)} different answers in one"
    if reply.reasoning and not (reply.content.strip() or reply.arguments):
        return (
            f"the content is empty and {len(reply.reasoning)} characters, none of them an answer, are in the server's "
            "reasoning field: turn its reasoning parser (--reasoning-parser) or the model's thinking off"
        )
    if not any(text.strip() for text in places):
        return "the answer is empty"
    if isinstance(answer, ChoiceAnswer):
        return "not one of the options"
    return _explain_document(next(filter(None, places)), answer.schema) if isinstance(answer, JsonAnswer) else ""


# Thinking


def strip_thinking(text: str) -> str:
    """Return `text` without its sections of thinking, closed or not.

    A template may open the first of them in the prompt, so that only its end is in the text. What stands inside of
    a JSON string is none.
    """
    while (opened := _OPENED_THINKING.match(text)) is not None:
        _, tag, text = text[opened.end() :].partition(f"</{opened[1]}>")
        if not tag:
            return ""
    end = text.find(_CLOSED_THINKING)
    if end >= 0 and not any(start < end < stop for start, stop, _ in _iter_json(text)):
        return strip_thinking(text[end + len(_CLOSED_THINKING) :])
    return text.strip()


def _opened_thinking(text: str) -> str:
    """Return what follows a section of thinking that is never closed."""
    opened = _OPENED_THINKING.match(text)
    return text[opened.end() :] if opened else ""


def _end_of(reasoning: str) -> str:
    """Return the JSON document or line that reasoning ends with: an answer, not a draft on the way to one."""
    text = strip_thinking(reasoning) or reasoning
    bare = text.rstrip().rstrip("`").rstrip()
    spans = [(start, stop) for start, stop, _ in _iter_json(bare)]
    if spans and spans[-1][1] == len(bare):
        return bare[spans[-1][0] :]
    return text if not spans and len(text.splitlines()) == 1 else ""


# Documents


def _iter_json(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield the JSON objects in a text: where each begins and ends, and what it is."""
    decoder = json.JSONDecoder(strict=False)  # constrained decoding may let bare control characters through
    start, starts = text.find("{"), 0
    while start >= 0 and starts < MAX_JSON_STARTS:
        starts += 1
        try:
            document, stop = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        yield start, stop, document
        start = text.find("{", stop)


def without_keywords(schema: Any, names: Collection[str]) -> Any:
    """Return a schema without what these keywords demand; fields may have the same names."""
    if isinstance(schema, Mapping):
        fields = schema.get("properties", {})
        plain = {name: without_keywords(value, names) for name, value in schema.items() if name not in names}
        kept = {name: without_keywords(field, names) for name, field in fields.items()}
        return plain | ({"properties": kept} if fields else {})
    return [without_keywords(value, names) for value in schema] if isinstance(schema, list) else schema


def _validator(schema: Mapping[str, Any]) -> Any:
    """Return what checks an answer; a pattern is there to end it in time, and who reads it judges it."""
    from jsonschema.validators import validator_for

    checked = without_keywords(dict(schema), ("pattern",))
    return validator_for(checked)(checked)


def _find_documents(text: str, schema: Mapping[str, Any]) -> list[str]:
    """Return the documents in `text` that satisfy `schema`, made to fit it."""
    validator = _validator(schema)
    outermost = (_outermost(document, schema, validator.is_valid) for document in _documents_of(text))
    return [json.dumps(document) for documents in outermost for document in documents]


def _documents_of(text: str) -> list[Any]:
    """Return the documents in `text`; one that is a JSON string of a document is that."""
    try:
        whole = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return [document for _, _, document in _iter_json(text)]
    return _documents_of(whole) if isinstance(whole, str) else [whole]


def _outermost(document: Any, schema: Mapping[str, Any], is_valid: Any, depth: int = 0) -> Iterator[Any]:
    """Yield what satisfies `schema`: `document`, or what it is wrapped around.

    Strings are not looked into: words from an image are in them.
    """
    candidate = fit_document(document, schema)
    if is_valid(candidate):
        yield candidate
    elif depth < MAX_DEPTH:
        inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
        for one in inner:
            yield from _outermost(one, schema, is_valid, depth + 1)


def _explain_document(text: str, schema: Mapping[str, Any]) -> str:
    from jsonschema.exceptions import best_match

    documents = _documents_of(text)
    if not documents:
        return "not JSON"
    error = best_match(_validator(schema).iter_errors(fit_document(documents[0], schema)))
    return "not JSON" if error is None else f"not as the schema says, at {error.json_path}: {error.message[:200]}"


# Choices


def _find_choices(text: str, request: GenerationRequest, *, is_cut_off: bool) -> list[str]:
    """Return the options that `text` names."""
    assert isinstance(request.answer, ChoiceAnswer)
    match = _Matcher(request)
    text = fenced[1] if (fenced := _FENCE.match(text)) else text
    if is_cut_off:
        return _find_cut_off(text, request.answer)
    try:
        document = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, str):
        return match.bare(document)
    documents = [document] if isinstance(document, dict) else [one for _, _, one in _iter_json(text)]
    if documents:
        return [option for one in documents for option in match.bare(_value_of(one))]
    return match.bare(text)


def _find_cut_off(text: str, answer: ChoiceAnswer) -> list[str]:
    """Return the option of an answer that ran out of tokens; a model may fill the rest with white space."""
    if text in answer.options:
        return [text] if not any(one != text and one.startswith(text) for one in answer.options) else []
    # Once the option is complete, a brace is all that can follow.
    documents = [one for _, _, one in _iter_json(text.removesuffix("}") + "}")]
    return [option for one in documents if (option := _value_of(one)) in answer.options]


def _value_of(document: Any) -> str:
    """Return the choice that a document holds: under the key that was asked for, or the one that means the same."""
    keys = [CHOICE_KEY] if CHOICE_KEY in document else [key for key in document if key.lower() in SAME_AS_CHOICE_KEY]
    value = document[keys[0]] if len(keys) == 1 else None
    return value if isinstance(value, str) else ""


class _Matcher:
    """Tells which option some words name: letter by letter, or, where that is clear, in another case or by its name.

    Words that may mean two options name none.
    """

    def __init__(self, request: GenerationRequest) -> None:
        assert isinstance(request.answer, ChoiceAnswer)
        self._options = request.answer.options
        described = request.inputs.get("options") or {}
        names = {option: str(one.get("name", "")) for option, one in described.items() if isinstance(one, Mapping)}
        self._names = {option: name.lower() for option, name in names.items() if name}  # ß is not ss in names

    def bare(self, text: str) -> list[str]:
        """Return the option that `text` is, with or without what writers put around it; [] if none."""
        for words in (text, _LEAD.sub("", text)):
            if found := self._named(words.strip()):
                return found if len(found) == 1 else []
        return self._letter_and_name(text.strip(_AROUND))

    def _named(self, words: str) -> list[str]:
        """Return the options that have these words as letter or name."""
        if words in self._options:
            return [words]
        return list(dict.fromkeys(self._with_letter(words) + self._with_name(words)))

    def _with_letter(self, words: str) -> list[str]:
        letter = words.strip(_AROUND)
        if letter in self._options:
            return [letter]
        return [option for option in self._options if option.lower() == letter.lower()]

    def _with_name(self, words: str) -> list[str]:
        """Return the options of this name: exactly so, or else without what may be around it."""
        exactly, loosely = words.lower(), words.lower().strip(_AROUND)
        found = [option for option, name in self._names.items() if name == exactly]
        return found or [option for option, name in self._names.items() if loosely and name.strip(_AROUND) == loosely]

    def _letter_and_name(self, text: str) -> list[str]:
        """Return the option of `B. Winter sports`, where that is the name of the letter and nothing says another."""
        parts = _AFTER_LETTER.match(text)
        found = self._with_letter(parts[1]) if parts else []
        if parts is None or len(found) != 1:
            return []
        is_named = self._with_name(parts[2]) == found or self._is_about(found[0], text=parts[2])
        return found if is_named else []

    def _is_about(self, option: str, *, text: str) -> bool:
        """Whether a text begins with the name of an option, says more about it, and mentions no other."""
        name = self._names.get(option, "")
        others = [f"(?i:{re.escape(one)})" for other, one in self._names.items() if other != option]
        others += [re.escape(other) for other in self._options if other != option]
        begins = re.match(f"({re.escape(name)}){_BEFORE_MORE}", text, re.IGNORECASE)
        if not name or begins is None:
            return False
        mentions = (found for other in others for found in re.finditer(rf"(?<!\w){other}(?!\w)", text))
        return all(mention.end() <= begins.end(1) for mention in mentions)
