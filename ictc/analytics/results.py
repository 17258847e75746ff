"""Reads what finished runs exported, as tables.

Knows the exported files of docs/outputs.md and never looks at a journal. Memory holds the columns that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
from pyarrow import compute, parquet

from ictc.analytics.levels import PREFIX, find_level, level_columns, lift, lift_ids
from ictc.errors import ConfigError, StorageError
from ictc.records import ClusterDefinition, ClusterLevel
from ictc.steps.assign import ASSIGN, METADATA_FILE, ROWS_FILE
from ictc.steps.caption import BROKEN_FILE, CAPTION, IMAGES_FILE, UI_ONLY_FILE
from ictc.steps.exports import REJECTED_FILE
from ictc.steps.label import LABELS_FILE
from ictc.steps.none_of_these import name_none
from ictc.steps.result_rows import PATH_FIELD
from ictc.steps.synthesis.levels import level_from_row

FILTERED_COLUMNS = ("image_id", "image_path", "platform", "ad_format", "timestamp", "outcome", "stage", "reason")
FILTERED_FILES = {"ui_only": UI_ONLY_FILE, "broken": BROKEN_FILE}
REMEDY = "let `ictc run` finish there, or run the same command again"


@dataclass(frozen=True, eq=False, kw_only=True)
class RunResults:
    """The exported results of one track.

    Attributes:
        metadata: the settings that the clusters were made by, and how many images left each step in which way.
        definitions: the clusters, in their order.
        judged: one row an image that has a cluster or fits none, in the order of the collection, with the columns of
            `results.parquet` that were asked for; "cluster" is an ordered category in the order of `definitions`. With
            levels and all columns, "level.NAME" has the cluster of each other level, in place of "cluster_path".
        levels: of nested clusters, the coarsest first; () if they are not nested.
        level: the one that `definitions`, "cluster" and "cluster_id" are about, "" without levels; the confidence and
            the runner-up are those of the finest.
    """

    directory: Path
    track: str
    criterion: str
    num_clusters: int
    metadata: dict[str, Any]
    definitions: tuple[ClusterDefinition, ...]
    judged: pd.DataFrame
    levels: tuple[ClusterLevel, ...] = ()
    level: str = ""

    def at_level(self, name: str) -> RunResults:
        """Return the same of another level; these must be of the finest one, as they are read.

        Raises:
            ConfigError: there is no such level.
        """
        place = find_level([level.name for level in self.levels], name, where=str(self.directory))
        level, clusters = self.levels[place], self.judged["cluster"]
        judged = self.judged.assign(cluster=lift(clusters, self.levels, place))
        if "cluster_id" in judged:
            judged = judged.assign(cluster_id=lift_ids(clusters, self.levels, place))
        others = [name for one in self.levels if (name := PREFIX + one.name) in judged]
        if others:
            judged = judged.drop(columns=others).assign(**level_columns(clusters, self.levels, besides=place))
        return replace(
            self, judged=judged, definitions=level.clusters, num_clusters=len(level.clusters), level=level.name
        )

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Those of `judged` with a cluster."""
        fits_none = self.judged["cluster"].isna()
        if not fits_none.any():
            return self.judged
        rows = self.judged[~fits_none].reset_index(drop=True)
        return rows.astype({"cluster_id": "int32"}) if "cluster_id" in rows else rows

    @cached_property
    def none(self) -> pd.DataFrame:
        """Those of `judged` that no cluster fits."""
        return self.judged[self.judged["cluster"].isna()].reset_index(drop=True)

    @property
    def named(self) -> pd.DataFrame:
        """`judged`, where images that no cluster fits have `none_name` for a cluster, the last, if there are any."""
        cluster = self.judged["cluster"]
        if not cluster.isna().any():
            return self.judged
        return self.judged.assign(cluster=cluster.cat.add_categories(self.none_name).fillna(self.none_name))

    @property
    def none_name(self) -> str:
        """What people are told of images that no cluster fits; no cluster is called so."""
        return name_none(definition.name for definition in self.definitions)

    @property
    def is_several(self) -> bool:
        """Whether images may be in several clusters, of which "cluster" is the best."""
        return bool(self.metadata.get("multi_label"))

    def check_partition(self) -> None:
        """Refuse clusters that overlap, to what compares divisions of the images.

        Raises:
            ConfigError: with what to do.
        """
        if self.is_several:
            raise ConfigError(
                f"{self.directory}: images may be in several clusters there (--multi_label), and this compares "
                "divisions of the images; make one with ictc recluster --multi_label=false"
            )

    @property
    def name(self) -> str:
        """The run in a few words, such as "marketing, K=5", with its level unless that is the finest."""
        is_finest = not self.levels or self.level == self.levels[-1].name
        return f"{self.track}, K={self.num_clusters}" + ("" if is_finest else f", {self.level}")

    @cached_property
    def filtered(self) -> pd.DataFrame:
        """One row an image without a cluster, read when first asked for.

        `outcome` is "none" if no cluster fits, else "ui_only", "broken" or "rejected"; `stage` is the step that set the
        image apart, as in `rejected.jsonl`. An image whose label alone was rejected has a cluster and is not here.

        Raises:
            StorageError: a file is missing or damaged.
        """
        return load_filtered(self.directory)


def find_results(directories: Sequence[Path]) -> list[Path]:
    """Return each folder with results among `directories` and, where one has none, in the folders directly inside it.

    Raises:
        ConfigError: one of `directories` leads to no results.
    """
    found: dict[Path, Path] = {}
    for directory in directories:
        here = [directory] if (directory / ROWS_FILE).is_file() else _results_inside(directory)
        if not here:
            raise ConfigError(f"{directory}: no {ROWS_FILE} here or one folder below; Step 3 makes it: {REMEDY}")
        found.update((path.resolve(), path) for path in here)
    return list(found.values())


def find_single_results(directory: Path) -> Path:
    """Return the one folder with results in `directory` or directly inside it.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = find_results([directory])
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise ConfigError(f"{directory} holds several results; name one of {names}")
    return found[0]


def _results_inside(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if (path / ROWS_FILE).is_file())


def load_results(directory: Path, columns: Sequence[str] | None = None, *, level: str | None = None) -> RunResults:
    """Read the exported results in `directory`.

    Args:
        columns: of `results.parquet`; all if None. "cluster" is always read.
        level: of nested clusters, the one that the results are to be about; None for the finest.

    Raises:
        ConfigError: Step 3 has not finished here, or there is no such level.
        StorageError: a file is damaged, or the files belong to different runs.
    """
    for name in (METADATA_FILE, ROWS_FILE):
        if not (directory / name).is_file():
            raise ConfigError(f"{directory} has no {name}, which Step 3 makes: {REMEDY}")
    metadata, definitions, levels = _read_metadata(directory / METADATA_FILE)
    judged = _read_rows(directory / ROWS_FILE, columns, definitions)
    if levels and columns is None:
        of_levels = level_columns(judged["cluster"], levels, besides=len(levels) - 1)
        judged = judged.drop(columns=PATH_FIELD, errors="ignore").assign(**of_levels)
    found = RunResults(
        directory=directory,
        track=metadata["track"],
        criterion=metadata["criterion"],
        num_clusters=metadata["num_clusters"],
        metadata=metadata,
        definitions=definitions,
        judged=judged,
        levels=levels,
        level=levels[-1].name if levels else "",
    )
    return found if level is None else found.at_level(level)


def name_runs(runs: Sequence[RunResults]) -> list[str]:
    """Return a name for each run that no other has: its own, with its folder where two have the same."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.directory})" for name, run in zip(names, runs, strict=True)
    ]


def _read_metadata(path: Path) -> tuple[dict[str, Any], tuple[ClusterDefinition, ...], tuple[ClusterLevel, ...]]:
    """Return the settings and counts of a run, its clusters, and their levels."""
    metadata = _read_json(path)
    try:
        clusters = metadata.pop("clusters")
        definitions = tuple(ClusterDefinition.from_row(cluster) for cluster in clusters)
        levels = tuple(level_from_row(row) for row in metadata.pop("levels", ()))
        metadata = {name: metadata[name] for name in ("track", "criterion", "num_clusters")} | metadata
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path} is not as ictc writes it ({error!r}): {REMEDY}") from None
    return metadata, definitions, levels


def _read_rows(path: Path, columns: Sequence[str] | None, definitions: Sequence[ClusterDefinition]) -> pd.DataFrame:
    wanted = None if columns is None else list(dict.fromkeys([*columns, "cluster"]))
    try:
        rows = pd.read_parquet(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    names = [definition.name for definition in definitions]
    if not rows["cluster"].isin([*names, None]).all():
        raise StorageError(f"{path} names clusters that {METADATA_FILE} does not: the files are of different runs")
    if "cluster_id" in rows and rows["cluster_id"].isna().any():  # pandas has made floats of them
        rows = rows.astype({"cluster_id": "Int32"})
    return rows.assign(cluster=pd.Categorical(rows["cluster"], categories=names, ordered=True))


def load_rows(directory: Path, image_ids: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Read some columns of some images' rows, in the order of the ids; memory holds these alone.

    Raises:
        StorageError: the file is damaged, or lacks one of them.
    """
    path = directory / ROWS_FILE
    wanted = list(dict.fromkeys(["image_id", *columns]))
    try:
        is_wanted = compute.field("image_id").isin(pa.array(image_ids, pa.string()))
        rows = pd.read_parquet(path, columns=wanted, filters=is_wanted)
        return rows.set_index("image_id").loc[list(image_ids)].reset_index()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _damaged(path, error) from None


def load_clusters(directory: Path) -> pd.DataFrame:
    """Read the clusters, in their order: a table of cluster_id, name, description, and size in images.

    Raises:
        ConfigError: Step 3 has not finished here.
        StorageError: a file is damaged, or the files belong to different runs.
    """
    found = load_results(directory, ["cluster_id"])
    clusters = pd.DataFrame([one.to_row() for one in found.definitions])
    sizes = found.rows["cluster_id"].value_counts()
    return clusters.assign(size=clusters["cluster_id"].map(sizes).fillna(0).astype(int))


def load_levels(directory: Path) -> pd.DataFrame:
    """Read the clusters of every level, the coarsest first: level, cluster_id, name, description, parent and size.

    `parent` is the cluster_id on the level above, null on the coarsest. Without levels there is no row.

    Raises:
        ConfigError: Step 3 has not finished here.
        StorageError: a file is damaged, or the files belong to different runs.
    """
    found = load_results(directory, ["cluster_id"])
    rows = []
    for level in found.levels:
        sizes = found.at_level(level.name).rows["cluster_id"].value_counts()
        parents = level.parents or (None,) * len(level.clusters)
        rows += [
            (level.name, one.cluster_id, one.name, one.description, parent, int(sizes.get(one.cluster_id, 0)))
            for one, parent in zip(level.clusters, parents, strict=True)
        ]
    columns = ["level", "cluster_id", "name", "description", "parent", "size"]
    return pd.DataFrame(rows, columns=columns).astype({"parent": "Int32"})


def load_labels(directory: Path) -> pd.DataFrame:
    """Read the labels, in the order of the collection: a table of image_id and label.

    Raises:
        StorageError: the file is missing or damaged.
    """
    return pd.DataFrame(_read_json(directory / LABELS_FILE).items(), columns=["image_id", "label"])


def load_filtered(directory: Path) -> pd.DataFrame:
    """Read which images of a run have no cluster and why: a table with `FILTERED_COLUMNS`.

    Raises:
        StorageError: a file is missing or damaged.
    """
    reasons = {image_id: (outcome, stage, reason) for image_id, outcome, stage, reason in _iter_reasons(directory)}
    images = _find_images(directory / IMAGES_FILE, reasons.keys())
    rows = [
        (image_id, image["path"], image["platform"], image["ad_format"], image["timestamp"], *reasons[image_id])
        for image_id, image in images
    ]
    return pd.DataFrame(rows, columns=list(FILTERED_COLUMNS))


def _iter_reasons(directory: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield the id of each image without a cluster, its outcome, the stage and the reason."""
    for image_id, nearest in _iter_none(directory / ROWS_FILE):
        yield image_id, "none", ASSIGN.name, f"no cluster fits; nearest: {nearest}" if nearest else "no cluster fits"
    for outcome, name in FILTERED_FILES.items():
        for image_id, image in _read_json(directory / name).items():
            yield image_id, outcome, CAPTION.name, image["reason"]
    for rejection in _iter_json_lines(directory / REJECTED_FILE):
        if rejection["stage"] in (CAPTION.name, ASSIGN.name):  # without a label, it has a cluster all the same
            yield rejection["image_id"], "rejected", rejection["stage"], rejection["reason"]


def _iter_none(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the id of each image that no cluster fits, with the nearest cluster where that is known."""
    if not path.is_file():  # Step 3 has not finished
        return
    try:
        table = parquet.read_table(
            path, columns=["image_id", "runner_up"], filters=compute.field("cluster_id").is_null()
        )
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    yield from zip(*(column.to_pylist() for column in table.columns), strict=True)


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(f"cannot read {path}: {' '.join(str(error).split())[:200]}")


def _find_images(path: Path, image_ids: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entries of `image_ids` in their order in the file, which has one entry a line and may be large."""
    wanted = set(image_ids)
    for line in _iter_lines(path):
        entry = line.strip().rstrip(b",")
        if entry not in (b"{", b"}"):
            ((image_id, image),) = _parse(path, b"{" + entry + b"}").items()
            if image_id in wanted:
                yield image_id, image


def _iter_json_lines(path: Path) -> Iterator[Any]:
    return (_parse(path, line) for line in _iter_lines(path))


def _iter_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; {REMEDY}") from None


def _read_json(path: Path) -> Any:
    return _parse(path, b"".join(_iter_lines(path)))


def _parse(path: Path, content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise StorageError(f"{path} is damaged ({error}): {REMEDY}") from None
