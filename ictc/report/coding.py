"""The page on which a coder says which cluster each image of a sample belongs to, without knowing what the model said.

Nothing in a page tells that: it holds the images in an order of the coder's own, the clusters as they are defined, and
no label, no confidence and no size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ictc.analytics.results import load_rows
from ictc.records import ClusterDefinition
from ictc.report.clusters import clip, cluster_color, cluster_marker, name_rules
from ictc.report.images import ImageFinder, encode_images, find_images
from ictc.report.payload import dump_json
from ictc.report.rendering import render
from ictc.report.words import words_for
from ictc.storage.atomic import write_atomic
from ictc.validation.codings import CANT_TELL, FORMAT, NONE, coder_name
from ictc.validation.drawing import Sample, random_keys
from ictc.version import __version__

IMAGES_AT_A_TIME = 64
"""Decoded images take a megabyte each."""
TEXT_CHARS = 4000
TEXT_FIELDS = ("category", "brand", "text", "summary")
COLUMNS = ("image_path", *TEXT_FIELDS)
"""Of the results, all that is read for the pages."""
STYLES = ("base.css", "coding.css")
SCRIPTS = ("parts.js", "coding_store.js", "coding.js")


@dataclass(frozen=True, kw_only=True)
class CodingPages:
    """The pages that were written.

    Attributes:
        paths: one a coder.
        num_pictured: how many of the sample they show as an image; of the others they show words.
    """

    paths: tuple[Path, ...]
    num_pictured: int


def write_coding_pages(sample: Sample, finder: ImageFinder, folder: Path, *, num_coders: int) -> CodingPages:
    """Write a page for each coder; equal samples and images give equal pages on one machine.

    Raises:
        StorageError: the disk refused.
    """
    rows = load_rows(sample.run.directory, sample.images["image_id"], COLUMNS)
    images = embed_images(rows, finder)
    paths = []
    for number in range(1, num_coders + 1):
        coder = coder_name(number)
        ordered = rows.iloc[random_keys(rows["image_id"], seed=sample.drawing.seed, about=coder).argsort(kind="stable")]
        paths.append(folder / f"{coder}.html")
        write_atomic(paths[-1], build_coding_page(sample, ordered, images, coder=coder).encode())
    return CodingPages(paths=tuple(paths), num_pictured=len(images))


def embed_images(rows: pd.DataFrame, finder: ImageFinder) -> dict[str, str]:
    """Return a small copy of each row's image as a `data:` URI by id, where it is found and can be decoded."""
    embedded: dict[str, str] = {}
    for start in range(0, len(rows), IMAGES_AT_A_TIME):
        embedded |= encode_images(find_images(rows.iloc[start : start + IMAGES_AT_A_TIME], finder))
    return embedded


def build_coding_page(sample: Sample, rows: pd.DataFrame, images: Mapping[str, str], *, coder: str) -> str:
    """Return the page of one coder as HTML.

    Args:
        rows: of the sample, in the order in which they are shown.
        images: as `data:` URIs, by id.
    """
    run, words = sample.run, words_for(sample.run.metadata)
    payload = {
        "format": FORMAT,
        "drawing": sample.drawing.name,
        "level": sample.drawing.level,
        "seed": sample.drawing.seed,
        "per_cluster": sample.per_cluster,
        "coder": coder,
        "none": NONE,
        "cant_tell": CANT_TELL,
        "words": {"one": words.item, "many": f"{words.item}s"},
        "clusters": [describe_cluster(definition, code) for code, definition in enumerate(run.definitions)],
        "items": [
            {"id": row["image_id"], "image": images.get(row["image_id"]), "text": describe_text(row, images)}
            for row in rows.to_dict("records")
        ],
    }
    return render(
        "coding.html.j2",
        styles=STYLES,
        scripts=SCRIPTS,
        criterion=clip(run.criterion, 200),
        coder=coder.replace("_", " ").capitalize(),
        num_items=len(rows),
        item=words.item,
        none_name=run.none_name,
        data=dump_json(payload),
        version=__version__,
    )


def describe_cluster(definition: ClusterDefinition, code: int) -> dict[str, Any]:
    """Return a cluster as coders see it."""
    return {
        "id": definition.cluster_id,
        "name": clip(definition.name),
        "description": clip(definition.description),
        "rules": list(name_rules(definition).items()),
        "color": cluster_color(code),
        "marker": cluster_marker(code),
    }


def describe_text(row: Mapping[str, Any], images: Mapping[str, str]) -> list[str]:
    """Return what is shown where there is no image: its words and what it was described as, never its label."""
    if row["image_id"] in images:
        return []
    return list(_iter_texts(row))


def _iter_texts(row: Mapping[str, Any]) -> Iterator[str]:
    seen: set[str] = set()
    for field in TEXT_FIELDS:
        text = row.get(field)
        if isinstance(text, str) and (text := text.strip()) and text not in seen:
            seen.add(text)
            yield clip(text, TEXT_CHARS)
