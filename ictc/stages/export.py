"""The files that users and notebooks read, made from the journals: the same bytes for the same run.

No clock time, host or path of the run goes in here; those are in `run.json`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from ictc.records import StageName
from ictc.stages.histogram import LabelHistogram
from ictc.stages.image_links import linking_images
from ictc.stages.outcome import Status
from ictc.stages.publish import publish
from ictc.stages.results import ResultRow, Results
from ictc.storage.atomic import atomic_writer, storage_errors, write_atomic
from ictc.storage.json_files import write_json, write_lines, write_mapping, write_table
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
METADATA_PREFIX = "metadata."
"""Of the columns of the user's own table, which may be called like ours."""

MAPPING_FIELDS = ("path", "platform", "ad_format", "timestamp")
ROWS_PER_BATCH = 10_000

FILES_OF_STAGE: Mapping[StageName, tuple[str, ...]] = {
    "caption": ("image_mapping.json", "step1_captions.json", "ui_only_images.json", "broken_images.json"),
    "label": ("step2a_hooks.json",),
    "synthesize": ("step2b_dynamic_clusters.json", "step2b_metadata.json"),
    "assign": (
        "step3_final_assignment.json",
        "step3_metadata.json",
        "ictc_final_results.json",
        "results.parquet",
    ),
}


STALE = "state/stale_exports.json"
"""There while some files are about an earlier state of the run; names the first stage of those."""


@dataclass(frozen=True)
class Exports:
    """Writes each stage's files into `directory` once the stage is complete."""

    directory: Path
    results: Results

    def are_complete(self, stage: StageName) -> bool:
        """Whether all files of `stage` are there, and about what is there now."""
        if stage in stale_stages(self.directory):
            return False
        return all((self.directory / name).is_file() for name in FILES_OF_STAGE[stage])

    def remove_from(self, stage: StageName) -> None:
        """Delete what `stage` and those after it wrote, and what is stale already: the stage is about to change.

        Raises:
            StorageError: the disk refused.
        """
        for one in {*stages_from(stage), *stale_stages(self.directory)}:
            for name in FILES_OF_STAGE[one]:
                with storage_errors(self.directory / name):
                    (self.directory / name).unlink(missing_ok=True)
        save_stale(self.directory, ())

    def _finish(self, stage: StageName) -> None:
        """Note that the files of `stage` are about what is there now, and publish them."""
        stale = stale_stages(self.directory)
        if stale[:1] == (stage,):
            save_stale(self.directory, stale[1:])
        publish(self.directory)

    def write_captions(self, ads_dir: Path | str | None) -> None:
        """Write the files of Step 1 and sort the images into `categorized_images/`."""
        with linking_images(self.directory / "categorized_images", self.results, ads_dir):
            self.write_rejections()
            write_mapping(self.directory / "image_mapping.json", self._iter_mapping())
            write_mapping(self.directory / "step1_captions.json", self._iter_caption_data(Status.DONE))
        ui_only = ((image_id, describe_ui_only(data)) for image_id, data in self._iter_caption_data(Status.UI_ONLY))
        write_mapping(self.directory / "ui_only_images.json", ui_only)
        write_mapping(self.directory / "broken_images.json", self._iter_caption_data(Status.BROKEN))
        self._finish("caption")

    def write_labels(self) -> None:
        """Write the files of Step 2a."""
        self.write_rejections()
        write_mapping(self.directory / "step2a_hooks.json", self.results.iter_labels())
        self._finish("label")

    def write_definitions(self, histogram: LabelHistogram, settings: Mapping[str, Any]) -> None:
        """Write the files of Step 2b; `settings` says what the clusters were made by."""
        definitions = [asdict(definition) for definition in self.results.definitions]
        write_json(self.directory / "step2b_dynamic_clusters.json", definitions)
        metadata = {
            **settings,
            "labeled_images": histogram.num_images,
            "distinct_labels": histogram.num_distinct,
            "labels_read": len(histogram.labels),
            "images_covered": histogram.covered_images,
            "share_covered": round(histogram.coverage, 4),
            "labels": [{"label": label, "count": count} for label, count in histogram.labels],
        }
        write_json(self.directory / "step2b_metadata.json", metadata)
        self._finish("synthesize")

    def write_assignments(self, settings: Mapping[str, Any]) -> None:
        """Write the files of Step 3 and the final results of all steps."""
        self.write_rejections()
        names = {definition.cluster_id: definition.name for definition in self.results.definitions}
        pairs = ((one.image_id, names[one.cluster_id]) for one in self.results.iter_assignments())
        write_mapping(self.directory / "step3_final_assignment.json", pairs)
        sizes = Counter(one.cluster_id for one in self.results.iter_assignments())
        metadata = {
            **settings,
            "images": self.results.manifest.num_images,
            "duplicates": len(self.results.find_duplicates()),
            "step1": status_counts(self.results, "caption"),
            "step2a": status_counts(self.results, "label"),
            "step3": status_counts(self.results, "assign"),
        }
        definitions = [asdict(definition) for definition in self.results.definitions]
        clusters = [{**definition, "size": sizes[definition["cluster_id"]]} for definition in definitions]
        write_json(self.directory / "step3_metadata.json", {**metadata, "clusters": clusters})
        own_types = metadata_types(self.results.manifest)
        write_table(
            self.directory / "ictc_final_results.json",
            {"metadata": metadata, "cluster_definitions": definitions},
            "results",
            (result_fields(row, own_types) for row in self.results.iter_rows()),
        )
        rows = (result_fields(row, own_types) for row in self.results.iter_rows())
        write_parquet(self.directory / "results.parquet", rows, own_types)
        self._finish("assign")

    def _iter_mapping(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for image in self.results.manifest:
            yield image.image_id, {name: getattr(image, name) for name in MAPPING_FIELDS}

    def _iter_caption_data(self, status: Status) -> Iterator[tuple[str, dict[str, Any]]]:
        return ((image_id, flatten_caption(data)) for image_id, data in self.results.iter_data("caption", status))

    def write_rejections(self) -> None:
        """Write what each stage gave up on so far."""
        write_lines(self.directory / "rejected.jsonl", map(asdict, self.results.iter_rejections()))


def stages_from(stage: StageName) -> tuple[StageName, ...]:
    """Return a stage and those after it."""
    stages = tuple(FILES_OF_STAGE)
    return stages[stages.index(stage) :]


def mark_stale(directory: Path, stage: StageName) -> None:
    """Note that what `stage` and those after it wrote, if anything, is about something that is going to be replaced.

    The files stay, as what replaces them may never come about, and are never taken for current.

    Raises:
        StorageError: the disk refused.
    """
    stages = max(stages_from(stage), stale_stages(directory), key=len)
    if any((directory / name).exists() for one in stages for name in FILES_OF_STAGE[one]):
        save_stale(directory, stages)


def stale_stages(directory: Path) -> tuple[StageName, ...]:
    """Return the stages whose files in `directory` are about an earlier state of the run: one and all after it."""
    try:
        return stages_from(orjson.loads((directory / STALE).read_bytes())["from"])
    except FileNotFoundError:
        return ()
    except (ValueError, LookupError, TypeError):  # damaged
        return tuple(FILES_OF_STAGE)


def save_stale(directory: Path, stages: Sequence[StageName]) -> None:
    """Remember the result of `stale_stages`.

    Raises:
        StorageError: the disk refused.
    """
    path = directory / STALE
    if stages:
        write_atomic(path, orjson.dumps({"from": stages[0]}))
        return
    with storage_errors(path):
        path.unlink(missing_ok=True)


def flatten_caption(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a caption as users see it, a track's own fields beside the common ones."""
    fields = {name: value for name, value in data.items() if name not in ("ui_only", "analysis")}
    return {**fields, **data.get("analysis", {})}


def describe_ui_only(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return why a screen was set apart, with what was seen on it."""
    return {"reason": "the screen shows only the interface of an app", **data}


def status_counts(results: Results, stage: StageName) -> dict[str, int]:
    """Return how many images left `stage` in which way, all ways listed."""
    counts = results.count_statuses(stage)
    return {status.value: counts[status] for status in Status if counts[status] or status is Status.DONE}


def result_fields(row: ResultRow, own_columns: Iterable[str]) -> dict[str, Any]:
    """Return a row of the final results.

    Args:
        own_columns: those of the user's own that any row has; null where this one has none.
    """
    image, caption, assignment = row.image, row.caption, row.assignment
    values = (
        *(image.image_id, image.path, image.platform, image.ad_format, image.timestamp),
        *(caption.category, caption.brand, caption.text, caption.summary),
        *(row.label, assignment.cluster_id, row.cluster.name, assignment.confidence),
        *(row.runner_up.name if row.runner_up else None, row.duplicate_of),
    )
    own = {METADATA_PREFIX + name: value for name, value in (image.metadata or {}).items()}
    return {**dict(zip(RESULT_FIELDS, values, strict=True)), **dict.fromkeys(own_columns), **own}


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


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], own_types: Mapping[str, type] | None = None) -> None:
    """Write result rows as a Parquet table.

    Args:
        own_types: of the columns beyond `RESULT_FIELDS`.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {"cluster_id": pa.int32(), "confidence": pa.float64()}
    own = {
        name: {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(kind)
        for name, kind in (own_types or {}).items()
    }
    columns = {**{name: types.get(name) for name in RESULT_FIELDS}, **own}
    schema = pa.schema([(name, kind or pa.string()) for name, kind in columns.items()])
    iterator = iter(rows)
    with atomic_writer(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while batch := list(islice(iterator, ROWS_PER_BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
