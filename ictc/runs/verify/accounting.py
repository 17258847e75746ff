"""Whether every image left every step in one way, and every result is about what it claims to be about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from ictc.dataset.catalog.versions import read_contents
from ictc.records import ImageRecord, StageName
from ictc.runs.reader import read_json
from ictc.runs.reporter import TITLES
from ictc.runs.verify.finding import Finding, name_some
from ictc.stages.caption import caption_input, name_digest
from ictc.stages.histogram import LabelHistogram, build_histogram
from ictc.stages.outcome import Status, content_of
from ictc.stages.results import Results
from ictc.stages.sharing import lead_all
from ictc.storage.keys import StageKey, digest
from ictc.storage.manifest import find_manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks.spelling import plain_form

SENSELESS: dict[StageName, str] = {
    "caption": "have a record without an outcome",
    "label": "have a record without an outcome",
    "assign": "are assigned to no existing cluster",
}


def check_manifest(directory: RunDirectory) -> Iterator[Finding]:
    """Yield what is wrong with the list of images itself."""
    path = directory.manifest_path
    manifest = find_manifest(directory.manifest_path)
    if manifest is None:
        yield Finding("accounting", path, "is missing or unfinished; run again")
        return
    ids: Counter[str] = Counter()
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                ids[ImageRecord(**orjson.loads(line)).image_id] += 1
            except (orjson.JSONDecodeError, TypeError):
                yield Finding("accounting", path, f"line {number:,} is damaged")
    if ids.total() != manifest.num_images:
        problem = f"lists {ids.total():,} images, and its key file says {manifest.num_images:,}"
        yield Finding("accounting", path, problem)
    if twice := [image_id for image_id, count in ids.items() if count > 1]:
        yield Finding("accounting", path, f"lists {len(twice):,} images more than once ({name_some(twice)})")


def check_key(directory: RunDirectory, stage: StageName) -> Iterator[Finding]:
    """Yield what is wrong with the key of the result in use."""
    folder = directory.path / "state" / stage
    path = folder / "current.json"
    if not folder.exists():
        return
    key = read_json(path)
    if not isinstance(key, dict):
        yield Finding("key", path, "is missing or damaged, so that no result of this step is in use")
    elif not directory.result_path(stage, key).is_dir():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir() if entry.is_dir())) or "none"
        problem = f"names a result ({digest(key)}) that is not there ({there}); it was edited, or the step never began"
        yield Finding("key", path, problem)


def check_definitions(directory: RunDirectory, results: Results, key: StageKey) -> Iterator[Finding]:
    """Yield what is wrong with the clusters: their number, their names, what they were made from."""
    path = directory.result_path("synthesize", key) / "definitions.json"
    definitions = results.definitions
    if not definitions:
        yield Finding("accounting", path, "there are no clusters yet, or the file is damaged; run again")
        return
    if len(definitions) != key["num_clusters"]:
        yield Finding("accounting", path, f"holds {len(definitions)} clusters, not {key['num_clusters']}")
    names = Counter(plain_form(definition.name) for definition in definitions)
    for name, count in names.items():
        if count > 1 or not name:
            yield Finding(
                "accounting", path, f"{count} clusters have the same name {name!r}" if name else "has no name"
            )
    if [definition.cluster_id for definition in definitions] != list(range(1, len(definitions) + 1)):
        yield Finding("accounting", path, f"the clusters are not numbered from 1 to {len(definitions)}")
    if "labels" in key and digest(_histogram(results, key)) != key["labels"]:
        yield Finding("key", path, "is out of date: it was made from other labels than those in use; run again")


def _histogram(results: Results, key: StageKey) -> LabelHistogram:
    return build_histogram(results.count_labels(), key["top_hooks"], key["seed"])


def check_map_stage(results: Results, stage: StageName, key: StageKey) -> Iterator[Finding]:
    """Yield what is wrong with the records of Step 1, 2a or 3."""
    if stage == "assign" and key["clusters"] != digest(results.definitions):
        path = results.journals[stage].directory
        yield Finding("key", path, "is out of date: it assigns to other clusters than those in use; run again")
        return
    cluster_ids = {definition.cluster_id for definition in results.definitions}
    check = RecordCheck(results, stage, cluster_ids)
    for image_id, input_digest in INPUTS[stage](results):
        check.look_at(image_id, input_digest)
    if stage == "caption":
        known = set(check.outdated) | set(check.missing)
        foreign = {*find_replaced(results), *(find_misled(results) if key.get("dedupe") == "near" else ())}
        check.outdated += sorted(foreign - known)
    yield from check.findings()


def find_replaced(results: Results) -> Iterator[str]:
    """Yield the images, of those that this machine can read, whose record is about another content."""
    key, journal = results.manifest.key, results.journals["caption"]
    for image, content in read_contents(str(key.get("base", key["ads_dir"])), results.manifest):
        is_told = content is not None and not journal.is_about(image.image_id, name_digest(image))
        if is_told and image.image_id in journal and not journal.is_about(image.image_id, content or ""):
            yield image.image_id


def find_misled(results: Results) -> Iterator[str]:
    """Yield the images whose record was made from another than the first that looks like them."""
    journal = results.journals["caption"]
    recorded = [image_id for image_id in results.image_ids if image_id in journal]
    for image_id, source in zip(recorded, lead_all(content_of(journal, one) for one in recorded), strict=True):
        if journal.source(image_id) != source:
            yield image_id


@dataclass
class RecordCheck:
    """Compares the records of one step with what entered it."""

    results: Results
    stage: StageName
    cluster_ids: set[int]
    entered: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    senseless: list[str] = field(default_factory=list)

    def look_at(self, image_id: str, input_digest: str) -> None:
        """Check the record of one image that entered the step."""
        journal = self.results.journals[self.stage]
        record = journal.get(image_id)
        self.entered.add(image_id)
        if record is None:
            self.missing.append(image_id)
        elif not journal.is_about(image_id, input_digest):
            self.outdated.append(image_id)
        elif not self._makes_sense(record):
            self.senseless.append(image_id)

    def _makes_sense(self, record: dict[str, Any]) -> bool:
        status, data = record["status"], record["data"]
        if status == Status.REJECTED:
            return bool(data.get("reason"))
        if self.stage == "assign":
            return status == Status.DONE and data.get("cluster_id") in self.cluster_ids
        if self.stage == "label":
            return status == Status.DONE and bool(data.get("label"))
        return status in set(Status)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found, a line for each kind."""
        path, title = self.results.journals[self.stage].directory, TITLES[self.stage]
        for ids, problem in (
            (self.missing, "have no record; run again"),
            (self.outdated, "have a record of another image, caption or label than the one in use; run again"),
            (self.senseless, SENSELESS[self.stage]),
        ):
            if ids:
                images = f"{len(ids):,} of {len(self.entered):,} images ({name_some(ids)})"
                yield Finding("accounting", path, f"{title}: {images} {problem}")
        if unknown := [image_id for image_id in self.results.journals[self.stage] if image_id not in self.entered]:
            images = f"{len(unknown):,} images that did not enter this step ({name_some(unknown)})"
            yield Finding("accounting", path, f"{title}: has records of {images}; no result has them", is_note=True)


def _caption_inputs(results: Results) -> Iterator[tuple[str, str]]:
    return ((image.image_id, caption_input(image)) for image in results.manifest)


def _label_inputs(results: Results) -> Iterator[tuple[str, str]]:
    return ((item.image_id, item.input_digest) for item in results.iter_captions())


def _assign_inputs(results: Results) -> Iterator[tuple[str, str]]:
    return ((item.image_id, item.input_digest) for item in results.iter_labeled_captions())


INPUTS: dict[StageName, Callable[[Results], Iterator[tuple[str, str]]]] = {
    "caption": _caption_inputs,
    "label": _label_inputs,
    "assign": _assign_inputs,
}
"""From each map stage to the images that enter it, each with the digest of what its outcome depends on."""
