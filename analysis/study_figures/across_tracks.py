"""Figures of how the tracks' clusters relate: mappings, contingency, purity (12, rq1_01, rq1_02)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ictc.analytics.agreement import Agreement, measure_agreement, purity
from ictc.analytics.association import lift
from study_figures.charts import (
    PERCENT,
    SMALL,
    draw_dots,
    draw_table,
    new_figure,
    percent,
    share_of_rows,
    track_title,
)
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.reading import Pair, Study

LARGEST_FACTOR = 4.0
"""Lifts beyond this, or below its inverse, have the same color."""


@dataclass(frozen=True, eq=False)
class Mapping:
    """Where the ads of each cluster of the first track (rows) are in the second (columns)."""

    first: str
    second: str
    counts: pd.DataFrame
    shares: pd.DataFrame


def compute_mappings(study: Study) -> list[Mapping]:
    """Return the mapping of the first track to each other."""
    pairs = [pair for pair in study.track_pairs if pair.first == study.track_pairs[0].first]
    return [Mapping(pair.first, pair.second, pair.table, share_of_rows(pair.table)) for pair in pairs]


def draw_mappings(data: list[Mapping]) -> Figure:
    """Draw a heat map for each other track: percent of the row."""
    rows = [len(one.counts) for one in data]
    title = f"Where the ads of the {data[0].first} clusters are in the other tracks, percent of the row"
    figure, grid = new_figure(title, 0.6 + sum(1.0 + 0.36 * number for number in rows), rows=len(data))
    top = max(float(one.shares.max(axis=None)) for one in data)
    for axes, one in zip(grid[:, 0], data, strict=True):
        image = draw_table(axes, one.shares, percent(one.shares, 1), limits=(0.0, top))
        about = f"K={len(one.counts)}, n = {one.counts.sum(axis=None):,}"
        axes.set_title(f"{track_title(one.first)} → {track_title(one.second)}, {about}", loc="left")
    figure.colorbar(image, ax=grid[:, 0], label="share of the row's ads", shrink=0.5, format=PERCENT)
    return figure


def describe_mappings(data: list[Mapping]) -> list[Finding]:
    """Name the cluster that goes most into one cluster of the other track."""
    findings = []
    for one in data:
        source, target = one.shares.stack().idxmax()
        findings.append(
            finding(
                "Of the clusters of the track {first}, {source} goes most into one of the track {second}: {share:.1%} "
                "of its {ads:,} ads are in {target}.",
                first=one.first,
                second=one.second,
                source=source,
                share=one.shares.at[source, target],
                ads=one.counts.loc[source].sum(),
                target=target,
            )
        )
    return findings


@dataclass(frozen=True, eq=False)
class Contingency:
    """How far two tracks agree, and which pairs of clusters go together."""

    first: str
    second: str
    counts: pd.DataFrame
    lift: pd.DataFrame
    agreement: Agreement


def compute_contingency(study: Study) -> list[Contingency]:
    """Return the contingency table of each two tracks."""
    return [_contingency(pair) for pair in study.track_pairs]


def _contingency(pair: Pair) -> Contingency:
    return Contingency(pair.first, pair.second, pair.table, lift(pair.table), measure_agreement(pair.table))


def draw_contingency(data: list[Contingency]) -> Figure:
    """Draw a table for each two tracks: numbers are ads, color is the lift."""
    rows = [len(one.counts) for one in data]
    figure, grid = new_figure(
        "Clusters of two tracks: ads in common", 0.6 + sum(1.0 + 0.36 * number for number in rows), rows=len(data)
    )
    edge = float(np.log2(LARGEST_FACTOR))
    for axes, one in zip(grid[:, 0], data, strict=True):
        heights = np.log2(one.lift.where(one.lift > 0, 2.0 ** (-2 * edge)).where(one.lift.notna()))
        image = draw_table(axes, heights, one.counts.map("{:,}".format), limits=(-edge, edge), diverging=True)
        measures = (
            f"ARI {one.agreement.ari:z.3f}, NMI {one.agreement.nmi:.3f}, Cramér's V {one.agreement.cramers_v:.3f}"
        )
        axes.set_title(f"{track_title(one.first)} × {track_title(one.second)}: {measures}", loc="left")
    label = "lift: fewer ads than if independent ← 1× → more"
    bar = figure.colorbar(image, ax=grid[:, 0], label=label, shrink=0.5, extend="both")
    ticks = [1 / LARGEST_FACTOR, 0.5, 1.0, 2.0, LARGEST_FACTOR]
    bar.set_ticks([float(np.log2(tick)) for tick in ticks], labels=[f"{tick:g}×" for tick in ticks])
    return figure


def describe_contingency(data: list[Contingency]) -> list[Finding]:
    """Give the agreement of each two tracks."""
    return [
        finding(
            "Over {ads:,} ads, the tracks {first} and {second} agree with ARI {ari:z.3f}, NMI {nmi:.3f} and Cramér's V "
            "{v:.3f}; of the uncertainty about the cluster of {second}, {forward:.0%} remains when that of {first} is "
            "known, and {backward:.0%} the other way round.",
            first=one.first,
            second=one.second,
            ads=one.agreement.num_items,
            ari=one.agreement.ari,
            nmi=one.agreement.nmi,
            v=one.agreement.cramers_v,
            forward=one.agreement.entropy_of_columns_given_rows,
            backward=one.agreement.entropy_of_rows_given_columns,
        )
        for one in data
    ]


@dataclass(frozen=True, eq=False)
class Purities:
    """How pure the clusters of one track are in the clusters of the others.

    Attributes:
        clusters: share of each cluster's ads (rows) in the most frequent cluster of another track (columns).
        overall: purity of the whole clustering, by other track.
        baseline: the same if clusters told nothing: the share of the other track's largest cluster.
    """

    clusters: pd.DataFrame
    overall: pd.Series
    baseline: pd.Series


def compute_purity(study: Study) -> dict[str, Purities]:
    """Return the purity of the clusters of each track."""
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    for pair in study.track_pairs:
        tables.setdefault(pair.first, {})[pair.second] = pair.table
        tables.setdefault(pair.second, {})[pair.first] = pair.table.T
    return {
        track: Purities(
            clusters=pd.DataFrame({other: share_of_rows(table).max(axis=1) for other, table in others.items()}),
            overall=pd.Series({other: purity(table) for other, table in others.items()}),
            baseline=pd.Series({other: table.sum().max() / table.sum(axis=None) for other, table in others.items()}),
        )
        for track, others in tables.items()
    }


def draw_purity(data: dict[str, Purities]) -> Figure:
    """Draw for each track its clusters' purities as dots, and those of clusters that tell nothing as lines."""
    rows = [len(one.clusters) for one in data.values()]
    height = 0.7 + sum(0.6 + 0.34 * number for number in rows)
    title = "Purity of each cluster: share of its ads in one cluster of another track"
    figure, grid = new_figure(title, height, rows=len(data), sharex=True)
    for axes, (track, one) in zip(grid[:, 0], data.items(), strict=True):
        draw_dots(axes, one.clusters.rename(columns=track_title), styles=[list(data).index(o) for o in one.clusters])
        for line, other in zip(axes.get_lines(), one.clusters.columns, strict=False):
            style = {"color": line.get_color(), "linewidth": 1, "linestyle": ":"}
            axes.axvline(one.baseline[other], **style)
            line.set_label(
                f"in {track_title(other)}: overall {one.overall[other]:.3f}, baseline {one.baseline[other]:.3f}"
            )
        axes.set_title(f"{track_title(track)}, K={len(one.clusters)}", loc="left")
        axes.set_xlim(0, 1)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=SMALL)
    grid[-1, 0].set_xlabel("purity (dotted: baseline, the share of the other track's largest cluster)")
    return figure


def describe_purity(data: dict[str, Purities]) -> list[Finding]:
    """Give the overall purities beside their baselines."""
    return [
        finding(
            "In the clusters of {track}, {purity:.1%} of the ads are in their cluster's most frequent cluster of "
            "{other}; the largest cluster of {other} alone would give {baseline:.1%}.",
            track=track,
            other=other,
            purity=one.overall[other],
            baseline=one.baseline[other],
        )
        for track, one in data.items()
        for other in one.overall.index
    ]


MAPPINGS = FigureSpec(
    "12_track_mappings",
    "Clusters of the first track in the other tracks",
    compute_mappings,
    draw_mappings,
    describe_mappings,
)
CONTINGENCY = FigureSpec(
    "rq1_01_track_contingency",
    "Agreement of the tracks",
    compute_contingency,
    draw_contingency,
    describe_contingency,
)
PURITY = FigureSpec("rq1_02_cluster_purity", "Purity of the clusters", compute_purity, draw_purity, describe_purity)
