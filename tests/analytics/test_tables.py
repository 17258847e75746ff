"""Tables: no spreadsheet runs them, no terminal obeys them, and nothing in them is lost."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.analytics.labels import read_labels
from ictc.analytics.tables import (
    display_width,
    escape_formula,
    format_columns,
    format_table,
    printable,
    to_records,
    unescape_formula,
    write_csv,
)
from ictc.errors import ConfigError, InputError

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=x", "'x", '"a",b\nc', "", "日本", "\u202eevil", "<script>"]


@given(st.text())
def test_an_escaped_cell_is_no_formula_and_can_be_read_back(text: str) -> None:
    assert not escape_formula(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    if unescape_formula(text) == text:  # what already looks escaped would be ambiguous
        assert unescape_formula(escape_formula(text)) == text


@pytest.mark.parametrize("dtype", ["str", "object", "category"])
def test_no_cell_and_no_header_of_a_csv_file_is_a_formula(dtype: str, tmp_path: Path) -> None:
    cells = [cell for cell in HOSTILE if cell]
    frame = pd.DataFrame({"=name": pd.Series(cells, dtype=dtype), "number": range(-3, len(cells) - 3)})
    write_csv(frame, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["'=name", "number"]
    assert [row[0] for row in rows] == [escape_formula(cell) for cell in cells]
    assert rows[0][1] == "-3"


def test_a_table_on_the_terminal_is_aligned_and_in_one_line_a_row() -> None:
    frame = pd.DataFrame(
        {"name": ["日本", "a\nb\x1b[31m", "x" * 99], "images": [1200, 3, 45], "share": ["9.5%", "", "-0.1%"]}
    )
    lines = format_table(frame).splitlines()
    assert lines[0].split() == ["name", "images", "share"]
    assert lines[1].endswith("1,200   9.5%")
    assert "\x1b" not in lines[2]
    assert "…" in lines[3]
    assert len({display_width(line) for line in (lines[0], lines[1], lines[3])}) == 1
    assert format_table(frame, most_rows=1).splitlines()[-1] == "  … and 2 more"


def test_columns_get_their_format_and_what_is_unknown_stays_empty() -> None:
    frame = pd.DataFrame({"a": [0.125, np.nan], "b": ["x", "y"], "c": [1, 2]})
    shown = format_columns(frame, {"b": "", "a": "{:.1%}"})
    assert shown.to_dict("list") == {"b": ["x", "y"], "a": ["12.5%", ""]}


def test_records_are_plain_values() -> None:
    frame = pd.DataFrame({"share": [0.5, np.nan], "name": pd.Categorical(["x", None]), "clear": [True, False]})
    assert to_records(frame) == [
        {"share": 0.5, "name": "x", "clear": True},
        {"share": None, "name": None, "clear": False},
    ]


def test_long_and_odd_text_is_cut_to_one_line() -> None:
    assert printable("a \u200b\u202e\x00b\r\nc") == "a b c"
    assert len(printable("long " * 200_000)) <= 48


def test_labels_are_read_by_id(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text('\ufeffimage_id,other,truth\n 007 ,1.5, cat \nb,,NA\n"c,""d",x,\n\'=e,x,\'=f\n', encoding="utf-8")
    assert read_labels(path, ("truth",)).to_dict() == {"007": "cat", "b": "NA", 'c,"d': "", "=e": "=f"}


def test_long_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    caption = "line\n" * 400_000
    path.write_text(f'id,caption,truth\na,"{caption}",cat\n', encoding="utf-8")
    assert read_labels(path, ("truth",)).to_dict() == {"a": "cat"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no CSV file in UTF-8"),
        (b"image_id;truth\na;cat\n", "no column image_id or id; its first line names image_id;truth"),
        (b"image_id,class\na,cat\n", "no column truth; its first line names image_id, class"),
        (b"image_id,truth\na,cat,dog\n", "no CSV file in UTF-8"),
        (b"image_id,truth\na\n", "no CSV file in UTF-8"),
        (b"image_id,truth\na,caf\xe9\n", "no CSV file in UTF-8"),
        (b"image_id,truth\na,cat\na,dog\n", "'a' stands there twice"),
        (b"image_id,truth\na,cat\n,dog\n", "row 2 has no image_id"),
        (b"image_id,truth,truth\na,cat,dog\n", "two columns are called truth"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "truth.csv"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"truth\.csv") as caught:
        read_labels(tmp_path / "truth.csv", ("truth",))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read \S+none.csv: No such file"):
        read_labels(tmp_path / "none.csv", ("truth",))
    with pytest.raises(ConfigError, match="cannot read"):
        read_labels(tmp_path, ("truth",))
