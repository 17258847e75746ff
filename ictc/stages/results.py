"""What the journals of one run say, read together: the one place that joins the steps.

Everything is read from the disk as it is iterated; memory holds ids only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ictc.records import Assignment, Caption, ClusterDefinition, ImageRecord, Rejection, StageName
from ictc.stages.caption import load_caption
from ictc.stages.label import label_input
from ictc.stages.outcome import Status
from ictc.storage.journal import Journal
from ictc.storage.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ResultRow:
    """Everything known about one clustered image."""

    image: ImageRecord
    caption: Caption
    label: str
    assignment: Assignment
    cluster: ClusterDefinition


@dataclass
class Results:
    """The manifest and the journals in use, by stage; a stage that has not run has none."""

    manifest: Manifest
    journals: dict[StageName, Journal] = field(default_factory=dict)
    definitions: tuple[ClusterDefinition, ...] = ()

    def iter_records(self, stage: StageName) -> Iterator[tuple[ImageRecord, dict[str, Any]]]:
        """Yield each image that has a record in `stage`, in the order of the manifest."""
        journal = self.journals.get(stage)
        if journal is not None:
            for image in self.manifest:
                record = journal.get(image.image_id)
                if record is not None:
                    yield image, record

    def iter_captioned(self) -> Iterator[tuple[ImageRecord, Caption]]:
        """Yield the valid ads with their captions."""
        for image, record in self.iter_records("caption"):
            if record["status"] == Status.DONE:
                yield image, load_caption(record)

    def iter_captions(self) -> Iterator[Caption]:
        """Yield the valid ads' captions."""
        return (caption for _, caption in self.iter_captioned())

    def iter_labeled(self) -> Iterator[tuple[Caption, str]]:
        """Yield the valid ads' captions with their labels, "" where Step 2a rejected the ad."""
        return ((caption, self.label_of(caption)) for caption in self.iter_captions())

    def label_of(self, caption: Caption) -> str:
        """Return the label of this very caption, "" if there is none."""
        journal = self.journals.get("label")
        if journal is None or not journal.is_about(caption.image_id, label_input(caption)):
            return ""
        record = journal.get(caption.image_id)
        if record is None or record["status"] != Status.DONE:
            return ""
        label: str = record["data"]["label"]
        return label

    def iter_rows(self) -> Iterator[ResultRow]:
        """Yield everything known about each image that has its cluster."""
        clusters = {definition.cluster_id: definition for definition in self.definitions}
        for image, caption in self.iter_captioned():
            record = self.journals["assign"].get(image.image_id)
            if record is not None and record["status"] == Status.DONE:
                assignment = Assignment(image.image_id, **record["data"])
                yield ResultRow(image, caption, self.label_of(caption), assignment, clusters[assignment.cluster_id])

    def iter_rejections(self) -> Iterator[Rejection]:
        """Yield what each stage gave up on, stage by stage."""
        for stage in self.journals:
            for image, record in self.iter_records(stage):
                if record["status"] == Status.REJECTED:
                    yield Rejection(image.image_id, stage, **record["data"])

    def count_labels(self) -> Counter[str]:
        """Return how many valid ads carry each label."""
        return Counter(label for _, label in self.iter_labeled() if label)

    def count_statuses(self, stage: StageName) -> Counter[str]:
        """Return how many images of the manifest left `stage` in which way."""
        return Counter(record["status"] for _, record in self.iter_records(stage))
