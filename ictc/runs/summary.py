"""What came out of a track, in the few numbers and examples that fit on a screen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import nlargest
from pathlib import Path

from ictc.records import Assignment, ClusterDefinition, LabeledCaption
from ictc.steps.assign import ASSIGN, iter_assignments, labeled_caption_of
from ictc.steps.caption import find_duplicates
from ictc.steps.none_of_these import name_none
from ictc.steps.results import Results
from ictc.steps.synthesis.levels import find_paths
from ictc.steps.synthesize import definitions_of, levels_of
from ictc.tracks.fitting import MOST_SCORE

EXAMPLES_PER_CLUSTER = 3


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster: its size and the images that belong to it most surely.

    Attributes:
        num_fitting: how many images it fits, whether it is their best or not; 0 where each has one cluster.
        inside: of nested clusters, the names of those that it lies in, the coarsest first.
    """

    definition: ClusterDefinition
    size: int
    examples: list[LabeledCaption]
    num_fitting: int = field(default=0, kw_only=True)
    inside: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class NoneSummary:
    """The images that no cluster fits: what that is called, how many there are, and those of which it is most sure."""

    name: str
    size: int
    examples: list[LabeledCaption]


@dataclass(frozen=True, kw_only=True)
class TrackSummary:
    """What came out of one track.

    Attributes:
        statuses: per step that has run, how many images left it in which way.
        num_duplicates: images that are the same as an earlier one.
        clusters: largest first.
        none: None if no image fits no cluster.
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
    none: NoneSummary | None = None
    wants_report: bool = False
    imported: str = ""


def summarize_clusters(results: Results) -> tuple[list[ClusterSummary], NoneSummary | None]:
    """Return the clusters, largest first, and the images that none fits."""
    sizes: Counter[int | None] = Counter()
    fitting: Counter[int] = Counter()
    surest: dict[int | None, list[Assignment]] = {}
    for assignment in iter_assignments(results):
        sizes[assignment.cluster_id] += 1
        fitting.update(cluster_id for cluster_id, _ in assignment.fitting)
        best = surest.get(assignment.cluster_id, [])
        surest[assignment.cluster_id] = nlargest(EXAMPLES_PER_CLUSTER, [*best, assignment], key=_confidence)
    examples = {
        cluster_id: [labeled_caption_of(results, assignment.image_id) for assignment in best]
        for cluster_id, best in surest.items()
    }
    definitions, paths = definitions_of(results), find_paths(levels_of(results))
    summaries = [
        ClusterSummary(
            one,
            sizes[one.cluster_id],
            examples.get(one.cluster_id, []),
            num_fitting=fitting[one.cluster_id],
            inside=paths.get(one.cluster_id, ())[:-1],
        )
        for one in definitions
    ]
    none = NoneSummary(name_none(one.name for one in definitions), sizes[None], examples.get(None, []))
    return sorted(summaries, key=lambda summary: -summary.size), none if none.size else None


def _confidence(assignment: Assignment) -> float:
    score = assignment.fitting[0][1] / MOST_SCORE if assignment.fitting else 0.0
    return assignment.confidence or score


def summarize(*, track: str, criterion: str, directory: Path, results: Results, wants_report: bool) -> TrackSummary:
    """Return what came out of one track."""
    clusters, none = summarize_clusters(results) if ASSIGN in results.journals else ([], None)
    return TrackSummary(
        track=track,
        criterion=criterion,
        directory=directory,
        num_images=results.manifest.num_images,
        num_duplicates=len(find_duplicates(results)),
        statuses={step.name: results.describe_statuses(step) for step in results.journals},
        clusters=clusters,
        none=none,
        wants_report=wants_report,
        imported=results.manifest.key.get("imported", ""),
    )
