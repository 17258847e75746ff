"""The end of a run on the terminal: the clusters, their sizes and a few members each."""

from __future__ import annotations

import shutil
import textwrap

from ictc.interface.outcome import describe_track, iter_rejections
from ictc.records import Caption
from ictc.runs.summary import ClusterSummary, TrackSummary


def print_summary(summary: TrackSummary) -> None:
    """Print what came out of one track."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    print(f"\n{describe_track(summary)}")
    total = sum(cluster.size for cluster in summary.clusters)
    for cluster in summary.clusters:
        print_cluster(cluster, total=total, width=width)
    for line in iter_rejections(summary):
        print(line)
    print(f"Results: {summary.directory}")


def print_cluster(cluster: ClusterSummary, *, total: int, width: int) -> None:
    """Print one cluster with its share of all assigned images and its surest members."""
    share = cluster.size / total if total else 0.0
    print(f"\n{cluster.size:>7,}  {share:>4.0%}  {cluster.definition.name}")
    indent = " " * 15
    print(textwrap.fill(cluster.definition.description, width, initial_indent=indent, subsequent_indent=indent))
    for example in cluster.examples:
        print(indent + textwrap.shorten(f"- {describe_example(*example)}", width - len(indent), placeholder=" …"))


def describe_example(caption: Caption, label: str) -> str:
    """Return one member in a line: its id, label and the words on it."""
    words = caption.brand or caption.text or caption.summary
    return f"{caption.image_id}: {label}" + (f" ({words})" if words else "")
