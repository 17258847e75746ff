"""Figures that compare the platforms: fingerprints, distances, and the identity track on each (07, 13, 14)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial.distance import jensenshannon

from ictc.analytics.association import lift
from ictc.analytics.balance import normalized_entropy
from ictc.analytics.figures import COLORS, wrap_name
from ictc.analytics.intervals import wilson_interval
from study_figures.charts import (
    PERCENT,
    SMALL,
    draw_dots,
    draw_table,
    hide_unused,
    join_axes,
    legend_below,
    new_figure,
    track_title,
)
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.platforms import platform_tables
from study_figures.reading import Study

IDENTITY = "identity"
LARGEST_FACTOR = 8.0
"""Lifts beyond this, or below its inverse, are drawn at the edge."""
TICKS = {-3: "⅛", -2: "¼", -1: "½", 0: "1", 1: "2", 2: "4", 3: "8"}
FINE_TICKS = {math.log2(0.8): "0.8", 0.0: "", math.log2(1.25): "1.25"}
"""Lifts by their log2."""


def compute_fingerprints(study: Study) -> dict[str, pd.DataFrame]:
    """Return the lift of each cluster (rows) on each platform (columns), by track."""
    return {track: lift(table) for track, table in platform_tables(study).items()}


def draw_fingerprints(data: dict[str, pd.DataFrame]) -> Figure:
    """Draw for each platform how many times more often than overall it shows each cluster."""
    platforms = list(dict.fromkeys(name for table in data.values() for name in table.columns))
    rows = [len(table) for table in data.values()]
    figure, grid = new_figure(
        "Platform fingerprints: how many times as often as overall a platform shows each cluster",
        0.9 + sum(0.4 + 0.27 * number for number in rows),
        len(data),
        len(platforms),
        sharex=True,
        sharey="row",
        height_ratios=[1 + number for number in rows],
    )
    limits = _log_range(data)
    for place, (row, (track, table)) in enumerate(zip(grid, data.items(), strict=True)):
        for axes, platform in zip(row, platforms, strict=True):
            if platform in table.columns:
                _draw_fingerprint(axes, table[platform], limits, COLORS[place % len(COLORS)])
            else:
                hide_unused([axes])
        row[0].set_yticks(
            range(len(table)), [wrap_name(name, width=24, most_lines=2) for name in table.index], fontsize=7
        )
        row[0].set_ylabel(f"{track_title(track)}, K={len(table)}", fontweight="bold")
    for axes, platform in zip(grid[0], platforms, strict=True):
        axes.set_title(wrap_name(platform, width=max(56 // len(platforms), 8)))
    figure.supxlabel("lift (1: as often as on all platforms together; logarithmic)", fontsize=8)
    return figure


def _log_range(data: dict[str, pd.DataFrame]) -> tuple[float, float]:
    """Return log2 of the least and the largest lift that are drawn, at least of 0.8 and 1.25."""
    lifts = np.concatenate([table.to_numpy().ravel() for table in data.values()])
    known = np.log2(np.clip(lifts[np.isfinite(lifts)], 1 / LARGEST_FACTOR, LARGEST_FACTOR))
    return min(known.min(initial=0.0), math.log2(0.8)), max(known.max(initial=0.0), math.log2(1.25))


def _draw_fingerprint(axes: Axes, lifts: pd.Series, limits: tuple[float, float], color: str) -> None:
    low, high = limits
    heights = np.clip(np.log2(lifts.clip(2.0**low).to_numpy()), low, high)
    places = np.arange(len(lifts))
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.hlines(places, 0, heights, color=color, linewidth=1.6)
    axes.plot(heights, places, "o", color=color, markersize=4)
    for place, height, value in zip(places, heights, lifts, strict=True):
        if np.isfinite(value):
            side = 1 if height >= 0 else -1
            axes.annotate(
                f"{value:.2f}",
                (height, place),
                (5 * side, 0),
                textcoords="offset points",
                fontsize=6,
                va="center",
                ha="left" if side > 0 else "right",
            )
    room = 0.4 * (high - low)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(len(lifts) - 0.5, -0.5)
    shown = {tick: text for tick, text in TICKS.items() if low <= tick <= high}
    ticks = shown if len(shown) > 1 else FINE_TICKS
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def describe_fingerprints(data: dict[str, pd.DataFrame]) -> list[Finding]:
    """Name for each track and platform the cluster with the largest lift."""
    findings = []
    for track, table in data.items():
        for platform, lifts in table.items():
            if lifts.notna().any():
                findings.append(
                    finding(
                        "On {platform}, {cluster} (track {track}) is {lift:.2f} times as frequent as on all platforms "
                        "together, the largest lift of its track there.",
                        platform=str(platform),
                        cluster=lifts.idxmax(),
                        track=track,
                        lift=lifts.max(),
                    )
                )
    return findings


@dataclass(frozen=True, eq=False)
class PlatformComparison:
    """How diverse each platform is, and how far each two differ.

    Attributes:
        diversity: normalized entropy of the platform's clusters, platforms in rows, tracks in columns.
        distances: Jensen-Shannon distance with logarithm to base 2, in [0, 1] (Endres and Schindelin 2003), by track.
    """

    diversity: pd.DataFrame
    distances: dict[str, pd.DataFrame]


def compute_comparison(study: Study) -> PlatformComparison:
    """Compare the platforms by the shares of their clusters."""
    tables = platform_tables(study)
    diversity = pd.DataFrame({track: table.apply(normalized_entropy) for track, table in tables.items()})
    return PlatformComparison(
        diversity.reindex([platform for platform in study.platforms if platform in diversity.index]),
        {track: _distances(table) for track, table in tables.items()},
    )


def _distances(table: pd.DataFrame) -> pd.DataFrame:
    shares = (table / table.sum()).to_numpy()
    pairs = [[jensenshannon(one, other, base=2) for other in shares.T] for one in shares.T]
    return pd.DataFrame(np.nan_to_num(pairs), index=table.columns, columns=table.columns)


def draw_comparison(data: PlatformComparison) -> Figure:
    """Draw the diversity as dots and the distances as a heat map for each track."""
    columns = len(data.distances)
    heights = [0.6 + 0.26 * len(data.diversity), 1.6 + 0.26 * len(data.diversity)]
    title = "Platforms compared by the clusters of their ads"
    figure, grid = new_figure(title, 0.6 + sum(heights), 2, columns, height_ratios=heights)
    top = join_axes(figure, grid[0])
    draw_dots(top, data.diversity.rename(columns=track_title))
    top.set_title(
        "Diversity: normalized entropy of the platform's clusters (1: all clusters equally often)", loc="left"
    )
    top.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    largest = max(float(table.max(axis=None)) for table in data.distances.values()) or 1.0
    for place, (axes, (track, table)) in enumerate(zip(grid[1], data.distances.items(), strict=True)):
        draw_table(axes, table, table.map("{:.2f}".format), limits=(0.0, largest), row_width=14, room=26)
        axes.set_title(track_title(track))
        if place:
            axes.set_yticks([])
    figure.supxlabel(
        "Jensen–Shannon distance of two platforms' cluster shares (0: equal, 1: nothing in common)", fontsize=8
    )
    return figure


def describe_comparison(data: PlatformComparison) -> list[Finding]:
    """Name the two platforms that differ most, by track."""
    findings = []
    for track, table in data.distances.items():
        first, second = table.stack().idxmax()
        diversity = data.diversity[track].dropna()
        if diversity.empty:
            continue
        findings.append(
            finding(
                "In the track {track}, {first} and {second} differ most (Jensen–Shannon distance {distance:.2f}); the "
                "clusters are spread most evenly on {diverse} (normalized entropy {entropy:.3f}).",
                track=track,
                first=first,
                second=second,
                distance=table.at[first, second],
                diverse=diversity.idxmax(),
                entropy=diversity.max(),
            )
        )
    return findings


@dataclass(frozen=True, eq=False)
class IdentityShares:
    """Clusters of the identity track (rows) by platform (columns).

    Attributes:
        low, high: 95 % Wilson interval of `shares`.
    """

    num_clusters: int
    counts: pd.DataFrame
    shares: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame


def compute_identity(study: Study) -> IdentityShares:
    """Return what share of each platform's ads is in each cluster of the identity track."""
    run = study.run_of(IDENTITY)
    counts = study.platform_table(run)
    totals = counts.sum().to_numpy()
    low, high = (pd.DataFrame(end, counts.index, counts.columns) for end in wilson_interval(counts, totals))
    return IdentityShares(run.num_clusters, counts, counts / totals, low, high)


def draw_identity(data: IdentityShares) -> Figure:
    """Draw a dot for each cluster and platform."""
    figure, ((axes,),) = new_figure(
        f"Identity clusters by platform, K={data.num_clusters}", 1.3 + 0.55 * len(data.shares)
    )
    draw_dots(axes, data.shares, data.low, data.high)
    axes.set(xlabel="share of the platform's ads (lines: 95% Wilson intervals)", xlim=(0, None))
    axes.xaxis.set_major_formatter(PERCENT)
    ranges = [
        f"{low:.1%} – {high:.1%}" for low, high in zip(data.shares.min(axis=1), data.shares.max(axis=1), strict=True)
    ]
    for place, text in enumerate(["lowest – highest", *ranges], -1):
        at = (1.0, max(place, -0.6))
        axes.annotate(
            text,
            at,
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=SMALL,
            va="center",
        )
    legend_below(figure, axes, columns=min(4, len(data.shares.columns)))
    return figure


def describe_identity(data: IdentityShares) -> list[Finding]:
    """Name for each cluster the platforms with the largest and the smallest share."""
    return [
        finding(
            "The cluster {cluster} makes up {high:.1%} of the ads on {most} and {low:.1%} on {least}.",
            cluster=str(cluster),
            high=shares.max(),
            most=shares.idxmax(),
            low=shares.min(),
            least=shares.idxmin(),
        )
        for cluster, shares in data.shares.iterrows()
    ]


FINGERPRINTS = FigureSpec(
    "07_platform_fingerprints",
    "Platform fingerprints",
    compute_fingerprints,
    draw_fingerprints,
    describe_fingerprints,
)
COMPARISON = FigureSpec(
    "13_platform_comparison",
    "Platforms compared by the clusters of their ads",
    compute_comparison,
    draw_comparison,
    describe_comparison,
)
IDENTITY_BY_PLATFORM = FigureSpec(
    "14_identity_by_platform",
    "Identity clusters by platform",
    compute_identity,
    draw_identity,
    describe_identity,
)
