"""Whether each exported file says what the journals say: both are read side by side, and the first difference told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ictc.records import StageName
from ictc.runs.reader import read_json
from ictc.runs.verify.entries import (
    Entry,
    first_difference,
    iter_fields,
    iter_lines,
    iter_mapping,
    iter_parquet,
    iter_table,
    row_entry,
)
from ictc.runs.verify.finding import Finding, name_some
from ictc.stages.export import (
    FILES_OF_STAGE,
    describe_ui_only,
    flatten_caption,
    metadata_types,
    result_fields,
    status_counts,
)
from ictc.stages.histogram import build_histogram
from ictc.stages.image_links import FOLDERS, iter_names
from ictc.stages.outcome import Status
from ictc.stages.results import Results
from ictc.storage.keys import StageKey, digest
from ictc.storage.rundir import RunDirectory


@dataclass(frozen=True)
class ExportCheck:
    """Compares the files in `directory` with journals that are in order themselves.

    Attributes:
        keys: those of the results in use.
    """

    directory: Path
    results: Results
    keys: Mapping[StageName, StageKey]

    def findings(self, stage: StageName) -> Iterator[Finding]:
        """Yield which files of `stage` are missing or differ."""
        for name in FILES_OF_STAGE[stage]:
            yield from self._compare(name, *FORMS[name])
        if stage == "caption":
            yield from self._check_links()

    def check_rejections(self) -> Iterator[Finding]:
        """Yield whether `rejected.jsonl` is missing or differs."""
        yield from self._compare(
            "rejected.jsonl",
            iter_lines,
            lambda check: (row_entry(asdict(one)) for one in check.results.iter_rejections()),
        )

    def _compare(self, name: str, read: Reader, expect: Expectation) -> Iterator[Finding]:
        path = self.directory / name
        if not path.is_file():
            yield Finding("export", path, "is missing; run again to write it")
        elif (problem := first_difference(read(path), expect(self))) is not None:
            yield Finding("export", path, problem)

    def _check_links(self) -> Iterator[Finding]:
        manifest = self.results.manifest
        ads_dir = manifest.key["ads_dir"]
        names = [name for _, name in iter_names(manifest, ads_dir)]
        for status, folder_name in FOLDERS.items():
            folder = self.directory / "categorized_images" / folder_name
            outcomes = zip(names, self.results.iter_outcomes(), strict=True)
            expected = {name for name, outcome in outcomes if outcome == status and name is not None}
            there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
            if strange := sorted(there - expected):
                problem = f"has {len(strange):,} images that do not belong there ({name_some(strange)})"
                yield Finding("export", folder, problem)
            missing = sorted(expected - there)
            # A file that could not be read may have vanished; and a merge may see none of the images.
            if missing and status is not Status.BROKEN and Path(ads_dir).is_dir():
                yield Finding("export", folder, f"lacks {len(missing):,} images ({name_some(missing)})")

    # What each file should say

    def mapping(self) -> Iterator[Entry]:
        for image in self.results.manifest:
            fields = asdict(image)
            yield image.image_id, {name: fields[name] for name in ("path", "platform", "ad_format", "timestamp")}

    def captions(self, status: Status) -> Iterator[Entry]:
        return ((image_id, flatten_caption(data)) for image_id, data in self.results.iter_data("caption", status))

    def ui_only(self) -> Iterator[Entry]:
        return ((image_id, describe_ui_only(data)) for image_id, data in self.captions(Status.UI_ONLY))

    def labels(self) -> Iterator[Entry]:
        return self.results.iter_labels()

    def clusters(self) -> Iterator[Entry]:
        return ((definition.name, asdict(definition)) for definition in self.results.definitions)

    def synthesize_metadata(self) -> Iterator[Entry]:
        key = self.keys["synthesize"]
        histogram = build_histogram(self.results.count_labels(), key["top_hooks"], key.get("seed", 0))
        histogram = histogram.head(RunDirectory(self.directory).load_labels_read(key))
        return self._merge_into(
            "step2b_metadata.json",
            {
                "num_clusters": key["num_clusters"],
                "top_hooks": key["top_hooks"],
                "labeled_images": histogram.num_images,
                "distinct_labels": histogram.num_distinct,
                "labels_read": len(histogram.labels),
                "images_covered": histogram.covered_images,
                "labels": [{"label": label, "count": count} for label, count in histogram.labels],
            },
        )

    def final_assignment(self) -> Iterator[Entry]:
        return ((row.image.image_id, row.cluster.name) for row in self.results.iter_rows())

    def assign_metadata(self) -> Iterator[Entry]:
        sizes = Counter(row.cluster.cluster_id for row in self.results.iter_rows())
        clusters = [{**asdict(one), "size": sizes[one.cluster_id]} for one in self.results.definitions]
        return self._merge_into("step3_metadata.json", {**self._counts, "clusters": clusters})

    def final_results(self) -> Iterator[Entry]:
        metadata = {**(read_json(self.directory / "step3_metadata.json") or {}), **self._counts}
        metadata.pop("clusters", None)
        yield "metadata", metadata
        yield "cluster_definitions", [asdict(definition) for definition in self.results.definitions]
        yield from self.rows()

    def rows(self) -> Iterator[Entry]:
        own_columns = metadata_types(self.results.manifest)
        return (row_entry(result_fields(row, own_columns)) for row in self.results.iter_rows())

    @cached_property
    def _counts(self) -> dict[str, Any]:
        key = self.keys["synthesize"]
        steps: tuple[tuple[str, StageName], ...] = (("step1", "caption"), ("step2a", "label"), ("step3", "assign"))
        return {
            "num_clusters": key["num_clusters"],
            "top_hooks": key["top_hooks"],
            "images": self.results.manifest.num_images,
            **{name: status_counts(self.results, stage) for name, stage in steps},
        }

    def _merge_into(self, name: str, fields: dict[str, Any]) -> Iterator[Entry]:
        """Yield what a file says, corrected by what is known to be true."""
        said = read_json(self.directory / name)
        yield from {**(said if isinstance(said, dict) else {}), **fields}.items()


Reader = Callable[[Path], Iterable[Entry]]
Expectation = Callable[[ExportCheck], Iterable[Entry]]


def iter_clusters(path: Path) -> Iterator[Entry]:
    """Yield the clusters of a list of them.

    Raises:
        ValueError: the file holds no such list.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is no list of clusters")
    yield from ((row.get("name"), row) for row in rows)


FORMS: dict[str, tuple[Reader, Expectation]] = {
    "image_mapping.json": (iter_mapping, ExportCheck.mapping),
    "step1_captions.json": (iter_mapping, lambda check: check.captions(Status.DONE)),
    "ui_only_images.json": (iter_mapping, ExportCheck.ui_only),
    "broken_images.json": (iter_mapping, lambda check: check.captions(Status.BROKEN)),
    "step2a_hooks.json": (iter_mapping, ExportCheck.labels),
    "step2b_dynamic_clusters.json": (iter_clusters, ExportCheck.clusters),
    "step2b_metadata.json": (iter_fields, ExportCheck.synthesize_metadata),
    "step3_final_assignment.json": (iter_mapping, ExportCheck.final_assignment),
    "step3_metadata.json": (iter_fields, ExportCheck.assign_metadata),
    "ictc_final_results.json": (iter_table, ExportCheck.final_results),
    "results.parquet": (iter_parquet, ExportCheck.rows),
}
"""How each exported file is read, and what it should say."""


def check_orphans(directory: Path, stage: StageName) -> Iterator[Finding]:
    """Yield the files of a stage that has no result in use."""
    for name in FILES_OF_STAGE[stage]:
        if (directory / name).exists():
            yield Finding("export", directory / name, "is there, but no journal that would prove it")


def check_prompts(directory: Path) -> Iterator[Finding]:
    """Yield whether the prompts that are kept are those that `run.json` vouches for."""
    hashes = (read_json(directory / "run.json") or {}).get("prompt_hashes", {})
    prompts = read_json(directory / "prompts.json") or {}
    for step, expected in hashes.items():
        if digest(prompts.get(step)) != expected:
            yield Finding("export", directory / "prompts.json", f"the prompt of {step} is not the one of run.json")
