"""Read tables that are text: CSV and JSON Lines, as programs and people write them. No row is lost without an error."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import orjson

from ictc.dataset.catalog.json_stream import INT64, NamedTwiceError, read_constant, storable, unique_names
from ictc.dataset.catalog.listing import is_image_name
from ictc.dataset.catalog.metadata import MAX_EXACT
from ictc.dataset.catalog.table_lines import iter_lines, iter_text
from ictc.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = (",", ";", "\t", "|")
"""Of a CSV file, likeliest first; which it is, the column with the images says."""

ROWS_PER_CHUNK = 2**14

_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][\w+.-]*://\S+")
_BREAK = re.compile(r"\r\n|\r|\n")
_MANY_DIGITS = re.compile(rb"[0-9]{16}")
"""orjson makes floating point numbers of integers beyond 64 bits."""

_SPACED_COLON = re.compile(rb'"\s+:')


def read_csv(content: bytes, columns: Sequence[str]) -> pa.Table:
    """Read every column as text, as "007" is no number; an empty cell is nothing.

    Args:
        columns: names of which one is there, if the delimiter is the right one.

    Raises:
        InputError: a row has more or fewer cells than the header, or a quote is never closed, or some rows further on.
    """
    import pyarrow as pa

    rows = iter_csv(iter_lines(BytesIO(content)), columns=columns, paths=columns)
    header = next(rows)
    chunks = [_columns_of(chunk) for chunk in iter(lambda: list(islice(rows, ROWS_PER_CHUNK)), [])]
    arrays = [pa.chunked_array([chunk[n] for chunk in chunks], pa.string()) for n in range(len(header))]
    return pa.Table.from_arrays(arrays, names=header)


def iter_csv(lines: Iterable[str], *, columns: Sequence[str], paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the header, then the cells of each row, as text.

    Args:
        columns: names of which one is there, if the delimiter is the right one.
        paths: names of a column that says where images are, best first.

    Raises:
        InputError: there is no header, a row has more or fewer cells than it, or a quote is never closed, or some rows
            further on.
    """
    remaining = iter(lines)
    first = next(remaining, "")
    given = _SEPARATOR_LINE.match(first)
    delimiter = given[1] if given else _find_delimiter(first, columns)
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(chain([first], remaining), delimiter=delimiter, strict=True)
    if given:
        next(reader)
    rows = _checked_rows(reader, delimiter, paths)
    header = next(rows, None)
    if header is None:
        raise InputError("is empty; give a table with a header and rows.")
    yield header
    yield from rows


def _find_delimiter(header: str, columns: Sequence[str]) -> str:
    def names_images(delimiter: str) -> bool:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return any(name.strip().lower() in columns for name in names)

    return next(filter(names_images, DELIMITERS), DELIMITERS[0])


def _checked_rows(reader: Any, delimiter: str, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield the header, then the rows that are not empty lines."""
    width, last_line = 0, reader.line_num
    column: int | None = None
    try:
        for row in reader:
            first_line, last_line = last_line + 1, reader.line_num
            if not row:
                continue
            if not width:
                width, column = len(row), _find_column(row, columns)
            if len(row) != width:
                raise InputError(f"line {first_line} has {len(row)} cells where the header has {width}; correct it.")
            if last_line > first_line and column is not None and _holds_rows(row, delimiter, column):
                raise InputError(
                    f"line {first_line} has a quote that is closed in line {last_line}, and what is between looks like "
                    'rows; remove the quote, or close it in its line (a cell that begins with one is written """A").'
                )
            yield row
    except csv.Error as error:
        raise InputError(f"the row that begins in line {last_line + 1}: {error}; correct its quotes.") from None


def _find_column(header: list[str], columns: Sequence[str]) -> int | None:
    """Return the number of the first of `columns` that is there."""
    names = [name.strip().lower() for name in header]
    return next((names.index(column) for column in columns if column in names), None)


def _holds_rows(row: list[str], delimiter: str, column: int) -> bool:
    """Whether a cell with line breaks looks like several rows, as a stray quote and a later one make a cell of them."""
    return any(
        _looks_like_rows(row, number=number, delimiter=delimiter, column=column)
        for number, cell in enumerate(row)
        if _BREAK.search(cell)
    )


def _looks_like_rows(row: list[str], *, number: int, delimiter: str, column: int) -> bool:
    """Whether each line that cell `number` reaches into has all cells, and a further one an image where rows have it.

    Prose may have as many delimiters, by chance; it hardly names an image, in the same form, between the same two,
    and has spaces behind commas.
    """
    plain = [cell if n == number else _BREAK.sub(" ", cell.replace(delimiter, " ")) for n, cell in enumerate(row)]
    lines = [line.split(delimiter) for line in _BREAK.split(delimiter.join(plain)) if line.strip()]
    if any(len(line) != len(row) for line in lines):
        return False
    first, *others = (_form_of_address(line, column) for line in lines)
    # Where it is the only column, a name with a line break has an image's name as its last line.
    return any(others) if first is None and len(row) > 1 else first is not None and first in others


def _form_of_address(line: list[str], column: int) -> str | None:
    """Return as what a line names an image if it looks like a row."""
    if any(cell.startswith(" ") for cell in line):
        return None
    address = line[column].rstrip()
    return "URL" if _URL.fullmatch(address) else "name" if is_image_name(address) else None


def _columns_of(rows: list[list[str]]) -> list[pa.Array]:
    import pyarrow as pa

    return [pa.array([cell or None for cell in column], pa.string()) for column in zip(*rows, strict=True)]


def read_jsonl(content: bytes) -> pa.Table:
    """Read an object a line, or a list of objects; a column of several types, or of lists or objects, becomes text.

    Raises:
        InputError: a line is no object, or names something twice, or the only one holds all columns or rows.
    """
    import pyarrow as pa

    text = "".join(iter_text(BytesIO(content))).encode()
    if text.lstrip().startswith(b"["):
        rows = _check_rows(_parse("the list", text), "item")
    else:
        rows = list(iter_jsonl(text.splitlines()))
        if len(rows) == 1:
            check_is_a_row(rows[0])
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: unify([path_of_image(name, row.get(name)) for row in rows]) for name in names})


def iter_jsonl(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the object of each line that is not blank.

    Raises:
        InputError: a line is no object, or names something twice.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield check_row(_parse(f"line {number}", line), f"line {number}")


def check_is_a_row(row: dict[str, Any]) -> None:
    """Refuse an object of columns, or of rows, as pandas writes unless told otherwise.

    Raises:
        InputError: the only row is one.
    """
    if row and all(isinstance(value, dict | list) and not _is_image(value) for value in row.values()):
        raise InputError(
            f"is one object, of {', '.join(row)[:80]}, where each row must be one; write an object a row, as pandas "
            'does by to_json(orient="records").'
        )


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"bytes", "path"}


def path_of_image(name: str, value: Any) -> Any:
    """Return the path of an image as Hugging Face `datasets` writes it, and any other value as it is.

    Raises:
        InputError: the image itself lies in the table.
    """
    if not _is_image(value):
        return value
    if value["bytes"] is not None:
        raise InputError(f"column {name} holds the bytes of images; write them into files, and their paths here.")
    return value["path"]


def _check_rows(rows: Any, kind: str) -> list[dict[str, Any]]:
    if not isinstance(rows, list):
        raise InputError("is no list of objects; correct it.")
    return [check_row(row, f"{kind} {number}") for number, row in enumerate(rows, 1)]


def check_row(row: Any, place: str) -> dict[str, Any]:
    """Return a row that is an object.

    Raises:
        InputError: it is none.
    """
    if not isinstance(row, dict):
        raise InputError(f'{place} is no object such as {{"path": "ad.jpg"}}; correct it.')
    return row


def _parse(place: str, text: bytes) -> Any:
    """Parse by orjson where that is exact, else by Python's own module, which reads numbers of any length, and NaN."""
    try:
        row = orjson.loads(text)
        if isinstance(row, dict) and _count_names(text) == len(row) and not _MANY_DIGITS.search(text):
            return row
    except orjson.JSONDecodeError:
        pass  # json says what is wrong, if anything is
    try:
        return storable(json.loads(text, object_pairs_hook=unique_names, parse_constant=read_constant))
    except NamedTwiceError as error:
        raise InputError(f"{place} names {error} twice; correct it.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is not JSON ({error}); correct it.") from None


def _count_names(text: bytes) -> int | None:
    """Return how many names of values there are in JSON at most, None where that is hard to tell."""
    return None if _SPACED_COLON.search(text) else text.count(b'":')


def unify(values: list[Any]) -> list[Any]:
    """Return values of one type that a column can have, none of their digits lost."""
    column = ColumnType()
    for value in values:
        column.observe(value)
    return [column.convert(value) for value in values]


class ColumnType:
    """Which one type the values of a column can have, found out by seeing all of them."""

    def __init__(self) -> None:
        self._types: set[type] = set()
        self._are_int64 = self._are_exact = True

    def observe(self, value: Any) -> None:
        """See a value."""
        if value is None:
            return
        self._types.add(type(value))
        if type(value) is int:
            self._are_int64 = self._are_int64 and value in INT64
            self._are_exact = self._are_exact and abs(value) <= MAX_EXACT

    def convert(self, value: Any) -> Any:
        """Return a value of the column in the type that all of them can have, no digit lost."""
        if value is None or self._is_kept:
            return value
        return float(value) if self._is_float else as_text(value)

    @property
    def _is_kept(self) -> bool:
        return len(self._types) <= 1 and not self._types & {list, dict} and (self._types != {int} or self._are_int64)

    @property
    def _is_float(self) -> bool:
        return self._types == {int, float} and self._are_exact


def as_text(value: Any) -> str | None:
    """Return any value as text; what JSON has no form for, as Python writes it."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))
