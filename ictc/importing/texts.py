"""A table as a source: a row a text, or a caption of an image; columns that mean nothing here are kept as metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ictc.dataset.catalog.metadata import MAX_EXACT, TIME_COLUMN
from ictc.dataset.catalog.naming import readable
from ictc.dataset.catalog.table import FIELD_COLUMNS, as_written, for_results
from ictc.dataset.catalog.table_rows import Row, TableRows, open_table
from ictc.dataset.catalog.times import parse_timestamp
from ictc.dataset.fetching.locations import hide_secrets
from ictc.errors import ConfigError, InputError
from ictc.importing.columns import LABEL_COLUMN, Columns, choose_columns
from ictc.importing.items import Item, Kind, make_item
from ictc.importing.paths import ImagePaths
from ictc.records import Caption, ImageRecord
from ictc.stages.outcome import Outcome, Status
from ictc.steps.caption import caption_data

NO_ROWS = "{} has no rows; give a table of texts"


@dataclass(frozen=True)
class TextTable:
    """A table of texts, whose columns are known."""

    rows: TableRows
    columns: Columns
    paths: ImagePaths

    @property
    def kind(self) -> Kind:
        return "texts" if self.columns.image is None else "captions"

    @property
    def location(self) -> Path:
        return self.rows.path

    @property
    def base(self) -> Path:
        return self.paths.base

    @property
    def track(self) -> str:
        return "texts" if self.kind == "texts" else "general"

    @property
    def criterion(self) -> None:
        """None: labels of a table are for whatever criterion is given."""

    @property
    def origin(self) -> Mapping[str, Any]:
        columns = {flag.removeprefix("--"): name for flag, name in self.columns.given()}
        return {"columns": columns}

    def describe(self) -> str:
        columns = self.columns
        parts = [
            f"texts in {columns.text!r}",
            f"ids in {columns.id!r}" if columns.id else "row numbers as ids",
            f"labels in {columns.label!r}" if columns.label else "",
            f"images in {columns.image!r}" if columns.image else "",
            f"{len(self._kept)} columns of metadata" if self._kept else "",
        ]
        said = ", ".join(filter(None, parts))
        hint = f"; {LABEL_COLUMN!r} is metadata, --label_column {LABEL_COLUMN} takes it as the labels of Step 2a"
        return said + (hint if columns.label is None and LABEL_COLUMN in self._kept else "")

    @cached_property
    def _fields(self) -> dict[str, str]:
        """The columns whose values have a place in every result, by the name of that."""
        taken = {name for _, name in self.columns.given()}
        return {name.lower(): name for name in self.rows.names if name.lower() in FIELD_COLUMNS and name not in taken}

    @cached_property
    def _kept(self) -> list[str]:
        taken = {name for _, name in self.columns.given()} | set(self._fields.values())
        return [name for name in self.rows.names if name not in taken]

    def iter_items(self) -> Iterator[Item]:
        row_of_id: dict[str, int] = {}
        number = 0
        for number, row in enumerate(self.rows, 1):
            image_id = self._read_id(number, row)
            if (first := row_of_id.setdefault(image_id, number)) != number:
                raise InputError(
                    f"{self.location}: rows {first:,} and {number:,} both have the id {image_id!r}; give one of them "
                    'another, or name another column with --id_column ("" numbers the rows)'
                )
            yield self._make_item(image_id, number, row)
        if not number:
            raise InputError(NO_ROWS.format(self.location))

    def _read_id(self, number: int, row: Row) -> str:
        if self.columns.id is None:
            return str(number)
        cell = row[self.columns.id]
        limit = self.rows.exact_below.get(self.columns.id, MAX_EXACT)
        if isinstance(cell, float) and abs(cell) >= limit:
            raise InputError(
                f"{self.location}: row {number}: the id {cell:.0f} is a floating point number, which has lost digits; "
                "write the table anew with ids as text or integers"
            )
        image_id = readable(hide_secrets(as_written(cell)))
        if not image_id:
            raise InputError(
                f"{self.location}: row {number} has no id in column {self.columns.id!r}; fill it in, or name another "
                'column with --id_column ("" numbers the rows)'
            )
        return image_id

    def _make_item(self, image_id: str, number: int, row: Row) -> Item:
        columns = self.columns
        values = {field: as_written(row[name]) for field, name in self._fields.items()}
        time = values.get(TIME_COLUMN)
        timestamp = parse_timestamp(time)
        own = {name: for_results(row[name]) for name in self._kept}
        if time and timestamp is None:
            own[self._fields[TIME_COLUMN]] = time
        image = ImageRecord(
            image_id=image_id,
            path=readable(self.paths.place(as_written(row[columns.image]))) if columns.image else "",
            platform=values.get("platform") or None,
            ad_format=values.get("ad_format") or None,
            timestamp=timestamp,
            metadata=own or None,
        )
        label = as_written(row[columns.label]) if columns.label else None
        outcome = _outcome_of(image_id, number, row[str(columns.text)])
        return make_item(image, outcome, label, names_itself=self.kind != "texts")


def _outcome_of(image_id: str, number: int, cell: Any) -> Outcome:
    text = cell if isinstance(cell, str) else as_written(cell)
    if not text.strip():
        return Outcome(Status.BROKEN, {"reason": f"row {number} has no text"})
    caption = Caption(image_id=image_id, category="", brand="", text=readable(text), summary="")
    return Outcome(Status.DONE, caption_data(caption))


def open_texts(path: Path, *, given: Columns, base: Path | None) -> TextTable:
    """Return a table as a source.

    Args:
        base: folder that paths of images start from; the table's own unless given.

    Raises:
        ConfigError: it is of another kind, or it can't be told which column holds what.
        InputError: it can't be read.
    """
    rows = open_table(path, known=given.likely_names, paths=given.image_names)
    if not rows.names:
        raise InputError(NO_ROWS.format(path))
    try:
        columns = choose_columns(given, rows.names)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return TextTable(rows, columns, ImagePaths(base or path.parent))
