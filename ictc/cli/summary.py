"""The end of a run on the terminal: the clusters, their sizes and a few members each."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from ictc.interface.outcome import describe_track, iter_rejections
from ictc.records import Caption, LabeledCaption
from ictc.runs.summary import ClusterSummary, NoneSummary, TrackSummary

INDENT = " " * 15


def print_summary(summary: TrackSummary) -> None:
    """Print what came out of one track."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    print(f"\n{describe_track(summary)}")
    total = sum(cluster.size for cluster in summary.clusters) + (summary.none.size if summary.none else 0)
    for cluster in summary.clusters:
        print_cluster(cluster, total=total, width=width)
    if summary.none is not None:
        print_none(summary.none, total=total, width=width)
    for line in iter_rejections(summary):
        print(line)
    print(f"Results: {summary.directory}")


def print_cluster(cluster: ClusterSummary, *, total: int, width: int) -> None:
    """Print one cluster with its share of all images that were judged, and its surest members."""
    share = cluster.size / total if total else 0.0
    name = " > ".join((*cluster.inside, cluster.definition.name))
    fits = f" (fits {cluster.num_fitting:,})" if cluster.num_fitting else ""
    print(f"\n{cluster.size:>7,}  {share:>4.0%}  {name}{fits}")
    print(textwrap.fill(cluster.definition.description, width, initial_indent=INDENT, subsequent_indent=INDENT))
    print_examples(cluster.examples, width)


def print_none(none: NoneSummary, *, total: int, width: int) -> None:
    """Print the images that no cluster fits, in a row of their own."""
    print(f"\n{none.size:>7,}  {none.size / total:>4.0%}  {none.name}: no cluster fits")
    print_examples(none.examples, width)


def print_examples(examples: Sequence[LabeledCaption], width: int) -> None:
    """Print a few members, a line each."""
    for example in examples:
        print(INDENT + textwrap.shorten(f"- {describe_example(*example)}", width - len(INDENT), placeholder=" …"))


def describe_example(caption: Caption, label: str) -> str:
    """Return one member in a line: its id, label and the words on it."""
    words = caption.brand or caption.text or caption.summary
    return f"{caption.image_id}: {label}" + (f" ({words})" if words else "")
