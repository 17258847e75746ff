"""Tables of images: which image a row means, under which id, and what becomes of the other columns."""

from __future__ import annotations

import datetime
import gzip
import tempfile
from base64 import b64encode
from csv import DictWriter
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat, draw_image, draw_observation

from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.errors import InputError
from ictc.records import ImageRecord


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
        ImageRecord(
            "007", path="https://h/a.jpg", timestamp="2024-05-01T12:00:00Z", metadata={"note": "two\nlines, é"}
        ),
        ImageRecord("sub/b", path="sub/b.jpg", metadata={"note": None}),
    ]


def test_times_that_are_not_understood_are_kept_and_counted(ictc: Ictc, tmp_path: Path) -> None:
    draw_flat(tmp_path, 4)
    times: list[Any] = [1714564800, "01/05/2024 10:00", "soon", None]
    rows: list[dict[str, Any]] = [{"path": f"ad_{n:03d}.png", "timestamp": time} for n, time in enumerate(times)]
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
    rows: list[dict[str, Any]] = [
        {"path": "a.jpg", "day": datetime.date(2024, 5, 1), "tags": ["x", "y"], "price": Decimal("1.00")},
        {"path": "b.jpg", "day": None, "tags": None, "price": None},
    ]
    first, second = read(write(tmp_path / "list.parquet", rows))
    assert first.metadata == {"day": "2024-05-01", "tags": '["x","y"]', "price": "1.00"}
    assert second.metadata == {"day": None, "tags": None, "price": None}


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
        ("list.csv", "", "is empty"),
        ("list.csv", "path,path\na,b\n", "two columns of the same name, 'path'"),
        ("list.csv", "Path,PATH\na,b\n", "two columns of the same name, 'path'"),
        ("list.csv", "path,n\na.jpg,1\n\nb.jpg,1,2\n", "line 4 has 3 cells where the header has 2"),
        ("list.csv", "path,n\na.jpg\n", "line 2 has 1 cells where the header has 2"),
        (
            "list.csv",
            'path,n\na.jpg,"5 inch\nb.jpg,1\n',
            "begins in line 2: unexpected end of data; correct its quotes",
        ),
        ("list.csv", 'path,n\na.jpg,"5" inch"\n', "begins in line 2: ',' expected"),
        ("list.jsonl", '{"path": "a", "n": 1, "n": 2}\n', "line 1 names 'n' twice"),
        ("list.jsonl", '{"path": "a"}\n{"path": "b", "tags": {"k": 1, "k": 2}}\n', "line 2 names 'k' twice"),
        ("list.jsonl", '{"path" : "a", "path":"b"}\n', "line 1 names 'path' twice"),
        ("list.jsonl", '{"path":"a", "tags":{"k"\t:1, "k" :2}}\n', "line 1 names 'k' twice"),
        ("list.jsonl", r'{"path":"a\":", "p\u0061th":"b"}', "line 1 names 'path' twice"),
        ("list.jsonl", '[{"path": "a"}, 1]', "item 2 is no object"),
        (
            "list.json",
            '{"path":{"0":"a","1":"b"},"id":{"0":1,"1":2}}',
            r'of path, id, where .* to_json\(orient="records"',
        ),
        ("list.json", '{"0":{"path":"a"},"1":{"path":"b"}}', r'to_json\(orient="records"\)'),
        ("list.json", '{"columns":["path"],"index":[0],"data":[["a"]]}', r'to_json\(orient="records"\)'),
        ("list.json", '{"path":["a","b"]}', r'to_json\(orient="records"\)'),
        ("list.json", '{"path": "a"}{', "line 1 is not JSON"),
        ("list.jsonl", '{"image": {"bytes": "/9j/", "path": null}}\n', "column image holds the bytes of images"),
        ("list.jsonl", '{"path": "a", "id": 1e17}\n', "column id holds 100000000000000000 as a floating point number"),
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


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_columns(table: Path, **columns: pa.Array) -> Path:
    parquet.write_table(pa.table(columns), table)
    return table


def test_images_as_the_datasets_library_writes_them(tmp_path: Path) -> None:
    paths = pa.array([{"bytes": None, "path": "a.jpg"}, None, {"bytes": None, "path": None}], IMAGE)
    first, *others = read(write_columns(tmp_path / "list.parquet", image=paths))
    assert (first.image_id, first.path, first.problem) == ("a", "a.jpg", None)
    assert [record.problem for record in others] == [f"row {n} of the table names no image" for n in (2, 3)]
    (tmp_path / "list.jsonl").write_text('{"image": {"bytes": null, "path": "a.jpg"}}\n')
    assert read(tmp_path / "list.jsonl") == [first]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"bytes": b"x", "path": "a.jpg"}], IMAGE),
        pa.array([[b"x"]], pa.list_(pa.binary())),
        pa.array([b"x"], pa.large_binary()),
        pa.array([bytes(16)], pa.binary(16)),
        pa.array([{"thumb": {"bytes": b"x", "path": None}}], pa.struct([("thumb", IMAGE)])),
    ],
)
@pytest.mark.parametrize("name", ["image", "thumb"])
def test_columns_that_hold_bytes_are_refused_by_name(tmp_path: Path, column: pa.Array, name: str) -> None:
    columns = {name: column} if name == "image" else {"path": pa.array(["a.jpg"]), name: column}
    with pytest.raises(InputError, match=f"column {name} is binary"):
        read(write_columns(tmp_path / "list.parquet", **columns))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([101, 102, None], pa.float64()), ["101", "102", "c"]),
        (pa.array([101, float("nan"), 2.5], pa.float64()), ["101", "b", "2.5"]),
        (pa.array([7, 2**24 - 1, None], pa.float32()), ["7", "16777215", "c"]),
        (pa.array([2**53 - 1, 0, -1], pa.float64()), [str(2**53 - 1), "0", "-1"]),
        (pa.array([2**64 - 1, 2**63, 1], pa.uint64()), [str(2**64 - 1), str(2**63), "1"]),
        (pa.array([Decimal("1.00"), Decimal("100.50"), None], pa.decimal128(12, 2)), ["1", "100.50", "c"]),
        (pa.array([Decimal(10**60), Decimal(0), Decimal(-10)], pa.decimal256(70, 2)), [str(10**60), "0", "-10"]),
        (pa.array(["007", " x ", ""]), ["007", "x", "c"]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), None),
    ],
)
def test_ids_of_any_type_are_what_the_user_wrote(tmp_path: Path, ids: pa.Array, expected: list[str] | None) -> None:
    table = write_columns(tmp_path / "list.parquet", path=pa.array(["a.jpg", "b.jpg", "c.jpg"]), id=ids)
    if expected is None:
        with pytest.raises(InputError, match="Two images have the id 'x'"):
            read(table)
    else:
        assert [record.image_id for record in read(table)] == expected


def test_a_time_may_be_a_decimal(tmp_path: Path) -> None:
    time = pa.array([Decimal("1714564800.00")], pa.decimal128(12, 2))
    (record,) = read(write_columns(tmp_path / "list.parquet", path=pa.array(["a.jpg"]), timestamp=time))
    assert (record.timestamp, record.metadata) == ("2024-05-01T12:00:00Z", None)


@pytest.mark.parametrize("lost", [pa.array([1e17]), pa.array([2.0**53]), pa.array([2**24], pa.float32())])
def test_ids_that_lost_digits_before_they_came_are_refused(tmp_path: Path, lost: pa.Array) -> None:
    with pytest.raises(InputError, match=r"column id holds [0-9]+ as a floating point number, which has lost digits"):
        read(write_columns(tmp_path / "list.parquet", path=pa.array(["a.jpg"]), id=lost))


def test_integers_of_any_length_keep_their_digits(ictc: Ictc, tmp_path: Path) -> None:
    draw_flat(tmp_path, 6)
    hashes = [2**63 + n for n in range(3)] + [10**30 + n for n in range(3)]
    rows = [f'{{"path": "ad_{n:03d}.png", "id": {10**25 + n}, "hash": {hashes[n]}}}' for n in range(6)]
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    records = read(tmp_path / "list.jsonl")
    assert [record.image_id for record in records] == [str(10**25 + n) for n in range(6)]
    assert [record.metadata for record in records] == [{"hash": str(one)} for one in hashes]
    run_table(ictc, tmp_path / "list.jsonl", tmp_path / "out")
    results = load(tmp_path / "out", "ictc_final_results.json")["results"]
    assert {row["metadata.hash"] for row in results} <= set(map(str, hashes))
    assert parquet.read_table(tmp_path / "out" / "results.parquet").to_pylist() == results


@pytest.mark.parametrize(
    ("cells", "kept"),
    [
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        (["9007199254740992", "0.5"], [9007199254740992.0, 0.5]),
        (["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["NaN", "1.5"], [None, 1.5]),
        (["[18446744073709551616]", "null"], ["[18446744073709551616]", None]),
        ([r'"\ud800"', '"x"'], ["\\ud800", "x"]),
    ],
)
def test_json_values_beyond_what_columns_hold(tmp_path: Path, cells: list[str], kept: list[Any]) -> None:
    lines = [f'{{"path": "{n}.jpg", "cell": {cell}}}\n' for n, cell in enumerate(cells)]
    (tmp_path / "list.jsonl").write_text("".join(lines))
    assert [record.metadata for record in read(tmp_path / "list.jsonl")] == [{"cell": value} for value in kept]


PROSE = [
    "two\nlines, one comma",
    "Dear all,\n\nthanks, and so on\nBob, Eve",
    "red\nred,green\nred,green,blue",
    "one\nof, a.jpg\nor, b, c.png",
    "Shop now\nhttps://shop.example/x, today",
    "Prices\n1,000\n2,000",
    '{\n  "a": 1,\n  "b": 2\n}',
    "a.jpg\nb.jpg",
    'as he said\n"Summer", "Winter"',
]

PLAIN = "path,note\na.jpg,é\nb.jpg,\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", "|").encode(),
        b"sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n").encode(),
        PLAIN.replace("path,note", " Path , note").encode(),
        PLAIN.replace("\n", "\n\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("b.jpg,", '"b.jpg",""').encode(),
    ],
)
def test_a_csv_file_in_any_dialect(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(content))
    expected = [
        ImageRecord("a", path="a.jpg", metadata={"note": "é"}),
        ImageRecord("b", path="b.jpg", metadata={"note": None}),
    ]
    assert read(tmp_path / "list.csv") == expected
    assert read(tmp_path / "list.csv.gz") == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "lines",
    [
        ["id,path,title", '2,x2.jpg,"Summer', "3,x3.JPG,t3", "4,,", "", '5,x5.png,Winter"', "6,x6.jpg,t6"],
        ["id,path,title", '2,x2.jpg,"Summer', '3,x3.jpg,Winter"'],
        ["id,title,path", '2,"Summer,x2.jpg', '3,Winter",x3.jpg'],
        ["id,title,path", '2,"Summer,/ads/x2', "3,,b/x3.jpg", '4,Winter",'],
        ["url,id", 'https://h/2?x,"Summer', "https://h/3?x,", 'https://h/4,Winter"'],
        ["title,image,id", '"a, b","x2.jpg,""', '"",x3.jpg",3'],
        ["path", '"x2.jpg', "x3.jpg", 'x4.jpg"'],
        ['path,id,"title', '2.jpg,2,Summer"', "3.jpg,3,Fall"],
    ],
)
def test_rows_between_two_stray_quotes_are_not_lost(tmp_path: Path, lines: list[str], delimiter: str) -> None:
    first = next(n for n, line in enumerate(lines, 1) if '"' in line)
    text = "\n".join(lines).replace(",", delimiter) + "\n"
    for before, number in (("", first), (f"sep={delimiter}\n", first + 1)):
        (tmp_path / "list.csv").write_text(before + text)
        with pytest.raises(InputError, match=rf"line {number} has a quote that is closed in line \d+.*remove"):
            read(tmp_path / "list.csv")


@pytest.mark.parametrize("note", PROSE)
@pytest.mark.parametrize("columns", ["path,note", "note,path", "id,path,note", "note,id,path"])
@pytest.mark.parametrize("name", ["a.jpg", "https://h/a?x"])
def test_cells_of_several_lines_are_read(tmp_path: Path, columns: str, note: str, name: str) -> None:
    header = columns.split(",")
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = DictWriter(file, header)
        writer.writeheader()
        writer.writerow(dict.fromkeys(header, "x,y") | {"path": name, "note": note})
    (record,) = read(tmp_path / "list.csv")
    assert record.path == name
    assert record.metadata is not None
    assert record.metadata["note"] == note


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_an_encoding_that_nothing_tells_is_not_guessed(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes('path,"x"\n"é",y\n'.encode(encoding))
    with pytest.raises(InputError, match=r"save the table as UTF-8"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["list.json", "list.jsonl", "list.ndjson", "list.jsonl.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_as_lines_or_as_a_list(tmp_path: Path, name: str, encoding: str) -> None:
    rows = ['{"path": "a.jpg", "note": "é"}', '{"path": "b.jpg"}']
    for text in ("\n".join(rows), f"\n [{', '.join(rows)}]\n", "\r\n\r\n".join(rows) + "\r\n"):
        content = text.encode(encoding)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        assert [record.metadata for record in read(tmp_path / name)] == [{"note": "é"}, {"note": None}]


def test_a_cell_may_be_as_long_as_an_image(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f'path,note\na.jpg,"{"x" * 3_000_000}"\nb.jpg,y\n')
    first, second = read(tmp_path / "list.csv")
    assert (first.metadata, second.metadata) == ({"note": "x" * 3_000_000}, {"note": "y"})


def test_a_missing_number_is_no_platform(tmp_path: Path) -> None:
    nothing = pa.array([float("nan")])
    table = write_columns(tmp_path / "list.parquet", path=pa.array(["a.jpg"]), platform=nothing, timestamp=nothing)
    assert read(table) == [ImageRecord("a", path="a.jpg")]


def test_paths_of_windows(tmp_path: Path) -> None:
    draw_image(tmp_path / "sub" / "a.png")
    rows = [{"path": "sub\\a.png"}, {"path": "C:\\ads\\b.png"}, {"path": "\\\\server\\share\\c.png"}]
    found, drive, share = read(write(tmp_path / "list.jsonl", rows))
    assert (found.image_id, found.path, found.problem) == ("sub/a", "sub/a.png", None)
    assert found.num_bytes
    assert "C: is a drive of Windows" in str(drive.problem)
    assert "leads out of" in str(share.problem)


def test_a_backslash_in_a_name_that_is_there_stays(tmp_path: Path) -> None:
    draw_image(tmp_path / "a\\b.png")
    (record,) = read(write(tmp_path / "list.jsonl", [{"path": "a\\b.png"}]))
    assert (record.path, record.problem) == ("a\\b.png", None)


def test_a_data_uri_is_an_image_like_any_other(ictc: Ictc, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 8)
    content = (ads / "ad_003.png").read_bytes()
    base64 = b64encode(content).decode()
    uris = {
        "ad_003": f"data:image/png;base64,{base64}",
        "spaced": f"DATA:image/png;charset=utf-8;base64,{base64[:50]}\n {quote(base64[50:])}",
        "percent": f"data:,{quote(content)}",
        "broken": "data:image/png;base64,@@@",
    }
    rows = [{"id": f"ad_{n:03d}", "path": f"ads/ad_{n:03d}.png"} for n in range(8) if n != 3]
    rows += [{"id": name, "path": uri} for name, uri in uris.items()]
    table = write(tmp_path / "list.jsonl", rows)
    assert all(len(record.path) < 100 for record in read(table))
    run_table(ictc, table, tmp_path / "out", "--cache_dir", tmp_path / "cache")
    assert load(tmp_path / "out", "broken_images.json") == {"broken": {"reason": "data URI: not valid base64"}}
    seen = {**load(tmp_path / "out", "step1_captions.json"), **load(tmp_path / "out", "ui_only_images.json")}
    assert seen.keys() == {f"ad_{n:03d}" for n in range(8)} | {"spaced", "percent"}
    assert len({orjson.dumps(seen[name]) for name in ("ad_003", "spaced", "percent")}) == 1
    assert ictc("verify", tmp_path / "out").exit_code == 0


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
