"""Figures of what another K does to the clusters (10, rq2_01, rq2_02)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ictc.analytics.agreement import Agreement, measure_agreement
from ictc.analytics.balance import Balance, measure_balance
from ictc.analytics.figures import COLORS
from study_figures.charts import (
    PERCENT,
    draw_grouped_bars,
    draw_table,
    line_style,
    new_figure,
    percent,
    share_of_rows,
    track_title,
)
from study_figures.clusters import MEASURES
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.reading import Study

SUBDIVISION_ARI = 0.3
"""Above this the clusters of the larger K mostly subdivide those of the smaller, else they are others."""


@dataclass(frozen=True, eq=False)
class KEffect:
    """One track at two K, over the ads that have a cluster at both.

    Attributes:
        table: ads by cluster at the smaller K (rows) and at the larger (columns).
        shares: the same as shares of each row.
        balances: at the smaller and at the larger K.
    """

    ks: tuple[int, int]
    table: pd.DataFrame
    shares: pd.DataFrame
    agreement: Agreement
    balances: tuple[Balance, Balance]


def compute_k_effect(study: Study) -> dict[str, KEffect]:
    """Compare the two clusterings of each track."""
    return {pair.first: _compare((study.small_k, study.large_k), pair.table) for pair in study.k_pairs}


def _compare(ks: tuple[int, int], table: pd.DataFrame) -> KEffect:
    balances = measure_balance(table.sum(axis=1)), measure_balance(table.sum())
    return KEffect(ks, table, share_of_rows(table), measure_agreement(table), balances)


def reading_of(ari: float) -> str:
    """Return what an ARI between two K says, in one word."""
    return "subdivision" if ari > SUBDIVISION_ARI else "reorganization"


def draw_sizes(data: dict[str, KEffect]) -> Figure:
    """Draw for each track the shares of its clusters by rank at both K."""
    small, large = next(iter(data.values())).ks
    figure, grid = new_figure(
        f"K={small} against K={large}: shares of the clusters, the largest first", 3.0, columns=len(data), sharey=True
    )
    largest = max(balance.largest_share for one in data.values() for balance in one.balances)
    for axes, (track, one) in zip(grid[0], data.items(), strict=True):
        for place, (k, sizes) in enumerate(zip(one.ks, (one.table.sum(axis=1), one.table.sum()), strict=True)):
            shares = np.sort(sizes.to_numpy())[::-1] / sizes.sum()
            axes.plot(range(1, k + 1), shares, **line_style(place), markersize=4, label=f"K={k}")
            axes.axhline(1 / k, color=COLORS[place], linestyle=":", linewidth=1)
        axes.set_title(f"{track_title(track)}\nARI {one.agreement.ari:z.3f}: {reading_of(one.agreement.ari)}")
        axes.set(xlabel="rank of the cluster", ylim=(0, 1.08 * largest))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)
    grid[0, 0].set_ylabel("share of the ads (dotted: 1/K)")
    grid[0, 0].yaxis.set_major_formatter(PERCENT)
    return figure


def describe_sizes(data: dict[str, KEffect]) -> list[Finding]:
    """Give the ARI of the two K and its reading."""
    return [
        finding(
            "The track {track} at K={small} and K={large}: ARI {ari:z.3f} over {ads:,} ads, which reads as {reading} "
            "(above {threshold:.1f}: subdivision, else reorganization).",
            track=track,
            small=one.ks[0],
            large=one.ks[1],
            ari=one.agreement.ari,
            ads=one.agreement.num_items,
            reading=reading_of(one.agreement.ari),
            threshold=SUBDIVISION_ARI,
        )
        for track, one in data.items()
    ]


def draw_mapping(data: dict[str, KEffect]) -> Figure:
    """Draw for each track where the ads of its clusters at the smaller K (columns) are at the larger K (rows)."""
    small, large = next(iter(data.values())).ks
    figure, grid = new_figure(
        f"Where the ads of each K={small} cluster (column) are at K={large} (rows), percent of the column",
        0.6 + len(data) * (0.85 + 0.205 * large),
        rows=len(data),
    )
    for axes, (track, one) in zip(grid[:, 0], data.items(), strict=True):
        image = draw_table(axes, one.shares.T, percent(one.shares.T, 1), row_width=44, row_lines=1)
        axes.set_title(
            f"{track_title(track)}, n = {one.agreement.num_items:,}, ARI {one.agreement.ari:z.3f}", loc="left"
        )
    figure.colorbar(image, ax=grid[:, 0], label="share of the column's ads", shrink=0.4, format=PERCENT)
    return figure


def describe_mapping(data: dict[str, KEffect]) -> list[Finding]:
    """Name the clusters of the smaller K that stay most and least together."""
    findings = []
    for track, one in data.items():
        kept = one.shares.max(axis=1)
        findings.append(
            finding(
                "From K={small} to K={large} in the track {track}, {whole} stays most together ({most:.1%} of it in "
                "{target}), {split} least ({least:.1%} in its most frequent one).",
                small=one.ks[0],
                large=one.ks[1],
                track=track,
                whole=kept.idxmax(),
                most=kept.max(),
                target=one.shares.loc[kept.idxmax()].idxmax(),
                split=kept.idxmin(),
                least=kept.min(),
            )
        )
    return findings


def draw_k_effect(data: dict[str, KEffect]) -> Figure:
    """Draw three measures of balance from the smaller to the larger K, and the ARI of the two."""
    small, large = next(iter(data.values())).ks
    figure, grid = new_figure(f"What K={large} changes against K={small}", 5.4, 2, 2)
    for axes, measure in zip(
        grid.flat, ("normalized_entropy", "largest_share", "coefficient_of_variation"), strict=False
    ):
        _draw_slopes(axes, data, measure)
    aris = pd.DataFrame({"ARI": {track_title(track): one.agreement.ari for track, one in data.items()}})
    draw_grouped_bars(grid[1, 1], aris, "{:z.3f}")
    grid[1, 1].axhline(SUBDIVISION_ARI, color="black", linestyle=":", linewidth=1)
    title = f"ARI of the two K (dotted: {SUBDIVISION_ARI:g}; above: subdivision)"
    grid[1, 1].set_title(title, loc="left")
    grid[1, 1].set(ylim=(min(0.0, float(aris["ARI"].min())), max(0.5, float(aris["ARI"].max()) * 1.15)))
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(len(data), 1), frameon=False)
    return figure


def _draw_slopes(axes: Axes, data: dict[str, KEffect], measure: str) -> None:
    title, pattern = MEASURES[measure]
    for place, (track, one) in enumerate(data.items()):
        values = [asdict(balance)[measure] for balance in one.balances]
        axes.plot((0, 1), values, label=track_title(track), **line_style(place))
    for side in (0, 1):
        ends = [asdict(one.balances[side])[measure] for one in data.values()]
        _name_ends(axes, side, [pattern.format(end) for end in ends], ends)
    axes.set_title(title, loc="left")
    axes.set_xticks((0, 1), [f"K={k}" for k in next(iter(data.values())).ks])
    axes.set_xlim(-0.35, 1.35)
    axes.margins(y=0.15)
    if measure == "largest_share":
        axes.yaxis.set_major_formatter(PERCENT)


def _name_ends(axes: Axes, side: int, texts: list[str], values: list[float]) -> None:
    """Write each value beside its end of a slope, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = 0.09 * (high - low)
    at: list[float] = []
    for place in np.argsort(values):
        at.append(max(values[place], at[-1] + gap) if at else values[place])
        aligned = "left" if side else "right"
        axes.text(side + (0.07 if side else -0.07), at[-1], texts[place], ha=aligned, va="center", fontsize=7)


def describe_k_effect(data: dict[str, KEffect]) -> list[Finding]:
    """Say how entropy and largest share change."""
    return [
        finding(
            "From K={small} to K={large}, the normalized entropy of the track {track} changes from {entropy:.3f} to "
            "{new_entropy:.3f}, its largest cluster from {largest:.1%} to {new_largest:.1%}, its coefficient of "
            "variation from {cv:.2f} to {new_cv:.2f}.",
            small=one.ks[0],
            large=one.ks[1],
            track=track,
            entropy=one.balances[0].normalized_entropy,
            new_entropy=one.balances[1].normalized_entropy,
            largest=one.balances[0].largest_share,
            new_largest=one.balances[1].largest_share,
            cv=one.balances[0].coefficient_of_variation,
            new_cv=one.balances[1].coefficient_of_variation,
        )
        for track, one in data.items()
    ]


SIZES = FigureSpec(
    "10_small_and_large_k", "The smaller against the larger K", compute_k_effect, draw_sizes, describe_sizes
)
K_MAPPING = FigureSpec(
    "rq2_01_k_mapping", "From the smaller to the larger K", compute_k_effect, draw_mapping, describe_mapping
)
K_EFFECT = FigureSpec(
    "rq2_02_k_effect", "What the larger K changes", compute_k_effect, draw_k_effect, describe_k_effect
)
