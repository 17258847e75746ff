"""The rows of a table one by one, whatever its size: CSV, JSON Lines, a JSON list, Parquet, each also as .gz.

As strict as the tables of images (`table.py`), by the same code; memory holds a batch of rows.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from ictc.dataset.catalog.json_stream import iter_entries
from ictc.dataset.catalog.metadata import MAX_EXACT
from ictc.dataset.catalog.table_lines import iter_lines, iter_text
from ictc.dataset.catalog.table_names import EXACT_FLOATS, PACKED, suffix_of_table, tidy_names
from ictc.dataset.catalog.table_parquet import plain_table
from ictc.dataset.catalog.table_text import (
    ColumnType,
    check_is_a_row,
    check_row,
    iter_csv,
    iter_jsonl,
    path_of_image,
)
from ictc.dataset.fetching.remote import describe
from ictc.errors import ConfigError, InputError

Row = dict[str, Any]

CSV = (".csv", ".tsv")
JSON = (".jsonl", ".ndjson", ".json")
SUFFIXES = (*CSV, *JSON, ".parquet")
ROWS_PER_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class TableRows:
    """A table whose columns are known. Iterating reads the file.

    Attributes:
        names: of the columns.
        exact_below: of columns of floating point numbers, up to which integer these are exact.
    """

    path: Path
    names: tuple[str, ...]
    known: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    exact_below: Mapping[str, int] = field(default_factory=dict)
    _types: Mapping[str, ColumnType] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Row]:
        """Yield each row by column; what is not there is None.

        Raises:
            InputError: the file is damaged; with the row or line.
        """
        with reading(self.path):
            yield from self._rows()

    def _rows(self) -> Iterator[Row]:
        suffix = suffix_of_table(self.path.name)
        if suffix in CSV:
            return _iter_csv_rows(self.path, names=self.names, known=self.known, paths=self.paths)
        if suffix in JSON:
            return (
                {name: kind.convert(row.get(name)) for name, kind in self._types.items()}
                for row in _iter_json(self.path)
            )
        return _iter_parquet(self.path, self.names)


def open_table(path: Path, *, known: Sequence[str], paths: Sequence[str]) -> TableRows:
    """Find out which columns a table has, reading a JSON table whole for that.

    Args:
        known: names of which one is there, in whatever case, if the delimiter of a CSV file is the right one.
        paths: names of a column that says where images are, best first.

    Raises:
        ConfigError: it is of another kind.
        InputError: it can't be read.
    """
    suffix = suffix_of_table(path.name)
    build = partial(TableRows, path=path, known=tuple(known), paths=tuple(paths))
    with reading(path):
        if suffix in CSV:
            with open_file(path) as file:
                return build(names=tuple(tidy_names(next(iter_csv(iter_lines(file), columns=known, paths=paths)))))
        if suffix in JSON:
            types = find_types(path)
            tidy_names(tuple(types))
            return build(names=tuple(types), exact_below=dict.fromkeys(types, MAX_EXACT), _types=types)
        if suffix == ".parquet":
            names, exact_below = _parquet_columns(path)
            return build(names=names, exact_below=exact_below)
    raise ConfigError(f"{path}: a table ends in one of {' '.join(SUFFIXES)}, or in those and {PACKED}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of an error in the block which file it is about.

    Raises:
        InputError: the file can't be read.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, ValueError, TypeError, NotImplementedError, EOFError, zlib.error) as error:  # pyarrow's, gzip's
        raise InputError(f"{path} cannot be read: {describe(error)}; correct the file.") from None


def open_file(path: Path) -> BinaryIO:
    """Open a file, unpacked."""
    return cast(BinaryIO, gzip.open(path)) if path.name.endswith(PACKED) else path.open("rb")


def _iter_csv_rows(path: Path, *, names: Sequence[str], known: Sequence[str], paths: Sequence[str]) -> Iterator[Row]:
    with open_file(path) as file:
        rows = iter_csv(iter_lines(file), columns=known, paths=paths)
        next(rows)
        for row in rows:
            yield {name: cell or None for name, cell in zip(names, row, strict=True)}


def find_types(path: Path) -> dict[str, ColumnType]:
    """Return the columns of a JSON table, in the order in which they appear, with their types."""
    types: dict[str, ColumnType] = {}
    only: Row | None = None
    for number, row in enumerate(_iter_json(path)):
        only = None if number else row
        for name, value in row.items():
            types.setdefault(name, ColumnType()).observe(value)
    if only is not None:
        check_is_a_row(only)
    return types


def _iter_json(path: Path) -> Iterator[Row]:
    for row in _iter_list(path) if _is_list(path) else _iter_json_lines(path):
        yield {name: path_of_image(name, value) for name, value in row.items()}


def _is_list(path: Path) -> bool:
    with open_file(path) as file:
        return next(iter_text(file)).lstrip().startswith("[")


def _iter_list(path: Path) -> Iterator[Row]:
    with open_file(path) as file:
        for number, entry in enumerate(iter_entries(file), 1):
            yield check_row(entry.value, f"item {number}")


def _iter_json_lines(path: Path) -> Iterator[Row]:
    with open_file(path) as file:
        yield from iter_jsonl(line.encode() for line in iter_lines(file))


def _parquet_columns(path: Path) -> tuple[tuple[str, ...], Mapping[str, int]]:
    from pyarrow import parquet

    with open_file(path) as file, parquet.ParquetFile(file) as table:
        schema = table.schema_arrow
    names = tuple(tidy_names(schema.names))
    limits = {name: EXACT_FLOATS.get(str(kind)) for name, kind in zip(names, schema.types, strict=True)}
    return names, {name: limit for name, limit in limits.items() if limit is not None}


def _iter_parquet(path: Path, names: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    with open_file(path) as file, parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(ROWS_PER_BATCH):
            yield from plain_table(pa.Table.from_batches([batch])).rename_columns(list(names)).to_pylist()
