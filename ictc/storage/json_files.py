"""JSON files: small ones, and such of any size, written a row at a time; whole or not at all.

Limits: what `ictc.storage.atomic` says of its own. Not a number and infinity become null. Half a surrogate pair and an
integer beyond 64 bits are a `TypeError`, and the path stays as it was. A name that comes twice in a mapping is written
twice; that they are unique is for the caller to see to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from ictc.storage.atomic import atomic_writer, write_atomic


def read_json(path: Path) -> Any:
    """Return the content of a small JSON file, None if it is missing or damaged."""
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file for people to read."""
    write_atomic(path, orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


def write_mapping(path: Path, entries: Iterable[tuple[str, Any]]) -> None:
    """Write a JSON object, one entry a line."""
    with atomic_writer(path) as file:
        file.write(b"{")
        for number, (name, value) in enumerate(entries):
            file.write(b",\n" if number else b"\n")
            file.write(orjson.dumps(name) + b": " + orjson.dumps(value))
        file.write(b"\n}\n")


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write JSON Lines."""
    with atomic_writer(path) as file:
        for row in rows:
            file.write(orjson.dumps(row) + b"\n")


def write_table(path: Path, head: Mapping[str, Any], rows_name: str, rows: Iterable[Any]) -> None:
    """Write a JSON object of the entries of `head` and, last, the list `rows_name` with one row a line."""
    with atomic_writer(path) as file:
        file.write(b"{\n")
        for name, value in head.items():
            file.write(orjson.dumps(name) + b": " + orjson.dumps(value) + b",\n")
        file.write(orjson.dumps(rows_name) + b": [")
        for number, row in enumerate(rows):
            file.write((b",\n" if number else b"\n") + orjson.dumps(row))
        file.write(b"\n]\n}\n")
