"""Figures of the clusters' sizes: distributions, balance and pies (02, 03, 04, 15)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ictc.analytics.balance import SMALLEST_EFFECTIVE_SHARE, measure_balance
from ictc.analytics.figures import COLORS
from ictc.analytics.results import RunResults
from ictc.validation.result import find_validation
from ictc.validation.shares import correct_shares, count_cells
from study_figures.charts import (
    PERCENT,
    ROOM_FOR_NUMBERS,
    draw_counts,
    draw_grouped_bars,
    draw_pie,
    new_figure,
    track_title,
)
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.reading import Study

PIE_TRACK = "cultural"
MEASURES = {
    "normalized_entropy": ("Normalized entropy (1: equal clusters)", "{:.3f}"),
    "largest_share": ("Largest cluster, share of the ads", "{:.1%}"),
    "effective_clusters": (f"Clusters with ≥ {SMALLEST_EFFECTIVE_SHARE:.0%} of the ads", "{:.0f}"),
    "coefficient_of_variation": ("Coefficient of variation (0: equal clusters)", "{:.2f}"),
}


def cluster_sizes(run: RunResults) -> pd.Series:
    """Return the ads of each cluster, the largest first, empty ones included."""
    sizes = run.rows["cluster"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    return pd.Series(sizes.to_numpy(), index=[str(name) for name in sizes.index])


@dataclass(frozen=True, eq=False)
class Distributions:
    """Ads of each cluster by track, the largest cluster first.

    Attributes:
        corrected: of tracks that people coded a sample of (`ictc validate`), the share of each cluster without
            the model's errors, with its interval of 95 %: "corrected", "low" and "high".
    """

    num_clusters: int
    sizes: dict[str, pd.Series]
    corrected: dict[str, pd.DataFrame] = field(default_factory=dict)


def compute_distributions(study: Study, large: bool) -> Distributions:
    """Return the sizes at the smaller or the larger K."""
    k = study.large_k if large else study.small_k
    runs = study.runs_at(k)
    corrected = {track: found for track, run in runs.items() if (found := corrected_shares(run)) is not None}
    return Distributions(k, {track: cluster_sizes(run) for track, run in runs.items()}, corrected)


def corrected_shares(run: RunResults) -> pd.DataFrame | None:
    """Return the corrected shares of the clusters by name, None if there are none of the same base as the raw ones."""
    found = find_validation(run.directory)
    if found is None or found.codings is None or not run.none.empty:
        return None
    shares = correct_shares(count_cells(found.codings)).set_index("cluster")
    return shares.loc[cluster_sizes(run).index, ["corrected", "low", "high"]]


def draw_distributions(data: Distributions) -> Figure:
    """Draw bars for each track, with the share that equal clusters would have."""
    height = 0.5 + len(data.sizes) * (0.55 + 0.24 * data.num_clusters)
    title = f"Cluster distributions, K={data.num_clusters}"
    figure, grid = new_figure(title, height, rows=len(data.sizes), sharex=True)
    for place, (axes, (track, sizes)) in enumerate(zip(grid[:, 0], data.sizes.items(), strict=True)):
        draw_counts(axes, sizes, color=COLORS[place % len(COLORS)])
        if track in data.corrected:
            draw_corrected(axes, data.corrected[track])
        axes.axvline(1 / data.num_clusters, color="black", linestyle=":", linewidth=1, zorder=0)
        axes.set_title(f"{track_title(track)}, n = {sizes.sum():,}", loc="left")
    largest = max(
        *(sizes.max() / sizes.sum() for sizes in data.sizes.values()),
        *(1.03 * shares["high"].max() / ROOM_FOR_NUMBERS for shares in data.corrected.values()),
        0.0,
    )
    grid[-1, 0].set_xlim(0, largest * ROOM_FOR_NUMBERS)
    told = "; diamonds: corrected by coders, with 95 % intervals" if data.corrected else ""
    grid[-1, 0].set_xlabel(f"share of the track's ads (dotted: 1/{data.num_clusters}, equal clusters{told})")
    return figure


def draw_corrected(axes: Axes, shares: pd.DataFrame) -> None:
    """Draw the corrected share of each cluster with its interval, below the middle of its bar."""
    places = [place + 0.27 for place in range(len(shares))]
    widths = [shares["corrected"] - shares["low"], shares["high"] - shares["corrected"]]
    axes.errorbar(shares["corrected"], places, xerr=widths, fmt="D", color="black", markersize=3, linewidth=0.9)


def describe_distributions(data: Distributions) -> list[Finding]:
    """Name the largest and the smallest cluster of each track."""
    return [
        finding(
            "At K={k}, the largest of the track {track} is {largest} with {share:.1%} of {ads:,} ads, the smallest "
            "{smallest} with {least:.1%}.",
            k=data.num_clusters,
            track=track,
            largest=sizes.index[0],
            share=sizes.iloc[0] / sizes.sum(),
            ads=sizes.sum(),
            smallest=sizes.index[-1],
            least=sizes.iloc[-1] / sizes.sum(),
        )
        for track, sizes in data.sizes.items()
    ] + [
        finding(
            "Corrected for the model's errors by what coders say of a sample, {largest} has {corrected:.1%} "
            "({low:.1%} to {high:.1%}) of the ads of the track {track}.",
            track=track,
            largest=shares.index[0],
            **shares.iloc[0].to_dict(),
        )
        for track, shares in data.corrected.items()
    ]


def compute_balance(study: Study) -> pd.DataFrame:
    """Return the measures of balance, a row a run: "track", "K", "ads" and the fields of `Balance`."""
    rows = [
        {"track": track, "K": k, "ads": len(run.rows), **asdict(measure_balance(cluster_sizes(run)))}
        for (track, k), run in study.runs.items()
    ]
    return pd.DataFrame(rows)


def draw_balance(data: pd.DataFrame) -> Figure:
    """Draw four measures, a group of bars for each track and a bar for each K."""
    figure, grid = new_figure("How evenly the ads are spread over the clusters", 5.0, 2, 2)
    for axes, (measure, (title, pattern)) in zip(grid.flat, MEASURES.items(), strict=True):
        values = data.pivot_table(index="track", columns="K", values=measure, sort=False).sort_index(axis=1)
        values = values.reindex(data["track"].unique())
        draw_grouped_bars(axes, values.rename(index=track_title, columns=lambda k: f"K={k}"), pattern)
        axes.set_title(title, loc="left")
        axes.set_ylim(bottom=0)
    grid[0, 1].yaxis.set_major_formatter(PERCENT)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def describe_balance(data: pd.DataFrame) -> list[Finding]:
    """Give the measures of each run."""
    return [
        finding(
            "The track {track} at K={k}: normalized entropy {entropy:.3f}, largest cluster {largest:.1%}, {effective} "
            "clusters with at least {threshold:.0%} of the ads, coefficient of variation {cv:.2f}.",
            track=row["track"],
            k=row["K"],
            entropy=row["normalized_entropy"],
            largest=row["largest_share"],
            effective=row["effective_clusters"],
            threshold=SMALLEST_EFFECTIVE_SHARE,
            cv=row["coefficient_of_variation"],
        )
        for row in data.to_dict("records")
    ]


@dataclass(frozen=True, eq=False)
class Pies:
    """Ads of each cluster of one track by K, the largest cluster first."""

    track: str
    sizes: dict[int, pd.Series]


def compute_pies(study: Study) -> Pies:
    """Return the sizes of the cultural track at each K."""
    study.run_of(PIE_TRACK)
    runs = {k: study.runs[PIE_TRACK, k] for k in study.ks if (PIE_TRACK, k) in study.runs}
    return Pies(PIE_TRACK, {k: cluster_sizes(run) for k, run in runs.items()})


def draw_pies(data: Pies) -> Figure:
    """Draw a pie for each K."""
    most = max(len(sizes) for sizes in data.sizes.values())
    title = f"{track_title(data.track)} clusters, share of the ads"
    height = 0.165 * most
    figure, grid = new_figure(title, 3.4 + height, 2, len(data.sizes), height_ratios=[3.2, height])
    for (axes, legend), (k, sizes) in zip(grid.T, data.sizes.items(), strict=True):
        draw_pie(axes, legend, sizes, f"K={k}, n = {sizes.sum():,}")
    return figure


def describe_pies(data: Pies) -> list[Finding]:
    """Say how many of the largest clusters make up half of the ads."""
    return [
        finding(
            "In the track {track} at K={k}, {clusters} of {all_clusters} clusters hold at least half of the ads: "
            "together {share:.1%}.",
            track=data.track,
            k=k,
            clusters=(needed := int((sizes.cumsum() < sizes.sum() / 2).sum()) + 1),
            all_clusters=len(sizes),
            share=sizes.iloc[:needed].sum() / sizes.sum(),
        )
        for k, sizes in data.sizes.items()
    ]


SMALL_K = FigureSpec(
    "02_clusters_small_k",
    "Cluster distributions at the smaller K",
    partial(compute_distributions, large=False),
    draw_distributions,
    describe_distributions,
)
LARGE_K = FigureSpec(
    "03_clusters_large_k",
    "Cluster distributions at the larger K",
    partial(compute_distributions, large=True),
    draw_distributions,
    describe_distributions,
)
BALANCE = FigureSpec("04_balance", "Balance of the clusterings", compute_balance, draw_balance, describe_balance)
PIES = FigureSpec("15_cultural_pies", "Cultural clusters at each K", compute_pies, draw_pies, describe_pies)
