"""Figures of the clusters on each platform, and which of them stand out (05, 11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ictc.analytics.association import ChiSquare, chi_square
from study_figures.charts import PERCENT, draw_table, name_places, new_figure, percent, share_of_rows, track_title
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.reading import Study

LARGE_RESIDUAL = 4.0
"""Standardized residuals beyond this are called out."""


def platform_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Return the ads by cluster (rows) and platform (columns) of each track at the smaller K."""
    return {track: study.platform_table(run) for track, run in study.runs_at(study.small_k).items()}


@dataclass(frozen=True, eq=False)
class PlatformClusters:
    """What the platform says about the cluster, in one track.

    Attributes:
        counts: ads by cluster (rows) and platform (columns).
        shares: the same as shares of each platform.
        test: of independence.
    """

    counts: pd.DataFrame
    shares: pd.DataFrame
    test: ChiSquare


def compute_platform_clusters(study: Study) -> dict[str, PlatformClusters]:
    """Return the clusters of each platform and the test of independence, by track."""
    return {
        track: PlatformClusters(table, share_of_rows(table.T).T, chi_square(table))
        for track, table in platform_tables(study).items()
    }


def draw_platform_clusters(data: dict[str, PlatformClusters]) -> Figure:
    """Draw a heat map for each track: percent of the platform's ads."""
    figure, grid = _stack_tables("Clusters by platform, percent of the platform's ads", list(data.values()))
    top = max(float(one.shares.max(axis=None)) for one in data.values())
    for axes, (track, one) in zip(grid[:, 0], data.items(), strict=True):
        image = draw_table(axes, one.shares, percent(one.shares, 1), limits=(0.0, top))
        axes.set_title(f"{track_title(track)}, K={len(one.counts)}: {describe_test(one.test)}", loc="left")
        _count_platforms(axes, one.counts)
    figure.colorbar(image, ax=grid[:, 0], label="share of the platform's ads", shrink=0.5, format=PERCENT)
    return figure


def _stack_tables(title: str, tables: list[PlatformClusters]) -> tuple[Figure, np.ndarray]:
    rows = [len(one.counts) for one in tables]
    height = 0.6 + sum(0.75 + 0.3 * number for number in rows)
    return new_figure(title, height, rows=len(tables), height_ratios=[2 + number for number in rows])


def _count_platforms(axes: Axes, counts: pd.DataFrame) -> None:
    """Add the number of ads to the platforms' names."""
    totals = counts.sum()
    name_places(axes, list(totals.index), 64, [f"(n = {count:,})" for count in totals])


def describe_test(test: ChiSquare) -> str:
    """Return a test in the form of papers."""
    p = "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}"
    rough = ", rough" if test.is_approximate else ""
    statistic = f"χ²({test.degrees_of_freedom}, n = {test.num_items:,}) = {test.statistic:,.0f}"
    return f"{statistic}, {p}{rough}; Cramér's V = {test.cramers_v:.3f}"


def describe_platform_clusters(data: dict[str, PlatformClusters]) -> list[Finding]:
    """Give the strength of the association."""
    return [
        finding(
            "Platform and cluster of the track {track}: chi-square {statistic:,.0f} with {degrees} degrees of freedom "
            "for {ads:,} ads, Cramér's V {v:.3f} (bias-corrected {corrected:.3f}).",
            track=track,
            statistic=one.test.statistic,
            degrees=one.test.degrees_of_freedom,
            ads=one.test.num_items,
            v=one.test.cramers_v,
            corrected=one.test.cramers_v_corrected,
        )
        for track, one in data.items()
    ]


def draw_residuals(data: dict[str, PlatformClusters]) -> Figure:
    """Draw the standardized residuals of each track; large ones are framed."""
    figure, grid = _stack_tables(
        f"Standardized residuals (O − E)/√E of cluster and platform; framed: |r| > {LARGE_RESIDUAL:g}",
        list(data.values()),
    )
    top = max(float(one.test.residuals.abs().max(axis=None)) for one in data.values()) or 1.0
    for axes, (track, one) in zip(grid[:, 0], data.items(), strict=True):
        residuals = one.test.residuals
        marked = residuals.abs() > LARGE_RESIDUAL
        image = draw_table(axes, residuals, residuals.map(signed), limits=(-top, top), diverging=True, marked=marked)
        cells = f"{int(marked.sum(axis=None))} of {marked.size} cells"
        axes.set_title(f"{track_title(track)}, K={len(one.counts)}: {cells} beyond ±{LARGE_RESIDUAL:g}", loc="left")
    figure.colorbar(image, ax=grid[:, 0], label="fewer ads than expected ← r → more", shrink=0.5)
    return figure


def signed(value: float) -> str:
    """Return a residual with its sign."""
    return f"{value:+.1f}".replace("-", "−")


def describe_residuals(data: dict[str, PlatformClusters]) -> list[Finding]:
    """Name the cell that stands out most, by track."""
    findings = []
    for track, one in data.items():
        residuals = one.test.residuals
        cluster, platform = residuals.abs().stack().idxmax()
        findings.append(
            finding(
                "In the track {track}, {large} of {cells} standardized residuals exceed {limit:.0f} in size; the "
                "largest is that of {cluster} on {platform}: {residual:+.1f}, with {observed:,} ads where independence "
                "expects {expected:,.0f}.",
                track=track,
                large=(residuals.abs() > LARGE_RESIDUAL).sum(axis=None),
                cells=residuals.size,
                limit=LARGE_RESIDUAL,
                cluster=cluster,
                platform=platform,
                residual=residuals.at[cluster, platform],
                observed=one.counts.at[cluster, platform],
                expected=one.test.expected.at[cluster, platform],
            )
        )
    return findings


PLATFORM_CLUSTERS = FigureSpec(
    "05_platform_clusters",
    "Clusters by platform",
    compute_platform_clusters,
    draw_platform_clusters,
    describe_platform_clusters,
)
RESIDUALS = FigureSpec(
    "11_residuals",
    "Standardized residuals of cluster and platform",
    compute_platform_clusters,
    draw_residuals,
    describe_residuals,
)
