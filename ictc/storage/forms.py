"""The forms of exported files: how entries are written to a file, and read from it again.

An entry is a name (of an image, or of a field) and what the file says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ictc.storage.entries import Entry, iter_fields, iter_lines, iter_list, iter_mapping, iter_table
from ictc.storage.json_files import write_json, write_lines, write_mapping, write_table

ROWS = "results"
NUM_FIELDS_BEFORE_ROWS = 2


@dataclass(frozen=True)
class Form:
    """One form of file."""

    write: Callable[[Path, Iterable[Entry]], None]
    read: Callable[[Path], Iterator[Entry]]


def _write_fields(path: Path, entries: Iterable[Entry]) -> None:
    write_json(path, dict(entries))


def _write_list(path: Path, entries: Iterable[Entry]) -> None:
    write_json(path, [value for _, value in entries])


def _write_lines(path: Path, entries: Iterable[Entry]) -> None:
    write_lines(path, (value for _, value in entries))


def _write_table(path: Path, entries: Iterable[Entry]) -> None:
    remaining: Iterator[Any] = iter(entries)
    head = dict(islice(remaining, NUM_FIELDS_BEFORE_ROWS))
    write_table(path, head, ROWS, (row for _, row in remaining))


MAPPING = Form(write_mapping, iter_mapping)
"""A JSON object with one entry a line, of any length."""
FIELDS = Form(_write_fields, iter_fields)
"""A small JSON object."""
LIST = Form(_write_list, iter_list)
"""A short JSON list of objects with a name each."""
LINES = Form(_write_lines, iter_lines)
"""JSON Lines."""
TABLE = Form(_write_table, iter_table)
"""A JSON object of a few fields and, last, a list of rows with one a line, of any length."""
