"""Reads which image has which cluster or class: from the results of a run, or from a table of two columns.

Tables come from anywhere, so everything that is wrong with one is said in one line with the file's name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from ictc.analytics.levels import find_level, lift_sets
from ictc.analytics.results import find_single_results, load_results
from ictc.analytics.tables import printable, unescape_formula
from ictc.config.levels import ALL_LEVELS
from ictc.errors import ConfigError, InputError
from ictc.steps.none_of_these import NONE_NAME

ID_COLUMNS = ("image_id", "id")
CLUSTER_COLUMNS = ("cluster", "cluster_id")
LARGEST_ROW = 64 << 20
"""In bytes: captions and texts beside the two columns may be long."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """The cluster of each image, by image id.

    Attributes:
        name: what was read, for people.
        clusters: categorical, index: image ids.
        outcomes: of the images that have no cluster, why: "none" if none fits, "ui_only", "broken" or "rejected";
            index: image ids. Empty where nobody says.
        fitting: all clusters that fit each image, the best first, where they were asked for; index: image ids.
        none_name: what images that no cluster fits are called; no cluster is.
        level: of nested clusters, which one this is, "" if they are not nested.
    """

    name: str
    clusters: pd.Series
    outcomes: pd.Series
    fitting: pd.Series | None = field(default=None, kw_only=True)
    none_name: str = field(default=NONE_NAME, kw_only=True)
    level: str = field(default="", kw_only=True)


def load_clusterings(path: Path) -> list[Clustering]:
    """Read the clusters of a run's results, of each level from the coarsest if there are levels, or of a CSV file.

    The file has the columns image_id and cluster.

    Raises:
        ConfigError: there is no such file or folder, or it holds several results.
        InputError: the table is not as it should be.
        StorageError: results are damaged.
    """
    if path.is_dir():
        return _load_results(path)
    clusters = read_labels(path, CLUSTER_COLUMNS)
    clusters = clusters[clusters != ""].astype("category")
    return [Clustering(str(path), clusters, pd.Series(dtype=str))]


def _load_results(path: Path) -> list[Clustering]:
    run = load_results(find_single_results(path), ["image_id"])
    outcomes = run.filtered.set_index("image_id")["outcome"]
    fitting = None
    if run.is_several:
        rows = load_results(run.directory, ["image_id", "clusters"]).rows
        fitting = rows.set_index("image_id")["clusters"].map(list)
    runs = [run.at_level(level.name) for level in run.levels] or [run]
    return [
        Clustering(
            f"{one.directory} ({one.name})",
            one.rows.set_index("image_id")["cluster"],
            outcomes,
            fitting=fitting if fitting is None or not run.levels else lift_sets(fitting, run.levels, place),
            none_name=one.none_name,
            level=one.level,
        )
        for place, one in enumerate(runs)
    ]


def is_all_levels(level: str | None) -> bool:
    """Return whether each level is meant, not one."""
    return level is not None and level.strip().casefold() == ALL_LEVELS


def choose_level(clusterings: Sequence[Clustering], level: str | None, *, path: Path) -> list[Clustering]:
    """Return those of a level: the finest if None, each for "all".

    Raises:
        ConfigError: there is no such level.
    """
    if level is None:
        return [clusterings[-1]]
    if is_all_levels(level):
        return list(clusterings)
    levels = [one.level for one in clusterings if one.level]
    return [clusterings[find_level(levels, level, where=str(path))]]


def read_labels(path: Path, columns: Sequence[str]) -> pd.Series:
    """Read one column of a CSV file in UTF-8 by image id.

    Args:
        columns: names that the column may have, the first that is there counts; the ids' is "image_id" or "id".

    Returns:
        Text without spaces around it, "" where a cell is empty; index: image ids.

    Raises:
        ConfigError: there is no such file.
        InputError: it is no CSV file, lacks a column, or names an image twice or not at all.
    """
    table = _read_csv(path)
    names = [_find_column(path, table.column_names, wanted) for wanted in (ID_COLUMNS, columns)]
    ids, labels = (table.column(name).to_pandas().fillna("").str.strip().map(unescape_formula) for name in names)
    if (ids == "").any():
        raise InputError(f"{path}: row {int((ids == '').argmax()) + 1} has no {names[0]}")
    if ids.duplicated().any():
        raise InputError(
            f"{path}: {printable(ids[ids.duplicated()].iloc[0])!r} stands there twice; keep one row an image"
        )
    return pd.Series(labels.to_numpy(), index=pd.Index(ids, name="image_id"), dtype="str")


def _read_csv(path: Path) -> pa.Table:
    """Read a CSV file with all columns as text."""
    options = {
        "read_options": csv.ReadOptions(block_size=LARGEST_ROW),
        "parse_options": csv.ParseOptions(newlines_in_values=True),
    }
    try:
        with csv.open_csv(path, **options) as reader:
            names = reader.schema.names
        types = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        return csv.read_csv(path, convert_options=types, **options)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else printable(str(error))
        raise ConfigError(f"cannot read {path}: {reason}") from None
    except (pa.ArrowException, UnicodeError) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {printable(str(error))}") from None


def _find_column(path: Path, names: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the first of `wanted` that is a column; a table may hold it only once."""
    found = next((name for name in wanted if name in names), None)
    if found is None:
        columns = ", ".join(map(printable, names[:12]))
        raise InputError(f"{path}: no column {' or '.join(wanted)}; its first line names {columns}")
    if list(names).count(found) > 1:
        raise InputError(f"{path}: two columns are called {found}")
    return found
