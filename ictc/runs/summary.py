"""What came out of a track, in the few numbers and examples that fit on a screen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from ictc.records import ClusterDefinition, StageName
from ictc.stages.export import status_counts
from ictc.stages.results import ResultRow, Results

EXAMPLES_PER_CLUSTER = 3


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster: its size and the images that belong to it most surely."""

    definition: ClusterDefinition
    size: int
    examples: list[ResultRow]


@dataclass(frozen=True)
class TrackSummary:
    """What came out of one track.

    Attributes:
        statuses: per step that has run, how many images left it in which way.
        clusters: largest first.
        wants_report: whether a page about it is to be written.
    """

    track: str
    criterion: str
    directory: Path
    num_images: int
    statuses: dict[StageName, dict[str, int]]
    clusters: list[ClusterSummary]
    wants_report: bool = False


def summarize_clusters(results: Results) -> list[ClusterSummary]:
    """Return the clusters, largest first."""
    members: dict[int, list[ResultRow]] = {definition.cluster_id: [] for definition in results.definitions}
    sizes = dict.fromkeys(members, 0)
    for row in results.iter_rows():
        cluster_id = row.assignment.cluster_id
        sizes[cluster_id] += 1
        members[cluster_id] = surest([*members[cluster_id], row])
    summaries = [
        ClusterSummary(definition, sizes[definition.cluster_id], members[definition.cluster_id])
        for definition in results.definitions
    ]
    return sorted(summaries, key=lambda summary: -summary.size)


def surest(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """Return the few rows with the highest confidence."""
    return nlargest(EXAMPLES_PER_CLUSTER, rows, key=lambda row: row.assignment.confidence or 0.0)


def summarize(track: str, criterion: str, directory: Path, results: Results, *, wants_report: bool) -> TrackSummary:
    """Return what came out of one track."""
    return TrackSummary(
        track=track,
        criterion=criterion,
        directory=directory,
        num_images=results.manifest.num_images,
        statuses={stage: status_counts(results, stage) for stage in results.journals},
        clusters=summarize_clusters(results) if "assign" in results.journals else [],
        wants_report=wants_report,
    )
