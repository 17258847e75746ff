"""A table of images: a row an image, with a column for its path or address and any others for what is known of it.

The other columns are the user's own: they are handed to the results as they are, and to no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.local_tree import with_local_size
from ictc.dataset.catalog.metadata import TIME_COLUMN, Metadata
from ictc.dataset.catalog.naming import Frames, file_id, make_record
from ictc.dataset.catalog.tally import Tally
from ictc.dataset.catalog.times import parse_timestamp
from ictc.dataset.fetching.locations import hide_secrets, is_url, parent
from ictc.dataset.fetching.remote import describe, open_filesystem
from ictc.errors import ConfigError, InputError
from ictc.records import ImageRecord

if TYPE_CHECKING:
    import pyarrow as pa

PATH_COLUMNS = ("path", "image", "url", "file_name")
"""Columns that may say where an image is, best first."""

ID_COLUMN = "id"
FIELD_COLUMNS = ("platform", "ad_format", "timestamp")
ROWS_PER_BATCH = 4096


class TableCollection(Collection):
    """The images that a table names, in its order.

    Attributes:
        addresses: the full address of each image whose path in records leaves out a secret, by id.
    """

    def __init__(self, table: pa.Table, name: str, base: str) -> None:
        column = find_path_column(table.column_names, name)
        given = ["" if path is None else str(path).strip() for path in table[column].to_pylist()]
        shown = _hide_apart(given)
        super().__init__(base, "table", tuple(shown))
        self._table = table
        self._given = given
        self._column = column

    @cached_property
    def _kept(self) -> list[str]:
        """The columns that are kept to the results; that of times, too, if any of them cannot be read."""
        taken = {self._column, ID_COLUMN, *FIELD_COLUMNS}
        if TIME_COLUMN in self._table.column_names:
            times = self._table[TIME_COLUMN].to_pylist()
            if any(_has_value(time) and parse_timestamp(time) is None for time in times):
                taken.remove(TIME_COLUMN)
        return [name for name in self._table.column_names if name not in taken]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all rows, secrets left out."""
        digest = sha256()
        for _, record in self.iter_records(range(len(self)), "first", with_sizes=False):
            digest.update(orjson.dumps([record.image_id, record.path, *_fields(record), record.metadata]))
        return digest.hexdigest()

    @cached_property
    def addresses(self) -> dict[str, str]:
        pairs = zip(self.iter_records(range(len(self)), "first", with_sizes=False), self._given, strict=True)
        return {record.image_id: address for (_, record), address in pairs if record.path != address}

    def iter_records(
        self, indices: range, frames: Frames, left_out: Tally | None = None, *, with_sizes: bool = True
    ) -> Iterator[tuple[int, ImageRecord]]:
        folder = None if is_url(self.location) or not with_sizes else Path(self.location)
        for start in range(indices.start, indices.stop, ROWS_PER_BATCH):
            rows = self._table.slice(start, min(ROWS_PER_BATCH, indices.stop - start)).to_pylist()
            for index, row in enumerate(rows, start):
                record = self._make_record(index, row)
                yield index, record if folder is None or is_url(record.path) else with_local_size(record, folder)

    def name(self, index: int, image: ImageRecord) -> str:
        return f"row {index + 1} ({image.path!r})"

    def _make_record(self, index: int, row: Mapping[str, Any]) -> ImageRecord:
        path = self.units[index]
        given_id = row.get(ID_COLUMN)
        image_id = "" if given_id is None else hide_secrets(str(given_id).strip())
        if not image_id:
            image_id = f"row {index + 1}" if not path else path if is_url(path) else file_id(path)
        metadata = Metadata(
            None, _text(row.get("platform")), _text(row.get("ad_format")), parse_timestamp(row.get("timestamp"))
        )
        record = make_record(image_id, path, metadata, None if path else f"row {index + 1} of the table names no image")
        return replace(record, metadata={name: _without_secrets(row[name]) for name in self._kept} or None)


def _fields(record: ImageRecord) -> tuple[str | None, ...]:
    return record.platform, record.ad_format, record.timestamp


def _has_value(cell: object) -> bool:
    return _text(cell) is not None


def _text(value: object) -> str | None:
    return None if value is None else str(value).strip() or None


def _without_secrets(value: Any) -> Any:
    return hide_secrets(value) if isinstance(value, str) else value


def _hide_apart(addresses: Sequence[str]) -> list[str]:
    """Return the addresses without their secrets; where two become the same by that, a digest tells them apart."""
    first_of: dict[str, str] = {}
    shown = []
    for address in addresses:
        hidden = hide_secrets(address)
        if hidden != address and first_of.setdefault(hidden, address) != address:
            hidden += f"#{blake2b(address.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"
        shown.append(hidden)
    return shown


def find_path_column(columns: Sequence[str], name: str) -> str:
    """Return which column says where the images are.

    Raises:
        InputError: none does.
    """
    found = next((column for column in PATH_COLUMNS if column in columns), None)
    if found is None:
        there = ", ".join(columns)
        raise InputError(
            f"{name} has no column {', '.join(PATH_COLUMNS)}, only {there}; rename the one with the images."
        )
    return found


def list_table(location: Path | str, base: str | None) -> TableCollection:
    """Read a table of images.

    Args:
        location: of a `.csv`, `.parquet` or `.jsonl` file; may be a URL.
        base: what paths in it are relative to; the table's own folder unless given.

    Raises:
        ConfigError: it is of another kind.
        InputError: it cannot be read, has no rows, or does not say where the images are.
    """
    name = str(location)
    suffix = name[name.rfind(".") :].lower()
    if suffix not in READERS:
        raise ConfigError(f"--images {name}: the table must end in one of {' '.join(READERS)}")
    try:
        table = READERS[suffix](_read_bytes(name))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except (OSError, ValueError, TypeError, NotImplementedError) as error:  # pyarrow raises all of them
        raise InputError(f"{name} cannot be read as a table: {describe(error)}; correct the file.") from None
    if len(set(table.column_names)) < len(table.column_names):
        raise InputError(f"{name} has two columns of the same name; rename one of them.")
    if not table.num_rows:
        raise InputError(f"{name} has no rows; give --images a table of images.")
    return TableCollection(table, name, base if base is not None else parent(name))


def _read_bytes(location: str) -> bytes:
    if not is_url(location):
        return Path(location).read_bytes()
    files, path = open_filesystem(location)
    try:
        content: bytes = files.cat_file(path)
    except Exception as error:  # each service has its own
        raise InputError(f"cannot be read ({describe(error)}); check the address and access.") from None
    return content


def read_csv(content: bytes) -> pa.Table:
    """Read every column as text, as "007" is no number; an empty cell is nothing."""
    import pyarrow as pa
    from pyarrow import csv

    newlines = csv.ParseOptions(newlines_in_values=True)
    names = csv.open_csv(pa.BufferReader(content), parse_options=newlines).schema.names
    types = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    return csv.read_csv(pa.BufferReader(content), parse_options=newlines, convert_options=types)


def read_parquet(content: bytes) -> pa.Table:
    """Read a Parquet file; what JSON has no form for becomes text.

    Raises:
        InputError: a column is binary.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(pa.BufferReader(content))
    columns = {name: _plain_column(name, table[name]) for name in table.column_names}
    return pa.table(columns)


def _plain_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain_column(name, column.cast(kind.value_type))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise InputError(f"column {name} is binary, which no result can hold; remove it.")
    is_plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if is_plain and kind != pa.uint64():
        return column
    return column.cast(pa.string()) if not pa.types.is_nested(kind) else pa.array(map(_as_text, column.to_pylist()))


def read_jsonl(content: bytes) -> pa.Table:
    """Read an object a line; a column of several types, or of lists or objects, becomes text.

    Raises:
        InputError: a line is no object.
    """
    import pyarrow as pa

    rows = [_parse_line(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _unify([row.get(name) for row in rows]) for name in names})


def _parse_line(number: int, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"line {number} is not JSON ({error}); correct it.") from None
    if not isinstance(row, dict):
        raise InputError(f'line {number} is no object such as {{"path": "ad.jpg"}}; correct it.')
    return row


def _unify(values: list[Any]) -> list[Any]:
    """Return values of one type that a column can have."""
    types = {type(value) for value in values if value is not None}
    if types <= {int, float} and types != {int}:
        return [None if value is None else float(value) for value in values]
    if len(types) <= 1 and not types & {list, dict}:
        return values
    return [_as_text(value) for value in values]


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value, default=str).decode()


READERS: dict[str, Callable[[bytes], Any]] = {".csv": read_csv, ".parquet": read_parquet, ".jsonl": read_jsonl}
