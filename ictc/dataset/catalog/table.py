"""A table of images: a row an image, with a column for its path or address and any others for what is known of it.

The other columns are the user's own: they are handed to the results as they are, and to no model.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b, sha256
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.listing import LASTING
from ictc.dataset.catalog.local_tree import with_local_size
from ictc.dataset.catalog.metadata import TIME_COLUMN, Metadata
from ictc.dataset.catalog.naming import Frames, file_id, make_record
from ictc.dataset.catalog.table_addresses import AddressRules
from ictc.dataset.catalog.table_names import EXACT_FLOATS, PACKED, suffix_of_table, tidy_names
from ictc.dataset.catalog.table_parquet import read_parquet
from ictc.dataset.catalog.table_text import read_csv, read_jsonl
from ictc.dataset.catalog.tally import Tally
from ictc.dataset.catalog.times import parse_timestamp
from ictc.dataset.fetching.data_uris import is_data_uri, shorten
from ictc.dataset.fetching.locations import hide_secrets, is_url, parent, scheme_of
from ictc.dataset.fetching.remote import describe, open_filesystem
from ictc.errors import ConfigError, InputError
from ictc.records import ImageRecord

if TYPE_CHECKING:
    import pyarrow as pa

PATH_COLUMNS = ("path", "image", "url", "file_name")
"""Columns that may say where an image is, best first."""

ID_COLUMN = "id"
FIELD_COLUMNS = ("platform", "ad_format", TIME_COLUMN)
OUR_COLUMNS = (*PATH_COLUMNS, ID_COLUMN, *FIELD_COLUMNS)
ROWS_PER_BATCH = 4096
NUM_PROBED_PATHS = 100

READERS: dict[str, Callable[[bytes], Any]] = {
    ".csv": lambda content: read_csv(content, PATH_COLUMNS),
    ".tsv": lambda content: read_csv(content, PATH_COLUMNS),
    ".parquet": read_parquet,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_jsonl,
}


class TableCollection(Collection):
    """The images that a table names, in its order.

    Attributes:
        addresses: the full address of each image whose path in records leaves out a secret, by id.
    """

    def __init__(self, table: pa.Table, *, name: str, base: str, rules: AddressRules) -> None:
        self._column = find_path_column(table.column_names, name)
        given = [as_written(path) for path in table[self._column].to_pylist()]
        self._given = given if is_url(base) else _with_slashes(given, Path(base))
        super().__init__(base, "table", tuple(_hide_apart(self._given)))
        self._table = table
        self._rules = rules

    @cached_property
    def _kept(self) -> list[str]:
        """The columns that are kept to the results; that of times, too, if any of them cannot be read."""
        taken = {self._column, ID_COLUMN, *FIELD_COLUMNS}
        if TIME_COLUMN in self._table.column_names:
            times = self._table[TIME_COLUMN].unique().to_pylist()
            if any(as_written(time) and parse_timestamp(time) is None for time in times):
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
                record = self._make_record(index, row, is_judged=with_sizes)
                yield index, record if folder is None or is_url(record.path) else with_local_size(record, str(folder))

    def name(self, index: int, image: ImageRecord) -> str:
        return f"row {index + 1} ({image.path!r})"

    def _make_record(self, index: int, row: Mapping[str, Any], *, is_judged: bool) -> ImageRecord:
        path, address = self.units[index], self._given[index]
        image_id = hide_secrets(as_written(row.get(ID_COLUMN)))
        if not image_id:
            image_id = f"row {index + 1}" if not path else path if is_url(path) else file_id(path)
        platform, ad_format, time = (row.get(name) for name in FIELD_COLUMNS)
        metadata = Metadata(
            platform=as_written(platform) or None,
            ad_format=as_written(ad_format) or None,
            timestamp=parse_timestamp(time),
        )
        problem: str | None = f"row {index + 1} of the table names no image"
        if path:
            problem = self._rules.find_problem(address) if is_judged else None
        own = {name: for_results(row[name]) for name in self._kept}
        return make_record(image_id, path=path, metadata=metadata, problem=problem, own=own or None)


def _fields(record: ImageRecord) -> tuple[str | None, ...]:
    return record.platform, record.ad_format, record.timestamp


def as_written(cell: object) -> str:
    """Return a cell as its user knows it: 12 where its column made 12.0 or 12.00 of it, "" where there is nothing."""
    if isinstance(cell, str):
        return cell.strip()
    if cell is None or (isinstance(cell, float) and isnan(cell)):
        return ""
    if isinstance(cell, Decimal):
        whole, _, fraction = (text := format(cell, "f")).partition(".")
        return text if fraction.strip("0") else whole
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)


def for_results(value: Any) -> Any:
    """Return a value of the user's own without secrets; JSON has no decimals."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return hide_secrets(value) if isinstance(value, str) else value


def _with_slashes(paths: list[str], base: Path) -> list[str]:
    """Return paths as this machine writes them: those of Windows with slashes, unless such files are really there."""
    odd = [path for path in paths if "\\" in path and not is_url(path)]
    if any(_is_there(base / path) for path in odd[:NUM_PROBED_PATHS]):
        return paths
    replaced = {path: path.replace("\\", "/") for path in odd}
    return [replaced.get(path, path) for path in paths] if replaced else paths


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        if error.errno not in LASTING:
            raise
        return False  # too long a name, for one


def _hide_apart(addresses: Sequence[str]) -> list[str]:
    """Return the addresses without their secrets; where two become the same by that, a digest tells them apart."""
    first_of: dict[str, str] = {}
    shown = []
    for address in addresses:
        hidden = shorten(address) if is_data_uri(address) else hide_secrets(address)
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


def list_table(location: Path | str, base: str | None, allowed: Set[str] = frozenset()) -> TableCollection:
    """Read a table of images.

    Args:
        location: of a file that ends in one of `READERS`, gzip-compressed or not; may be a URL.
        base: what paths in it are relative to; the table's own folder unless given.
        allowed: schemes of addresses in it that may be read besides http, https and those of `location` and `base`.

    Raises:
        ConfigError: it is of another kind.
        InputError: it cannot be read, has no rows, or does not say where the images are.
    """
    name = str(location)
    reader = READERS.get(suffix_of_table(name))
    if reader is None:
        raise ConfigError(
            f"--images {name}: the table must end in one of {' '.join(READERS)}, or in those and {PACKED}"
        )
    try:
        table = _with_our_names(reader(_read_bytes(name)))
        _check_ids(table)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except (OSError, ValueError, TypeError, NotImplementedError, EOFError, zlib.error) as error:  # pyarrow's, gzip's
        raise InputError(f"{name} cannot be read as a table: {describe(error)}; correct the file.") from None
    if not table.num_rows:
        raise InputError(f"{name} has no rows; give --images a table of images.")
    base = base if base is not None else parent(name)
    own_scheme = {scheme_of(name)} if is_url(name) else set()
    return TableCollection(table, name=name, base=base, rules=AddressRules(base, allowed | own_scheme))


def is_table(location: str) -> bool:
    """Whether a file or URL is a table that can be read, by its name."""
    return suffix_of_table(location) in READERS


def _read_bytes(location: str) -> bytes:
    content = _read_remote(location) if is_url(location) else Path(location).read_bytes()
    return gzip.decompress(content) if location.endswith(PACKED) else content


def _read_remote(location: str) -> bytes:
    files, path = open_filesystem(location)
    try:
        content: bytes = files.cat_file(path)
    except Exception as error:  # each service has its own
        raise InputError(f"cannot be read ({describe(error)}); check the address and access.") from None
    return content


def _with_our_names(table: pa.Table) -> pa.Table:
    """Return the table with our columns under our names, whatever their case; spaces around names go.

    Raises:
        InputError: two columns have the same name.
    """
    return table.rename_columns(tidy_names(table.column_names, OUR_COLUMNS))


def _check_ids(table: pa.Table) -> None:
    """Refuse ids that lost digits before they came to us.

    Raises:
        InputError: there are some.
    """
    if ID_COLUMN not in table.column_names or str(table[ID_COLUMN].type) not in EXACT_FLOATS:
        return
    exact = EXACT_FLOATS[str(table[ID_COLUMN].type)]
    lost = next((one for one in table[ID_COLUMN].to_pylist() if one is not None and abs(one) >= exact), None)
    if lost is not None:
        raise InputError(
            f"column {ID_COLUMN} holds {lost:.0f} as a floating point number, which has lost digits; write the table "
            "anew with ids as text or integers."
        )
