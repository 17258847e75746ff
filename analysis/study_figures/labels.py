"""Figure of the labels of Step 2a: the most frequent ones, and how diverse they are (08)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ictc.analytics.balance import normalized_entropy
from ictc.analytics.figures import COLORS, wrap_name
from study_figures.charts import PERCENT, SMALL, join_axes, new_figure, track_title
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.reading import Study, Unavailable

MOST_LABELS = 20
LINE_STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of one track.

    Attributes:
        top: ads of the most frequent labels, the largest first.
        covered: share of the labeled ads that the n most frequent labels stand for, index: n on a logarithmic grid.
        normalized_entropy: of the ads over the labels.
    """

    num_labeled: int
    num_distinct: int
    top: pd.Series
    covered: pd.Series
    normalized_entropy: float


def compute_labels(study: Study) -> dict[str, Labels]:
    """Count the labels of each track.

    Raises:
        Unavailable: no ad has a label.
    """
    labels = {}
    for track in study.tracks:
        values = study.run_of(track).rows["label"]
        counts = values[values.notna() & (values != "")].value_counts()
        if not counts.empty:
            labels[track] = count_labels(counts)
    if not labels:
        raise Unavailable("no ad has a label")
    return labels


def count_labels(counts: pd.Series) -> Labels:
    """Return what is shown of the labels, given how many ads have each, the most frequent first."""
    total = int(counts.sum())
    covered = counts.cumsum().to_numpy() / total
    ranks = np.unique(np.geomspace(1, len(counts), 60).round().astype(int))
    return Labels(
        num_labeled=total,
        num_distinct=len(counts),
        top=counts.head(MOST_LABELS),
        covered=pd.Series(covered[ranks - 1], index=ranks),
        normalized_entropy=normalized_entropy(counts),
    )


def draw_labels(data: dict[str, Labels]) -> Figure:
    """Draw bars of the most frequent labels of each track above the curves of what labels cover."""
    title = f"The {MOST_LABELS} most frequent labels, and how much of the ads labels cover"
    figure, grid = new_figure(title, 6.6, 2, len(data), height_ratios=[3, 2])
    for place, (axes, (track, one)) in enumerate(zip(grid[0], data.items(), strict=True)):
        shares = one.top.to_numpy() / one.num_labeled
        axes.barh(range(len(shares)), shares, color=COLORS[place % len(COLORS)])
        for row, share in enumerate(shares):
            axes.text(share, row, f" {share:.1%}", va="center", fontsize=6)
        axes.set_yticks(
            range(len(shares)), [wrap_name(name, width=24, most_lines=1) for name in one.top.index], fontsize=SMALL
        )
        axes.set(ylim=(MOST_LABELS - 0.4, -0.6), xlim=(0, shares.max() * 1.3), xlabel="share of the labeled ads")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_title(track_title(track))
    _draw_coverage(join_axes(figure, grid[1]), data)
    return figure


def _draw_coverage(axes: Axes, data: dict[str, Labels]) -> None:
    for place, (track, one) in enumerate(data.items()):
        style: dict[str, Any] = {
            "color": COLORS[place % len(COLORS)],
            "linestyle": LINE_STYLES[place % len(LINE_STYLES)],
        }
        label = (
            f"{track_title(track)}: {one.num_distinct:,} labels for {one.num_labeled:,} ads, "
            f"normalized entropy {one.normalized_entropy:.3f}"
        )
        axes.plot(one.covered.index, one.covered, label=label, linewidth=1.6, **style)
    axes.axvline(MOST_LABELS, color="#888888", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="most frequent labels (logarithmic)", ylabel="labeled ads covered")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_title(f"Diversity (dotted: {MOST_LABELS} labels)", loc="left")
    axes.legend(loc="upper left", framealpha=1, edgecolor="none", fontsize=7)


def describe_labels(data: dict[str, Labels]) -> list[Finding]:
    """Say how many labels there are, and what the most frequent ones cover."""
    return [
        finding(
            "The track {track} has {distinct:,} distinct labels for {ads:,} labeled ads; the {top} most frequent cover "
            "{covered:.1%}, the first of them, {label}, {share:.1%}. Normalized entropy: {entropy:.3f}.",
            track=track,
            distinct=one.num_distinct,
            ads=one.num_labeled,
            top=len(one.top),
            covered=one.top.sum() / one.num_labeled,
            label=one.top.index[0],
            share=one.top.iloc[0] / one.num_labeled,
            entropy=one.normalized_entropy,
        )
        for track, one in data.items()
    ]


LABELS = FigureSpec(
    "08_labels", "Most frequent labels and their diversity", compute_labels, draw_labels, describe_labels
)
