"""Fits values to a JSON Schema: lengths, and a value for fields that this engine knows nothing about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNSEEN = "not visible to this engine"
Schema = Mapping[str, Any]


class RequestRefusedError(ValueError):
    """This engine has no honest answer to the request."""


def properties_of(schema: Schema, root: Schema) -> Mapping[str, Schema]:
    """Return an object's properties, references followed."""
    properties: Mapping[str, Schema] = resolve(schema, root).get("properties", {})
    return {name: resolve(part, root) for name, part in properties.items()}


def resolve(schema: Schema, root: Schema) -> Schema:
    """Follow `$ref` into the definitions of `root`."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def fill(schema: Schema, known: Mapping[str, str | bool]) -> dict[str, Any]:
    """Return an object that satisfies `schema`: the known values, cut to length, and `UNSEEN` for other strings.

    Raises:
        RequestRefusedError: an unknown field is no free string.
    """
    answer: dict[str, Any] = {}
    for name, part in properties_of(schema, schema).items():
        value = known.get(name, UNSEEN)
        wanted = bool if part.get("type") == "boolean" else str if part.get("type") == "string" else None
        if type(value) is not wanted or (name not in known and not part.keys().isdisjoint(("enum", "pattern"))):
            raise RequestRefusedError(f"no value for the field {name!r} with the schema {dict(part)}")
        answer[name] = cut(value, part) if isinstance(value, str) else value
    return answer


def cut(text: str, schema: Schema) -> str:
    """Return `text` within the schema's `maxLength`, whole words where it has some."""
    limit = schema.get("maxLength")
    if limit is None or len(text) <= limit:
        return text
    shortened = text[: limit + 1].rpartition(" ")[0]
    return shortened or text[:limit]
