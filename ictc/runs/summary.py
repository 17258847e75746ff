"""What came out of a track, in the few numbers and examples that fit on a screen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from ictc.records import Assignment, ClusterDefinition, LabeledCaption
from ictc.steps.assign import ASSIGN, iter_assignments, labeled_caption_of
from ictc.steps.base import Results
from ictc.steps.caption import find_duplicates
from ictc.steps.synthesize import definitions_of

EXAMPLES_PER_CLUSTER = 3


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster: its size and the images that belong to it most surely."""

    definition: ClusterDefinition
    size: int
    examples: list[LabeledCaption]


@dataclass(frozen=True, kw_only=True)
class TrackSummary:
    """What came out of one track.

    Attributes:
        statuses: per step that has run, how many images left it in which way.
        num_duplicates: images that are the same as an earlier one.
        clusters: largest first.
        wants_report: whether a page about it is to be written.
        imported: what was imported in place of images, "" if nothing was.
    """

    track: str
    criterion: str
    directory: Path
    num_images: int
    num_duplicates: int
    statuses: dict[str, dict[str, int]]
    clusters: list[ClusterSummary]
    wants_report: bool = False
    imported: str = ""


def summarize_clusters(results: Results) -> list[ClusterSummary]:
    """Return the clusters, largest first."""
    sizes: Counter[int] = Counter()
    surest: dict[int, list[Assignment]] = {definition.cluster_id: [] for definition in definitions_of(results)}
    for assignment in iter_assignments(results):
        sizes[assignment.cluster_id] += 1
        best = surest[assignment.cluster_id]
        surest[assignment.cluster_id] = nlargest(EXAMPLES_PER_CLUSTER, [*best, assignment], key=_confidence)
    summaries = [
        ClusterSummary(
            definition,
            sizes[definition.cluster_id],
            [labeled_caption_of(results, assignment.image_id) for assignment in surest[definition.cluster_id]],
        )
        for definition in definitions_of(results)
    ]
    return sorted(summaries, key=lambda summary: -summary.size)


def _confidence(assignment: Assignment) -> float:
    return assignment.confidence or 0.0


def summarize(*, track: str, criterion: str, directory: Path, results: Results, wants_report: bool) -> TrackSummary:
    """Return what came out of one track."""
    return TrackSummary(
        track=track,
        criterion=criterion,
        directory=directory,
        num_images=results.manifest.num_images,
        num_duplicates=len(find_duplicates(results)),
        statuses={step.name: results.describe_statuses(step) for step in results.journals},
        clusters=summarize_clusters(results) if ASSIGN in results.journals else [],
        wants_report=wants_report,
        imported=results.manifest.key.get("imported", ""),
    )
