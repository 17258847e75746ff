"""Tables of images: which image a row means, under which id, and what becomes of the other columns."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat, draw_observation

from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.errors import InputError
from ictc.records import ImageRecord


@pytest.fixture
def ictc(capsys: pytest.CaptureFixture[str]) -> Ictc:
    return Ictc(capsys)


def read(table: Path, base: Path | None = None, **options: Any) -> list[ImageRecord]:
    return list(iter_images(list_collection(base, images=table), **options))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the form that the suffix says."""
    if path.suffix == ".csv":
        csv.write_csv(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


SCRIPTED = ("--engine", "scripted", "--num_clusters", 2)


def run_table(ictc: Ictc, table: Path, out: Path, *arguments: object) -> None:
    common = ("--images", table, "--output_dir", out, "--engine", "scripted", "--num_clusters", 3)
    outcome = ictc("run", *common, *arguments)
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_table_of_files_gives_the_results_of_the_folder(ictc: Ictc, tmp_path: Path, suffix: str) -> None:
    ads = draw_flat(tmp_path / "ads", 8)
    names = sorted(path.name for path in ads.iterdir())
    table = write(ads / f"list{suffix}", [{"image": name} for name in names])
    ictc.succeed(ads, tmp_path / "folder")
    run_table(ictc, table, tmp_path / "table")
    assert exported_bytes(tmp_path / "table") == exported_bytes(tmp_path / "folder")
    assert len(list((tmp_path / "table" / "categorized_images").rglob("*.png"))) == 8
    assert ictc("verify", tmp_path / "table").exit_code == 0


def test_columns_of_the_user_reach_the_results(ictc: Ictc, tmp_path: Path) -> None:
    draw_flat(tmp_path / "ads", 8)
    rows = [
        {"id": f"{n:03d}", "path": f"ad_{n:03d}.png", "platform": "TikTok", "label": "truth", "spend": n / 2, "n": n}
        for n in range(8)
    ]
    rows[0]["n"] = None
    table = write(tmp_path / "list.parquet", rows)
    run_table(ictc, table, tmp_path / "out", "--ads_dir", tmp_path / "ads")
    results = load(tmp_path / "out", "ictc_final_results.json")["results"]
    columns = parquet.read_table(tmp_path / "out" / "results.parquet")
    assert columns.to_pylist() == results
    assert {columns.schema.field(f"metadata.{name}").type for name in ("spend", "n")} == {pa.float64(), pa.int64()}
    for row in results:
        number = int(row["image_id"])
        assert (row["platform"], row["metadata.label"], row["metadata.spend"]) == ("TikTok", "truth", number / 2)
        assert row["metadata.n"] == (number or None)
        assert row["label"] != "truth"
    assert ictc("verify", tmp_path / "out").exit_code == 0


def test_csv_cells_are_text_as_written(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        'id,url,note,timestamp\n007,https://h/a.jpg,"two\nlines, é",1714564800\n,sub/b.jpg,,\n'
    )
    assert read(tmp_path / "list.csv") == [
        ImageRecord("007", "https://h/a.jpg", timestamp="2024-05-01T12:00:00Z", metadata={"note": "two\nlines, é"}),
        ImageRecord("sub/b", "sub/b.jpg", metadata={"note": None}),
    ]


def test_times_that_are_not_understood_are_kept_and_counted(ictc: Ictc, tmp_path: Path) -> None:
    draw_flat(tmp_path, 4)
    times = [1714564800, "01/05/2024 10:00", "soon", None]
    rows = [{"path": f"ad_{n:03d}.png", "timestamp": time} for n, time in enumerate(times)]
    table = write(tmp_path / "list.jsonl", rows)
    outcome = ictc("run", "--images", table, "--output_dir", tmp_path / "out", *SCRIPTED)
    assert "2 images whose time can be read in no way, or in several" in outcome.stdout + outcome.stderr
    results = load(tmp_path / "out", "ictc_final_results.json")["results"]
    assert len(results) >= 3
    for row in results:
        number = int(row["image_id"][-3:])
        assert row["timestamp"] == ("2024-05-01T12:00:00Z" if number == 0 else None)
        assert row["metadata.timestamp"] == (None if times[number] is None else str(times[number]))
    assert ictc("verify", tmp_path / "out").exit_code == 0


def test_an_unread_time_of_one_observation_is_a_column_of_all(ictc: Ictc, tmp_path: Path) -> None:
    draw_observation(tmp_path / "ads", "a", timestamp="2024-05-01")
    draw_observation(tmp_path / "ads", "b", 1, timestamp="01/05/2024")
    outcome = ictc("run", "--ads_dir", tmp_path / "ads", "--output_dir", tmp_path / "out", *SCRIPTED)
    assert "1 image whose time can be read in no way, or in several" in outcome.stdout + outcome.stderr
    results = load(tmp_path / "out", "ictc_final_results.json")["results"]
    assert [row["metadata.timestamp"] for row in results] == [None, "01/05/2024"]
    assert parquet.read_table(tmp_path / "out" / "results.parquet").to_pylist() == results
    assert ictc("verify", tmp_path / "out").exit_code == 0


def test_values_that_json_has_no_form_for_become_text(tmp_path: Path) -> None:
    rows = [
        {"path": "a.jpg", "day": datetime.date(2024, 5, 1), "tags": ["x", "y"]},
        {"path": "b.jpg", "day": None, "tags": None},
    ]
    first, second = read(write(tmp_path / "list.parquet", rows))
    assert first.metadata == {"day": "2024-05-01", "tags": '["x","y"]'}
    assert second.metadata == {"day": None, "tags": None}


def test_lines_may_have_different_fields(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"path": "a.jpg", "n": 1}\n\n{"path": "b.jpg", "n": "two", "m": {"k": 1}}\n')
    assert [record.metadata for record in read(tmp_path / "list.jsonl")] == [
        {"n": "1", "m": None},
        {"n": "two", "m": '{"k":1}'},
    ]


def test_a_row_without_an_image_is_not_lost(tmp_path: Path) -> None:
    records = read(write(tmp_path / "list.jsonl", [{"path": "a.jpg"}, {"path": None}, {"path": " "}]))
    assert [(record.image_id, record.problem) for record in records] == [
        ("a", None),
        ("row 2", "row 2 of the table names no image"),
        ("row 3", "row 3 of the table names no image"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.csv", "where,id\na.jpg,1\n", "has no column path, image, url, file_name, only where, id"),
        ("list.csv", "path\n", "has no rows"),
        ("list.csv", "", "cannot be read as a table"),
        ("list.csv", "path,path\na,b\n", "two columns of the same name"),
        ("list.jsonl", '{"path": "a"}\n[1]\n', "line 2 is no object"),
        ("list.jsonl", '{"path": "a"}\n{\n', "line 2 is not JSON"),
        ("list.parquet", "no table", "cannot be read as a table"),
        ("list.csv", "path,id\na.jpg,x\nb.jpg,x\n", r"the id 'x': row 1 \('a.jpg'\) and row 2 \('b.jpg'\)"),
        ("list.csv", "path\na.jpg\na.png\n", r"the id 'a': row 1 \('a.jpg'\) and row 2 \('a.png'\)"),
    ],
)
def test_unusable_tables_say_why(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        read(tmp_path / name)


def test_binary_columns_and_missing_files_say_why(tmp_path: Path) -> None:
    table = write(tmp_path / "list.parquet", [{"path": "a.jpg", "bytes": b"x"}])
    with pytest.raises(InputError, match="column bytes is binary"):
        read(table)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "missing.csv")


def test_another_order_or_column_is_another_collection(tmp_path: Path) -> None:
    rows = [{"path": "b.jpg", "n": 1}, {"path": "a.jpg", "n": 2}]
    tables = [rows, rows[::-1], [{**row, "n": 3} for row in rows], rows]
    found = [list_collection(None, images=write(tmp_path / "list.jsonl", table)) for table in tables]
    assert found[0].units == ("b.jpg", "a.jpg")
    assert found[0].fingerprint == found[3].fingerprint
    assert len({collection.fingerprint for collection in found}) == 3


def test_renewed_signatures_are_the_same_collection(tmp_path: Path) -> None:
    found = []
    for signature in ("one", "two"):
        rows = [{"url": f"https://b.example/{n}.jpg?X-Amz-Signature={signature}{n}"} for n in range(3)]
        found.append(list_collection(None, images=write(tmp_path / "list.jsonl", rows)))
    assert found[0].fingerprint == found[1].fingerprint
    twice = [{"id": name, "url": f"https://b.example/x.jpg?token={name}"} for name in "ab"]
    paths = [record.path for record in read(write(tmp_path / "list.jsonl", twice))]
    assert len(set(paths)) == 2


CELLS = st.one_of(st.none(), st.text(max_size=5), st.integers(-9, 9), st.booleans(), st.floats(allow_nan=False))


@given(
    rows=st.lists(st.fixed_dictionaries({"path": st.text("ab/.", max_size=4), "cell": CELLS}), min_size=1, max_size=9),
    cut=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_every_row_has_one_record_and_slices_make_up_the_whole(rows: list[dict[str, Any]], cut: int) -> None:
    named = [{"id": f"id{number}", **row} for number, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        table = write(Path(folder) / "list.jsonl", named)
        whole = read(table)
        parts = [*read(table, end=cut), *read(table, start=cut)]
    assert [record.image_id for record in whole] == [row["id"] for row in named]
    assert parts == whole
    assert all(record.metadata is not None and record.metadata.keys() == {"cell"} for record in whole)
