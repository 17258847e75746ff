"""Results in the forms of other tools. What leaves is what the results hold, and no more: no demographics, no paths of
this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from ictc.analytics.levels import PREFIX
from ictc.analytics.results import RunResults
from ictc.analytics.tables import to_records, write_csv
from ictc.dataset.fetching.content import HEAD_BYTES, suffixes_of_content
from ictc.dataset.fetching.locations import is_url
from ictc.errors import ConfigError, InputError
from ictc.records import ImageRecord
from ictc.report.clusters import cluster_color
from ictc.report.embedding import embed_texts
from ictc.report.images import ImageFinder
from ictc.report.options import PageOptions
from ictc.report.projection import METHOD, MIN_POINTS, project
from ictc.report.reading import caption_texts
from ictc.report.sampling import sample_positions
from ictc.report.words import TEXTS, words_for
from ictc.steps.image_links import LinkNames, link_or_copy
from ictc.steps.synthesis.levels import level_to_row
from ictc.storage.atomic import atomic_writer, storage_errors
from ictc.storage.json_files import write_json

POINT_FIELDS = (
    "image_id",
    "platform",
    "ad_format",
    "timestamp",
    "brand",
    "label",
    "cluster_id",
    "cluster",
    "confidence",
)


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What an export holds.

    Attributes:
        num_left_out: ads that are not in it, as their image was not found, no cluster fits or a sample was drawn.
    """

    num_exported: int
    num_left_out: int


def export_csv(results: RunResults, _: ImageFinder, output: Path, __: PageOptions) -> ExportSummary:
    """Write all results as one CSV file; no cell is a formula to a spreadsheet.

    It holds images that no cluster fits, too, without a cluster.
    """
    write_csv(results.judged, output)
    return ExportSummary(num_exported=len(results.judged), num_left_out=0)


def export_huggingface(results: RunResults, finder: ImageFinder, output: Path, _: PageOptions) -> ExportSummary:
    """Write a folder for `datasets.load_dataset("imagefolder", data_dir=output)`: images and `metadata.parquet`.

    Raises:
        ConfigError: there is something in `output` already.
        InputError: no image was found.
    """
    rows = place_images(results, finder, output / "train")
    rows.insert(0, "file_name", rows.pop("file_name"))
    texts = dict.fromkeys(("cluster", *level_names(results)), str)
    table = pa.Table.from_pandas(rows.astype(texts), preserve_index=False).replace_schema_metadata()
    with atomic_writer(output / "train" / "metadata.parquet") as file:
        parquet.write_table(table, file)
    return ExportSummary(num_exported=len(rows), num_left_out=len(results.judged) - len(rows))


def export_fiftyone(results: RunResults, finder: ImageFinder, output: Path, _: PageOptions) -> ExportSummary:
    """Write a folder of FiftyOne's type `FiftyOneImageClassificationDataset`: `data/` and `labels.json`.

    Raises:
        ConfigError: there is something in `output` already.
        InputError: no image was found.
    """
    rows = place_images(results, finder, output / "data")
    codes = rows["cluster"].cat.codes
    own = ["image_id", "brand", "label", "platform", "ad_format", "timestamp"]
    attributes = rows[[*own, *level_names(results)]].rename(
        columns={"label": "ad_label"}  # `label` is the classification's own
    )
    labels = {
        os.path.splitext(name)[0]: {"label": code, "confidence": confidence, "attributes": record}  # noqa: PTH122
        for name, code, confidence, record in zip(
            rows["file_name"], codes.tolist(), unknown_as_none(rows["confidence"]), to_records(attributes), strict=True
        )
    }
    classes = [definition.name for definition in results.definitions]
    write_json(output / "labels.json", {"classes": classes, "labels": labels})
    return ExportSummary(num_exported=len(rows), num_left_out=len(results.judged) - len(rows))


def export_datamap(results: RunResults, _: ImageFinder, output: Path, options: PageOptions) -> ExportSummary:
    """Write a map of the captions as one JSON file: clusters with colors, and points in the unit square.

    Raises:
        ConfigError: there are too few ads for a map.
    """
    rows = results.rows.iloc[sample_positions(results.rows["cluster"], limit=options.max_points, seed=options.seed)]
    embedded = embed_texts(caption_texts(rows), options.embeddings, options.seed)
    places = project(embedded.vectors, options.seed)
    if places is None:
        raise ConfigError(f"a map needs at least {MIN_POINTS} ads; here are {len(rows)}")
    points = rows[[*POINT_FIELDS, *level_names(results)]].assign(x=places[:, 0].round(5), y=places[:, 1].round(5))
    clusters = [
        {"cluster_id": one.cluster_id, "name": one.name, "description": one.description, "color": cluster_color(code)}
        for code, one in enumerate(results.definitions)
    ]
    content = {
        "criterion": results.criterion,
        "embeddings": embedded.method,
        "projection": METHOD,
        "num_ads": len(results.rows),
        "clusters": clusters,
        **({"levels": [level_to_row(level) for level in results.levels]} if results.levels else {}),
        "points": to_records(points.astype({"x": float, "y": float})),
    }
    write_json(output, content)
    return ExportSummary(num_exported=len(rows), num_left_out=len(results.judged) - len(rows))


Exporter = Callable[[RunResults, ImageFinder, Path, PageOptions], ExportSummary]

EXPORTERS: dict[str, Exporter] = {
    "csv": export_csv,
    "huggingface": export_huggingface,
    "fiftyone": export_fiftyone,
    "datamap": export_datamap,
}


def level_names(results: RunResults) -> list[str]:
    """Return the columns that have the cluster of each coarser level, [] if clusters are not nested."""
    return [PREFIX + level.name for level in results.levels[:-1]]


def place_images(results: RunResults, finder: ImageFinder, folder: Path) -> pd.DataFrame:
    """Link or copy the images into `folder`; return the rows of those that were found, with their `file_name` there.

    Raises:
        ConfigError: there is something beside or in `folder` already.
        InputError: no image was found, or there never was one.
    """
    if words_for(results.metadata) is TEXTS:
        raise InputError(f"{results.directory} holds texts and no images; export it as csv or datamap")
    if folder.parent.exists() and (not folder.parent.is_dir() or any(folder.parent.iterdir())):
        raise ConfigError(f"{folder.parent} exists already; give --output a new or an empty folder")
    with storage_errors(folder):
        folder.mkdir(parents=True)
        names = list(_iter_placed(results.rows, finder, folder))
    placed = results.rows.assign(file_name=names)
    placed = placed[placed["file_name"].notna()].copy()
    if placed.empty:
        raise InputError(f"no image of {results.directory} was found; say with --ads_dir where they lie")
    return placed


def _iter_placed(rows: pd.DataFrame, finder: ImageFinder, folder: Path) -> Iterator[str | None]:
    names = LinkNames()
    for image_id, image_path in zip(rows["image_id"], rows["image_path"], strict=True):
        source = finder.find(image_id, image_path=image_path)
        if source is None:
            yield None
            continue
        name = names.name(ImageRecord(image_id, path=f"image{suffix_of(source, image_path)}"))
        yield name if link_or_copy(str(source.absolute()), str(folder / name), symlinks=False) else None


def suffix_of(source: Path, image_path: str) -> str:
    """Return the suffix by which other programs know a file for what it is: its own where that is right.

    Args:
        image_path: of the image in the results, which may be an address with a query.
    """
    with source.open("rb") as file:
        suffixes = suffixes_of_content(file.read(HEAD_BYTES))
    given = PurePosixPath(urlsplit(image_path).path if is_url(image_path) else image_path).suffix
    return given if given.lower() in suffixes or not suffixes else suffixes[0]


def unknown_as_none(column: pd.Series) -> list[float | None]:
    """Return numbers for JSON."""
    return [None if pd.isna(value) else float(value) for value in column]
