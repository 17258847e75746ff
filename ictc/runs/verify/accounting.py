"""Whether every image left every step in one way, and every result is about what it claims to be about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from ictc.records import ImageRecord
from ictc.stages.outcome import Status
from ictc.steps.base import MapStep, Step
from ictc.steps.finding import Finding, name_some
from ictc.steps.results import Results
from ictc.storage.json_files import read_json
from ictc.storage.keys import StageKey, digest
from ictc.storage.manifest import find_manifest
from ictc.storage.rundir import RunDirectory


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


def check_key(directory: RunDirectory, step: Step) -> Iterator[Finding]:
    """Yield what is wrong with the key of the result in use."""
    folder = directory.path / "state" / step.name
    path = folder / "current.json"
    if not folder.exists() or directory.is_retired(step.name):
        return
    key = read_json(path)
    if not isinstance(key, dict):
        yield Finding("key", path, "is missing or damaged, so that no result of this step is in use")
    elif not directory.result_path(step.name, key).is_dir():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir() if entry.is_dir())) or "none"
        problem = f"names a result ({digest(key)}) that is not there ({there}); it was edited, or the step never began"
        yield Finding("key", path, problem)


def check_step(directory: RunDirectory, results: Results, step: Step, key: StageKey) -> Iterator[Finding]:
    """Yield what is wrong with the result of one step."""
    of_step = list(step.check_result(directory.result_path(step.name, key), results, key))
    yield from of_step
    if isinstance(step, MapStep) and not of_step:
        yield from check_records(results, step, key)


def check_records(results: Results, step: MapStep[Any], key: StageKey) -> Iterator[Finding]:
    """Yield what is wrong with the records of a map step."""
    check = RecordCheck(results, step)
    for item in step.iter_items(results):
        check.look_at(item.image_id, input_digest=item.input_digest)
    known = {*check.outdated, *check.missing}
    check.outdated += sorted(set(step.find_foreign(results, key)) - known)
    yield from check.findings()


@dataclass
class RecordCheck:
    """Compares the records of one step with what entered it."""

    results: Results
    step: MapStep[Any]
    entered: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    senseless: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._journal = self.results.journals[self.step]
        self._is_sense = self.step.sense_of(self.results)

    def look_at(self, image_id: str, *, input_digest: str) -> None:
        """Check the record of one image that entered the step."""
        record = self._journal.get(image_id)
        self.entered.add(image_id)
        if record is None:
            self.missing.append(image_id)
        elif not self._journal.is_about(image_id, input_digest=input_digest):
            self.outdated.append(image_id)
        elif not self._makes_sense(record):
            self.senseless.append(image_id)

    def _makes_sense(self, record: dict[str, Any]) -> bool:
        if record["status"] == Status.REJECTED:
            return bool(record["data"].get("reason"))
        return self._is_sense(record)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found, a line for each kind."""
        path, title = self._journal.directory, self.step.title
        for ids, problem in (
            (self.missing, "have no record; run again"),
            (self.outdated, f"have a record of {self.step.of_input} than the one in use; run again"),
            (self.senseless, self.step.senseless),
        ):
            if ids:
                images = f"{len(ids):,} of {len(self.entered):,} images ({name_some(ids)})"
                yield Finding("accounting", path, f"{title}: {images} {problem}")
        if unknown := [image_id for image_id in self._journal if image_id not in self.entered]:
            images = f"{len(unknown):,} images that did not enter this step ({name_some(unknown)})"
            yield Finding("accounting", path, f"{title}: has records of {images}; no result has them", is_note=True)
