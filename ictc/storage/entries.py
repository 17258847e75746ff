"""Reads exported files an entry at a time, as `ictc.storage.json_files` writes them, and compares entries.

Files are compared by meaning, not by bytes; memory holds one entry of each side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson

Entry = tuple[str, Any]
"""A name, of an image or of a field, and what a file says of it."""

ROWS_PER_BATCH = 10_000


def first_difference(found: Iterable[Entry], expected: Iterable[Entry]) -> str | None:
    """Return in words where a file first says another thing than it should, None if it never does."""
    try:
        for have, want in zip_longest(found, expected):
            if want is None:
                return f"has {have[0]!r}, which the journals do not have"
            if have is None:
                return f"lacks {want[0]!r}"
            if have[0] != want[0]:
                return f"has {have[0]!r} where the journals have {want[0]!r}"
            if have[1] != plain(want[1]):
                return f"says something else of {want[0]!r} than the journals"
    except (ValueError, OSError) as error:  # pyarrow raises both
        return f"is damaged: {' '.join(str(error).split())}"
    return None


def plain(value: Any) -> Any:
    """Return the value as it comes back from a JSON file."""
    return orjson.loads(orjson.dumps(value))


def row_entry(row: dict[str, Any]) -> Entry:
    """Return a row of a table as an entry; its image is its name."""
    return row.get("image_id", ""), row


def iter_mapping(path: Path) -> Iterator[Entry]:
    """Yield the entries of a JSON object that has one a line.

    Raises:
        ValueError: the file has another form.
    """
    with path.open("rb") as file:
        lines = numbered_lines(file)
        expect(next(lines, None), b"{")
        for number, line in lines:
            if line == b"}":
                expect(next(lines, None), None)
                return
            yield parse_entry(number, line)
    raise ValueError("its end is missing")


def iter_table(path: Path) -> Iterator[Entry]:
    """Yield the fields before the rows of a JSON table, then its rows.

    Raises:
        ValueError: the file has another form.
    """
    with path.open("rb") as file:
        lines = numbered_lines(file)
        expect(next(lines, None), b"{")
        for number, line in lines:
            if line == b'"results": [':
                break
            yield parse_entry(number, line)
        for number, line in lines:
            if line == b"]":
                expect(next(lines, None), b"}")
                return
            yield row_entry(parse_object(number, line.removesuffix(b",")))
    raise ValueError("its end is missing")


def iter_lines(path: Path) -> Iterator[Entry]:
    """Yield the rows of a JSON Lines file.

    Raises:
        ValueError: a line is no JSON object.
    """
    with path.open("rb") as file:
        for number, line in numbered_lines(file):
            yield row_entry(parse_object(number, line))


def iter_list(path: Path) -> Iterator[Entry]:
    """Yield the objects of a short JSON list, each under its name.

    Raises:
        ValueError: the file holds no such list.
    """
    try:
        rows = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is no list of objects")
    yield from ((row.get("name", ""), row) for row in rows)


def iter_fields(path: Path) -> Iterator[Entry]:
    """Yield the fields of a small JSON object.

    Raises:
        ValueError: the file holds none.
    """
    yield from parse_object(1, path.read_bytes()).items()


def iter_parquet(path: Path) -> Iterator[Entry]:
    """Yield the rows of a Parquet table.

    Raises:
        ValueError, OSError: the file is damaged.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_PER_BATCH):
            yield from map(row_entry, batch.to_pylist())


def numbered_lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number, without its end."""
    return ((number, line.rstrip(b"\r\n")) for number, line in enumerate(file, start=1))


def expect(line: tuple[int, bytes] | None, content: bytes | None) -> None:
    """Check a line of the frame around the entries; None stands for the end of the file.

    Raises:
        ValueError: it is another.
    """
    if (line[1] if line else None) != content:
        raise ValueError(f"line {line[0]:,} is not as it was written" if line else "its end is missing")


def parse_entry(number: int, line: bytes) -> Entry:
    """Return the entry of a line such as `"ad_001": {…},`.

    Raises:
        ValueError: it is none.
    """
    ((name, value),) = parse_object(number, b"{" + line.removesuffix(b",") + b"}").items()
    return name, value


def parse_object(number: int, text: bytes) -> dict[str, Any]:
    """Return the JSON object that begins in line `number`.

    Raises:
        ValueError: it is none.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict) or not value:
        raise ValueError(f"line {number:,} is not as it was written")
    return value
