"""A contact sheet of the coded images on which people differ from each other or from the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ictc.analytics.results import load_rows
from ictc.report.clusters import clip
from ictc.report.coding import COLUMNS, describe_text, embed_images
from ictc.report.images import ImageFinder
from ictc.report.rendering import render
from ictc.report.words import words_for
from ictc.storage.atomic import write_atomic
from ictc.validation.codings import Codings
from ictc.validation.result import CANT_TELL, answers_table, find_disagreements
from ictc.version import __version__

SHEET = "disagreements.html"
STYLES = ("base.css", "disagreements.css")
NOTE_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image of the sheet.

    Attributes:
        image: as a `data:` URI, None if there is none; then `text` says what is known of it.
        answers: of each coder: name, answer in words ("" if there is none), and note.
    """

    image_id: str
    image: str | None
    text: str
    model: str
    answers: list[tuple[str, str, str]]

    @property
    def coders_differ(self) -> bool:
        """Whether coders who could tell gave different answers."""
        return len({answer for _, answer, _ in self.answers} - {"", CANT_TELL}) > 1


@dataclass(frozen=True, kw_only=True)
class Section:
    """Images of the sheet that belong together."""

    title: str
    entries: list[Entry]


def write_disagreements(codings: Codings, finder: ImageFinder, folder: Path) -> Path:
    """Write the sheet and return its path.

    Raises:
        StorageError: the disk refused.
    """
    differing = find_disagreements(codings)
    rows = load_rows(codings.run.directory, list(differing.index), COLUMNS)
    entries = list(iter_entries(codings, rows, finder))
    path = folder / SHEET
    page = render(
        "disagreements.html.j2",
        styles=STYLES,
        criterion=clip(codings.run.criterion, 200),
        item=words_for(codings.run.metadata).item,
        num_differing=len(entries),
        num_coded=len(codings.table),
        sections=divide(entries),
        version=__version__,
    )
    write_atomic(path, page.encode())
    return path


def iter_entries(codings: Codings, rows: pd.DataFrame, finder: ImageFinder) -> Iterator[Entry]:
    """Yield an entry for each of the rows."""
    images = embed_images(rows, finder)
    said = answers_table(codings).set_index("image_id")
    records: list[dict[str, Any]] = rows.to_dict("records")
    for row in records:
        answers = said.loc[row["image_id"]]
        yield Entry(
            image_id=clip(row["image_id"], 200),
            image=images.get(row["image_id"]),
            text=clip("\n".join(describe_text(row, images))),
            model=clip(answers["model"]),
            answers=[
                (coder, clip(answers[coder] or ""), clip(answers[f"{coder}_note"], NOTE_CHARS))
                for coder in codings.coders
            ],
        )


def divide(entries: Sequence[Entry]) -> list[Section]:
    """Return those on which coders differ, then the others by what the model said, the most frequent first."""
    differing = [entry for entry in entries if entry.coders_differ]
    sections = [Section(title="Coders differ", entries=differing)] if differing else []
    by_model: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.coders_differ:
            by_model.setdefault(entry.model, []).append(entry)
    ordered = sorted(by_model.items(), key=lambda item: (-len(item[1]), item[0]))
    return sections + [Section(title=f"The model says: {name}", entries=found) for name, found in ordered]
