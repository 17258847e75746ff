"""What the page says about each cluster, and in which color."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ictc.analytics.results import RunResults
from ictc.records import ClusterDefinition
from ictc.report.options import MAX_FIELD_CHARS
from ictc.report.reading import RunReport

PALETTE = (
    *("#4477aa", "#e0566a", "#228833", "#a88a00", "#aa3377"),
    *("#2499bd", "#d9661f", "#009988", "#8c6bb1", "#97755a"),
)
"""After Paul Tol's bright and vibrant schemes for color-blind readers, darkened to stand out on white and on black."""

MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex")
"""Shapes tell clusters of the same color apart."""

MAX_TOP_VALUES = 6


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """How often a value occurs in a cluster and in all clusters together; shares are of the images."""

    value: str
    count: int
    share: float
    share_overall: float


@dataclass(frozen=True, kw_only=True)
class ClusterCard:
    """One cluster as the page shows it.

    Attributes:
        size: of those whose best it is.
        num_fitting: how many it fits, None where each has one cluster.
        rules: what belongs here and what does not, by title; empty where there are none.
        share: of all images that were judged, those that no cluster fits included.
        breakdowns: for each kind of metadata that the collection has, its most frequent values here.
        examples: for each kind of example, positions of rows in the results.
    """

    number: int
    name: str
    description: str
    rules: dict[str, str]
    size: int
    num_fitting: int | None
    share: float
    color: str
    marker: str
    labels: list[Frequency]
    breakdowns: dict[str, list[Frequency]]
    examples: dict[str, list[int]]


BREAKDOWN_COLUMNS = {"Platform": "platform", "Format": "ad_format", "Brand": "brand"}


def build_cards(run: RunReport) -> list[ClusterCard]:
    """Describe the clusters of a run in the order of their definitions."""
    results, sizes = run.results, run.sizes
    fitting = results.rows["clusters"].explode().value_counts().to_dict() if results.is_several else None
    labels = count_values(results, "label")
    columns = {title: count_values(results, column) for title, column in BREAKDOWN_COLUMNS.items()}
    return [
        ClusterCard(
            number=code + 1,
            name=clip(definition.name),
            description=clip(definition.description),
            rules=name_rules(definition),
            size=sizes[code],
            num_fitting=fitting.get(definition.name, 0) if fitting is not None else None,
            share=sizes[code] / len(results.judged),
            color=cluster_color(code),
            marker=cluster_marker(code),
            labels=labels[code],
            breakdowns={title: frequencies[code] for title, frequencies in columns.items() if any(frequencies)},
            examples=run.mapped.examples[code],
        )
        for code, definition in enumerate(results.definitions)
    ]


def name_rules(definition: ClusterDefinition) -> dict[str, str]:
    """Return the rules of a cluster that it has, by what people call them."""
    rules = {"Belongs here": definition.include, "Does not belong here": definition.exclude}
    return {title: clip(rule) for title, rule in rules.items() if rule}


def cluster_color(code: int) -> str:
    """Return the color of the cluster in place `code` of the definitions."""
    return PALETTE[code % len(PALETTE)]


def cluster_marker(code: int) -> str:
    """Return the shape of the cluster in place `code` of the definitions."""
    return MARKERS[code // len(PALETTE) % len(MARKERS)]


def count_values(results: RunResults, column: str) -> list[list[Frequency]]:
    """Return the most frequent values of a column in each cluster; blank ones are left out."""
    values = results.rows[column].fillna("").str.strip()
    codes = results.rows["cluster"].cat.codes
    overall = values.value_counts(normalize=True)
    return [top_values(values[codes == code], overall=overall) for code in range(len(results.definitions))]


def top_values(values: pd.Series, *, overall: pd.Series) -> list[Frequency]:
    """Return the most frequent of `values`, equally frequent ones in alphabetical order."""
    counts = values[values != ""].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return [
        Frequency(
            value=clip(value, 120), count=int(count), share=count / len(values), share_overall=float(overall[value])
        )
        for value, count in counts.head(MAX_TOP_VALUES).items()
    ]


def clip(text: str, max_chars: int = MAX_FIELD_CHARS) -> str:
    """Return the text, cut with an ellipsis if it is longer than `max_chars`."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"
