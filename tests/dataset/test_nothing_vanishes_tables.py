"""Whatever a table holds, in whatever form: each row is an image or has its problem, and no cell is changed.

`ICTC_SOURCES=10000` sets how many tables are drawn.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tempfile
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.dataset.catalog.table import TableCollection
from ictc.dataset.fetching.data_uris import decode_data_uri, is_data_uri
from ictc.dataset.fetching.places import ImagePlaces
from ictc.records import ImageRecord

NUM_TABLES = int(os.environ.get("ICTC_SOURCES", "200"))

ADDRESSES: dict[str, Callable[[int, bytes], str | None]] = {
    "file": lambda n, _: f"sub/{n}.jpg",
    "windows": lambda n, _: f"sub\\{n}.jpg",
    "dotted": lambda n, _: f"./sub/../sub/{n}.jpg",
    "base64": lambda _, picture: f"data:image/jpeg;base64,{b64encode(picture).decode()}",
    "missing": lambda n, _: f"nowhere/{n}.jpg",
    "drive": lambda n, _: f"C:\\ads\\{n}.jpg",
    "above": lambda n, _: f"../{n}.jpg",
    "absolute": lambda n, _: f"/{n}.jpg",
    "ftp": lambda n, _: f"ftp://127.0.0.1/{n}.jpg",
    "chained": lambda n, _: f"zip://{n}.jpg::file:///a.zip",
    "nothing": lambda _, __: None,
}
READABLE = ("file", "windows", "dotted", "base64")
"""What leads to a picture; the others have a problem, but for what is only found missing when it is read."""

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)
IDS = st.text("aAé夏0123.-_ /", min_size=1, max_size=6).map(str.strip).filter(bool)
NUMBERS = st.none() | st.integers(-(2**70), 2**70) | st.integers(-9, 9)


@dataclass(frozen=True)
class Row:
    """A row, before anybody wrote it down."""

    address: str
    note: str
    number: int | None


ROWS = st.lists(st.builds(Row, st.sampled_from(list(ADDRESSES)), TEXTS, NUMBERS), min_size=1, max_size=8)


@dataclass(frozen=True)
class Form:
    """A way of writing a table down.

    Attributes:
        write: makes a file of columns.
        has_types: whether numbers stay numbers.
    """

    suffix: str
    write: Callable[[dict[str, list[Any]]], bytes]
    has_types: bool


def csv_form(delimiter: str, encoding: str, quoting: Any, newline: str, suffix: str) -> Form:
    def write(columns: dict[str, list[Any]]) -> bytes:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=newline)
        writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
        return packed(buffer.getvalue().encode(encoding), suffix)

    return Form(suffix, write, has_types=False)


def json_form(encoding: str, as_list: bool, suffix: str) -> Form:
    def write(columns: dict[str, list[Any]]) -> bytes:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        text = json.dumps(rows) if as_list else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        return packed(text.encode(encoding), suffix)

    return Form(suffix, write, has_types=True)


def write_parquet(columns: dict[str, list[Any]]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def packed(content: bytes, suffix: str) -> bytes:
    return gzip.compress(content) if suffix.endswith(".gz") else content


ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
CSV_FORMS = st.builds(
    csv_form,
    st.sampled_from(",;\t|"),
    ENCODINGS,
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([".csv", ".tsv", ".CSV", ".csv.gz"]),
)
JSON_FORMS = st.builds(json_form, ENCODINGS, st.booleans(), st.sampled_from([".jsonl", ".json", ".ndjson.gz"]))
FORMS = CSV_FORMS | JSON_FORMS | st.just(Form(".parquet", write_parquet, has_types=True))


@given(rows=ROWS, form=FORMS, ids=st.data(), base=st.sampled_from(["table", "given"]))
@settings(max_examples=NUM_TABLES, deadline=None)
def test_each_row_is_an_image_or_has_its_problem(rows: list[Row], form: Form, ids: st.DataObject, base: str) -> None:
    names, given_ids = ids.draw(draw_ids(len(rows), form))
    with tempfile.TemporaryDirectory() as folder:
        ads = Path(folder) / "ads"
        pictures = lay_pictures(ads, len(rows))
        columns = make_columns(rows, given_ids, pictures, form)
        table = (ads if base == "table" else Path(folder)) / f"list{form.suffix}"
        table.write_bytes(form.write(columns))
        collection = list_collection(None if base == "table" else ads, images=table)
        assert isinstance(collection, TableCollection)
        records = list(iter_images(collection))
        assert [record.image_id for record in records] == names
        for record, row, picture in zip(records, rows, pictures, strict=True):
            check_picture(collection, record, row, picture)
        for name in ("note", "number"):
            kept = [(record.metadata or {}).get(name) for record in records]
            assert kept == written(columns[name], form), (name, form)


def draw_ids(count: int, form: Form) -> st.SearchStrategy[tuple[list[str], list[Any]]]:
    """Return ids as the user knows them, and the cells that mean them."""
    texts = st.lists(IDS, min_size=count, max_size=count, unique=True).map(lambda ids: (ids, ids))
    bits = 70 if form.suffix != ".parquet" else 62
    whole = st.lists(st.integers(0, 2**bits), min_size=count, max_size=count, unique=True)
    small = st.lists(st.integers(0, 2**53 - 1), min_size=count, max_size=count, unique=True)
    numbers = whole.map(lambda ids: ([str(one) for one in ids], ids))
    floats = small.map(lambda ids: ([str(one) for one in ids], [float(one) for one in ids]))
    return st.one_of(texts, numbers, floats) if form.has_types else st.one_of(texts, numbers)


def lay_pictures(ads: Path, count: int) -> list[bytes]:
    (ads / "sub").mkdir(parents=True)
    pictures = [b"\xff\xd8\xff" + bytes([number]) * 40 for number in range(count)]
    for number, picture in enumerate(pictures):
        (ads / "sub" / f"{number}.jpg").write_bytes(picture)
    return pictures


def make_columns(rows: Sequence[Row], ids: list[Any], pictures: list[bytes], form: Form) -> dict[str, list[Any]]:
    addresses = [
        ADDRESSES[row.address](n, picture) for n, (row, picture) in enumerate(zip(rows, pictures, strict=True))
    ]
    numbers = [row.number for row in rows]
    if form.suffix == ".parquet":  # has no longer integers
        numbers = [None if number is None else number % 2**63 for number in numbers]
    return {" ID ": ids, "Path": addresses, "note": [row.note for row in rows], "number": numbers}


def check_picture(collection: TableCollection, record: ImageRecord, row: Row, picture: bytes) -> None:
    if row.address == "missing":
        assert record.problem is None
    elif row.address not in READABLE:
        assert record.problem
    else:
        assert read(collection, record) == picture


def read(collection: TableCollection, record: ImageRecord) -> bytes:
    """Return the bytes that a record leads to."""
    assert record.problem is None
    url = ImagePlaces(collection.location, addresses=collection.addresses).find(record).url
    return decode_data_uri(url) if is_data_uri(url) else Path(url).read_bytes()


def written(cells: list[Any], form: Form) -> list[Any]:
    """Return cells as results are to hold them: as they were written, text where a column has no other form for all."""
    if not form.has_types:
        return [None if cell in (None, "") else str(cell) for cell in cells]
    fits = all(not isinstance(cell, int) or -(2**63) <= cell < 2**63 for cell in cells)
    return cells if fits else [None if cell is None else str(cell) for cell in cells]
