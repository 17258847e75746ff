"""Tables for people and for other programs: CSV that no spreadsheet runs, JSON, and text for a terminal.

Knows data frames and nothing of what is in them. Text in them may come from an image, so none of it is trusted.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ictc.storage.atomic import atomic_writer

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LONGEST_CELL = 48
MOST_ROWS = 40


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV in UTF-8, text that a spreadsheet would take for a formula after an apostrophe.

    All text is quoted: the csv module leaves a lone carriage return bare, and other readers end a row there.

    Raises:
        StorageError: the disk refused.
    """
    safe = pd.DataFrame({escape_formula(str(name)): _escape_column(frame[name]) for name in frame.columns})
    with atomic_writer(path) as file:
        safe.to_csv(file, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def escape_formula(text: str) -> str:
    """Return `text` as a spreadsheet shows it instead of computing it (OWASP, "CSV Injection")."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def unescape_formula(text: str) -> str:
    """Return the text that `escape_formula` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA_STARTS) else text


def _escape_column(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.rename_categories([escape_formula(str(category)) for category in column.cat.categories])
    if pd.api.types.is_numeric_dtype(column):
        return column
    return column.map(_escape_cell)


def _escape_cell(cell: Any) -> Any:
    """Return a cell as CSV has it; of several values, all in one, with semicolons between them."""
    if isinstance(cell, list | np.ndarray):
        cell = ";".join(map(str, cell))
    return escape_formula(cell) if isinstance(cell, str) else cell


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON objects; what is unknown is null."""
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in records]


def format_table(frame: pd.DataFrame, *, indent: str = "  ", most_rows: int = MOST_ROWS) -> str:
    """Return the table in columns, numbers to the right; of more than `most_rows` rows the first, and how many follow.

    Floats must be text already, as only their owner knows how many digits mean something.
    """
    shown = frame.head(most_rows)
    columns = [[printable(str(name)), *(printable(cell_text(cell)) for cell in shown[name])] for name in frame.columns]
    widths = [max(map(display_width, column)) for column in columns]
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) or _looks_numeric(shown[name]) for name in frame.columns]
    lines = []
    for row in zip(*columns, strict=True):
        cells = [pad(cell, width, right) for cell, width, right in zip(row, widths, numeric, strict=True)]
        lines.append((indent + "  ".join(cells)).rstrip())
    if len(frame) > most_rows:
        lines.append(f"{indent}… and {len(frame) - most_rows:,} more")
    return "\n".join(lines)


def format_columns(frame: pd.DataFrame, formats: Mapping[str, str]) -> pd.DataFrame:
    """Return the columns of `formats` alone, in its order, numbers as text in their format, such as "{:.1%}".

    What is unknown becomes "", and an empty format leaves a column as it is.
    """
    columns = {
        name: frame[name].map(pattern.format, na_action="ignore").fillna("") if pattern else frame[name]
        for name, pattern in formats.items()
    }
    return pd.DataFrame(columns)


def cell_text(cell: Any) -> str:
    """Return a cell as text: thousands separated, "" for what is unknown."""
    if pd.isna(cell):
        return ""
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _looks_numeric(column: pd.Series) -> bool:
    return all(cell.strip("-+%0123456789.,–") == "" for cell in map(cell_text, column))


def printable(text: str) -> str:
    """Return text that a terminal shows on one line and takes no orders from, shortened to `LONGEST_CELL`."""
    clean = "".join(character if character.isprintable() else " " for character in text[: 4 * LONGEST_CELL])
    clean = " ".join(clean.split())
    return clean if len(clean) <= LONGEST_CELL else clean[: LONGEST_CELL - 1] + "…"


def display_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes; East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def pad(text: str, width: int, right: bool) -> str:
    """Return `text` filled with spaces to `width` columns of a terminal."""
    space = " " * (width - display_width(text))
    return space + text if right else text + space
