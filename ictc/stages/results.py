"""What the journals of one run say, read together: the one place that joins the steps.

Also the one place that says what each step's outcome for an image depends on, as a digest: the caption on the image
file, the label on the caption, the assignment on caption and label. Memory holds ids only.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from ictc.records import (
    Assignment,
    Caption,
    ClusterDefinition,
    ImageRecord,
    LabeledCaption,
    Rejection,
    StageName,
)
from ictc.stages.caption import load_caption
from ictc.stages.outcome import Status
from ictc.stages.work import WorkItem
from ictc.storage.journal import Journal
from ictc.storage.keys import digest
from ictc.storage.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ResultRow:
    """Everything known about one clustered image.

    Attributes:
        runner_up: the cluster that came second, where the engine gave scores.
        duplicate_of: the first image of the collection that is the same, None if this is the first.
    """

    image: ImageRecord
    caption: Caption
    label: str
    assignment: Assignment
    cluster: ClusterDefinition
    runner_up: ClusterDefinition | None = None
    duplicate_of: str | None = None


@dataclass
class Results:
    """The manifest and the journals in use, by stage; a stage that has not run has none."""

    manifest: Manifest
    journals: dict[StageName, Journal] = field(default_factory=dict)
    definitions: tuple[ClusterDefinition, ...] = ()

    @cached_property
    def image_ids(self) -> list[str]:
        """The ids of all images, in the order of the manifest."""
        return [sys.intern(image.image_id) for image in self.manifest]

    def iter_ids(self, stage: StageName, status: Status) -> Iterator[str]:
        """Yield the ids of the images that left `stage` in this way, in the order of the manifest."""
        statuses = zip(self.image_ids, self._iter_statuses(stage), strict=True)
        return (image_id for image_id, left in statuses if left == status)

    def _iter_statuses(self, stage: StageName) -> Iterator[str | None]:
        """Yield how each image left `stage`; None if it has not, or did not enter it, whatever it once did."""
        journal, captions = self.journals.get(stage), self.journals.get("caption")
        if journal is None or captions is None:
            return iter([None] * len(self.image_ids))
        statuses = map(journal.status, self.image_ids)
        if stage == "caption":
            return statuses
        entered = (captions.status(image_id) == Status.DONE for image_id in self.image_ids)
        return (status if enters else None for status, enters in zip(statuses, entered, strict=True))

    def iter_data(self, stage: StageName, status: Status) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield id and data of the images that left `stage` in this way, in the order of the manifest."""
        for image_id in self.iter_ids(stage, status):
            yield image_id, self._record(stage, image_id)["data"]

    def iter_outcomes(self) -> Iterator[str | None]:
        """Yield how each image left Step 1, None if it has not, in the order of the manifest."""
        return self._iter_statuses("caption")

    def iter_images(self, status: Status) -> Iterator[ImageRecord]:
        """Yield the images that left Step 1 in this way."""
        pairs = zip(self.manifest, self.iter_outcomes(), strict=True)
        return (image for image, outcome in pairs if outcome == status)

    def iter_captions(self) -> Iterator[WorkItem[Caption]]:
        """Yield the valid ads, as what enters Step 2a."""
        for image_id in self.iter_ids("caption", Status.DONE):
            yield WorkItem(image_id, self.journals["caption"].fingerprint(image_id), partial(self.caption_of, image_id))

    def iter_labeled_captions(self) -> Iterator[WorkItem[LabeledCaption]]:
        """Yield the valid ads with their labels, as what enters Step 3."""
        for image_id in self.iter_ids("caption", Status.DONE):
            made_from = [self.journals["caption"].fingerprint(image_id)]
            if self._has_label(image_id):
                made_from.append(self.journals["label"].fingerprint(image_id))
            yield WorkItem(image_id, digest(made_from), partial(self.labeled_caption_of, image_id))

    def iter_labels(self) -> Iterator[tuple[str, str]]:
        """Yield id and label of the valid ads that have one."""
        return (
            (image_id, self.label_of(image_id))
            for image_id in self.iter_ids("caption", Status.DONE)
            if self._has_label(image_id)
        )

    def iter_assignments(self) -> Iterator[Assignment]:
        """Yield the assignment of each image that has its cluster, reading nothing else of it."""
        for image_id in self.iter_ids("caption", Status.DONE):
            if self.journals["assign"].status(image_id) == Status.DONE:
                yield self._assignment_of(image_id)

    def iter_rows(self) -> Iterator[ResultRow]:
        """Yield everything known about each image that has its cluster."""
        clusters = {definition.cluster_id: definition for definition in self.definitions}
        duplicates = self.find_duplicates()
        for image in self.iter_images(Status.DONE):
            image_id = image.image_id
            if self.journals["assign"].status(image_id) == Status.DONE:
                assignment = self._assignment_of(image_id)
                yield ResultRow(
                    image,
                    *self.labeled_caption_of(image_id),
                    assignment,
                    clusters[assignment.cluster_id],
                    clusters.get(assignment.runner_up or 0),
                    duplicates.get(image_id),
                )

    def find_duplicates(self) -> dict[str, str]:
        """Return of each image that is the same as an earlier one the first such."""
        captions = self.journals.get("caption")
        first: dict[str, str] = {}
        duplicates: dict[str, str] = {}
        if captions is None:
            return duplicates
        for image_id in self.image_ids:
            if image_id in captions and (leader := first.setdefault(captions.source(image_id), image_id)) != image_id:
                duplicates[image_id] = leader
        return duplicates

    def iter_rejections(self) -> Iterator[Rejection]:
        """Yield what each stage gave up on, stage by stage."""
        for stage in self.journals:
            for image_id, data in self.iter_data(stage, Status.REJECTED):
                yield Rejection(image_id, stage, **data)

    def caption_of(self, image_id: str) -> Caption:
        """Return the caption of a valid ad."""
        return load_caption(self._record("caption", image_id))

    def labeled_caption_of(self, image_id: str) -> LabeledCaption:
        """Return the caption of a valid ad with its label."""
        return self.caption_of(image_id), self.label_of(image_id)

    def label_of(self, image_id: str) -> str:
        """Return the label of an ad's caption as it is now, "" if there is none."""
        if not self._has_label(image_id):
            return ""
        label: str = self._record("label", image_id)["data"]["label"]
        return label

    def count_labels(self) -> Counter[str]:
        """Return how many valid ads carry each label."""
        return Counter(label for _, label in self.iter_labels())

    def count_statuses(self, stage: StageName) -> Counter[str]:
        """Return how many images of the manifest left `stage` in which way."""
        return Counter(status for status in self._iter_statuses(stage) if status is not None)

    def _assignment_of(self, image_id: str) -> Assignment:
        return Assignment(image_id, **self._record("assign", image_id)["data"])

    def _has_label(self, image_id: str) -> bool:
        """Whether Step 2a labeled this very caption."""
        journal = self.journals.get("label")
        return (
            journal is not None
            and journal.status(image_id) == Status.DONE
            and journal.is_about(image_id, self.journals["caption"].fingerprint(image_id))
        )

    def _record(self, stage: StageName, image_id: str) -> dict[str, Any]:
        record = self.journals[stage].get(image_id)
        assert record is not None, f"{image_id!r} has no record in {stage}"
        return record
