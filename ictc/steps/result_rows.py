"""A row of the final results: everything that a run knows of one image, as users and notebooks get it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ictc.records import Assignment, Caption, ClusterDefinition, ImageRecord
from ictc.storage.atomic import atomic_writer
from ictc.storage.entries import ROWS_PER_BATCH
from ictc.storage.manifest import Manifest

RESULT_FIELDS = (
    "image_id",
    "image_path",
    "platform",
    "ad_format",
    "timestamp",
    "category",
    "brand",
    "text",
    "summary",
    "label",
    "cluster_id",
    "cluster",
    "confidence",
    "runner_up",
    "duplicate_of",
)
PATH_FIELD = "cluster_path"
"""Of nested clusters: the names of all that an image is in, the coarsest first."""
METADATA_PREFIX = "metadata."
"""Of the columns of the user's own table, which may be called like ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """Everything known about one image that Step 3 has judged.

    Attributes:
        cluster: None if none fits.
        runner_up: the cluster that came second, where the engine gave scores.
        duplicate_of: the first image of the collection that is the same, None if this is the first.
        further: what is known besides, by column.
    """

    image: ImageRecord
    caption: Caption
    label: str
    assignment: Assignment
    cluster: ClusterDefinition | None
    runner_up: ClusterDefinition | None = None
    duplicate_of: str | None = None
    further: Mapping[str, Any] = field(default_factory=dict)


def result_fields(row: ResultRow, more_columns: Iterable[str]) -> dict[str, Any]:
    """Return a row of the final results.

    Args:
        more_columns: those beyond `RESULT_FIELDS` that any row has; null where this one has none.
    """
    image, caption, assignment = row.image, row.caption, row.assignment
    values = (
        *(image.image_id, image.path, image.platform, image.ad_format, image.timestamp),
        *(caption.category, caption.brand, caption.text, caption.summary),
        *(row.label, assignment.cluster_id, row.cluster and row.cluster.name, assignment.confidence),
        *(row.runner_up and row.runner_up.name, row.duplicate_of),
    )
    own = {METADATA_PREFIX + name: value for name, value in (image.metadata or {}).items()}
    return {**dict(zip(RESULT_FIELDS, values, strict=True)), **dict.fromkeys(more_columns), **row.further, **own}


def metadata_types(manifest: Manifest) -> dict[str, type]:
    """Return the type of each column that is the user's own; of nothing but nulls, text."""
    types: dict[str, type] = {}
    if manifest.key.get("layout") == "flat":  # has none, and may be large
        return types
    for image in manifest:
        for name, value in (image.metadata or {}).items():
            known = types.setdefault(METADATA_PREFIX + name, str if value is None else type(value))
            if value is not None and known is str:
                types[METADATA_PREFIX + name] = type(value)
    return types


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], more_types: Mapping[str, Any] | None = None) -> None:
    """Write result rows as a Parquet table.

    Args:
        more_types: of the columns beyond `RESULT_FIELDS`, in their order.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {"cluster_id": pa.int32(), "confidence": pa.float64()}
    of_kinds: dict[Any, pa.DataType] = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    of_kinds |= {list[str]: pa.list_(pa.string()), list[int]: pa.list_(pa.int32())}
    more = {name: of_kinds.get(kind) for name, kind in (more_types or {}).items()}
    columns = {**{name: types.get(name) for name in RESULT_FIELDS}, **more}
    schema = pa.schema([(name, kind or pa.string()) for name, kind in columns.items()])
    iterator = iter(rows)
    with atomic_writer(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while batch := list(islice(iterator, ROWS_PER_BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
