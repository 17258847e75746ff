"""Makes the documents of models fit their schema where that leaves what they say as it is, before they are checked.

Not every server holds a model to a schema, and a shape that every answer of a model has would cost the whole run. What
is of the wrong type, or left out and needed, stays so: whoever checks the document refuses it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

MAY_BE_EMPTY = ("brand", "text")
"""Fields for something that not every image has: null, or no such field, is the same as ""."""

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def fit_document(document: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """Return `document` without fields that `schema` does not know, and cut to the most that it allows.

    A list whose number of elements is fixed stays as it is: which of them to leave out can't be told.

    Args:
        root: the schema that references in `schema` are about, None for itself.
    """
    root = root or schema
    parts = list(_parts_of(schema, root))
    if isinstance(document, dict):
        return _fit_fields(document, parts, root)
    if isinstance(document, list):
        return _fit_elements(document, parts, root)
    if _types_of(parts) == {"boolean"}:
        return _BOOLEANS.get(str(document).lower(), document)
    return _fit_text(document, parts) if isinstance(document, str) else document


def _fit_fields(
    document: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], root: Mapping[str, Any]
) -> dict[str, Any]:
    fields = {name: field for part in parts for name, field in part.get("properties", {}).items()}
    is_closed = any(part.get("additionalProperties") is False for part in parts)
    kept = {name: value for name, value in document.items() if name in fields or not is_closed}
    for name in MAY_BE_EMPTY:
        if kept.get(name) is None and _types_of(_parts_of(fields.get(name, {}), root)) == {"string"}:
            kept[name] = ""
    return {name: fit_document(value, fields.get(name, {}), root) for name, value in kept.items()}


def _fit_elements(document: Sequence[Any], parts: Sequence[Mapping[str, Any]], root: Mapping[str, Any]) -> list[Any]:
    fitted = list(document)
    for part in parts:
        if part.get("maxItems", 0) > part.get("minItems", 0):
            fitted = fitted[: part["maxItems"]]
        fitted = [fit_document(one, part.get("items") or {}, root) for one in fitted]
    return fitted


def _fit_text(text: str, parts: Sequence[Mapping[str, Any]]) -> str:
    """Return a text of whole characters, not longer than allowed; half of a pair of surrogates is none."""
    text = _HALF_CHARACTER.sub("", text)
    for part in parts:
        if "maxLength" in part:
            text = cut_text(text.strip(), part["maxLength"])
    return text


def cut_text(text: str, max_length: int) -> str:
    """Return the beginning of a text: whole words, or where they are long, whole characters as people see them.

    >>> cut_text("limited time offer", 14), cut_text("aaaaaaaa bbbbbbbb", 5)
    ('limited time', 'aaaaa')
    """
    if len(text) <= max_length:
        return text
    whole_words = text[: max_length + 1].rpartition(" ")[0]
    if 2 * len(whole_words) >= max_length:
        return whole_words.rstrip()
    end = max_length
    while end > 1 and _belongs_to_previous(text, end):
        end -= 1
    return text[:end].rstrip()


def _belongs_to_previous(text: str, place: int) -> bool:
    """Whether the character at `place` is part of what is seen as one character with the one before."""
    joiner, skin_tones = "\u200d", ("\U0001f3fb", "\U0001f3ff")
    character = text[place]
    is_mark = unicodedata.category(character).startswith("M") or skin_tones[0] <= character <= skin_tones[1]
    return is_mark or joiner in (character, text[place - 1])


def _types_of(parts: Iterable[Mapping[str, Any]]) -> set[str]:
    return {part["type"] for part in parts if isinstance(part.get("type"), str)}


def _parts_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield `schema` and those that it refers to, as pydantic writes them: by name, or as one of several."""
    yield schema
    if name := schema.get("$ref", "").removeprefix("#/$defs/"):
        yield from _parts_of(root["$defs"][name], root)
    for alternative in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _parts_of(alternative, root)
