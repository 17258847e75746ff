"""The one page that sums up a study (rq_summary). Panels that the study has no data for say why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ictc.analytics.figures import wrap_name
from study_figures.across_k import SUBDIVISION_ARI, KEffect, compute_k_effect
from study_figures.across_tracks import Contingency, compute_contingency
from study_figures.charts import (
    LEFT_TO_RIGHT,
    PAGE_CHARACTERS,
    PERCENT,
    draw_grouped_bars,
    draw_table,
    empty_figure,
    track_title,
    wrap_sentence,
)
from study_figures.clusters import MEASURES, compute_balance
from study_figures.collection import FilterRates, compute_filter_rates
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.platforms import PlatformClusters, compute_platform_clusters
from study_figures.reading import Study, Unavailable

Part = TypeVar("Part")
COLUMN_TITLES = ("normalized\nentropy", "largest\ncluster", "effective\nclusters", "coefficient\nof variation")


@dataclass(frozen=True, eq=False)
class Summary:
    """The parts of the page; where one is None, `reasons` has its name and why."""

    num_images: int
    balance: pd.DataFrame
    tracks: list[Contingency] | None
    across_k: dict[str, KEffect] | None
    platforms: dict[str, PlatformClusters] | None
    filter_rates: FilterRates | None
    reasons: dict[str, str]


def compute_summary(study: Study) -> Summary:
    """Return all parts that the study has data for."""
    reasons: dict[str, str] = {}

    def attempt(name: str, compute: Callable[[Study], Part]) -> Part | None:
        try:
            return compute(study)
        except Unavailable as missing:
            reasons[name] = str(missing)
            return None

    return Summary(
        num_images=len(study.images),
        balance=compute_balance(study),
        tracks=attempt("tracks", compute_contingency),
        across_k=attempt("across_k", compute_k_effect),
        platforms=attempt("platforms", compute_platform_clusters),
        filter_rates=attempt("filter_rates", compute_filter_rates),
        reasons=reasons,
    )


def draw_summary(data: Summary) -> Figure:
    """Draw the page."""
    runs, sentences = len(data.balance), describe_summary(data)
    heights = [0.8 + 0.2 * runs, 2.3, 2.3, 0.2 + 0.22 * len(sentences)]
    title = f"Summary: {data.num_images:,} images, {runs} clustering{'s' if runs > 1 else ''}"
    figure = empty_figure(title, 0.3 + sum(heights))
    parts: Any = figure.subfigures(4, 1, height_ratios=heights)
    top, upper, lower, bottom = parts
    _draw_balance(top.subplots(), data.balance)
    tracks, across_k = upper.subplots(1, 2)
    platforms, filter_rates = lower.subplots(1, 2)
    _draw_tracks(tracks, data)
    _draw_across_k(across_k, data)
    _draw_platforms(platforms, data)
    _draw_filter_rates(filter_rates, data)
    _write_sentences(bottom.subplots(), sentences)
    return figure


def _draw_balance(axes: Axes, balance: pd.DataFrame) -> None:
    names = [f"{track_title(row.track)}, K={row.K} (n = {row.ads:,})" for row in balance.itertuples()]
    values = balance[list(MEASURES)]
    patterns = [pattern for _, pattern in MEASURES.values()]
    texts = pd.DataFrame({name: values[name].map(one.format) for name, one in zip(values, patterns, strict=True)})
    plain = pd.DataFrame(0.0, index=names, columns=COLUMN_TITLES)
    draw_table(axes, plain, texts, row_width=48)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(COLUMN_TITLES)), COLUMN_TITLES)
    axes.set_title("Balance", loc="left")


def _draw_tracks(axes: Axes, data: Summary) -> None:
    axes.set_title("Agreement of two tracks", loc="left")
    if data.tracks is None:
        return _explain(axes, data.reasons["tracks"])
    rows = {
        f"{track_title(one.first)} × {track_title(one.second)}": {
            "ARI": one.agreement.ari,
            "NMI": one.agreement.nmi,
            "Cramér's V": one.agreement.cramers_v,
        }
        for one in data.tracks
    }
    table = pd.DataFrame(rows).T
    draw_table(axes, table, table.map("{:z.3f}".format), row_width=14, room=PAGE_CHARACTERS // 2)
    return None


def _draw_across_k(axes: Axes, data: Summary) -> None:
    axes.set_title(f"ARI of the two K (dotted: {SUBDIVISION_ARI:g})", loc="left")
    if data.across_k is None:
        return _explain(axes, data.reasons["across_k"])
    aris = {track_title(track): one.agreement.ari for track, one in data.across_k.items()}
    draw_grouped_bars(axes, pd.DataFrame({"ARI": aris}), "{:z.3f}")
    axes.axhline(SUBDIVISION_ARI, color="black", linestyle=":", linewidth=1)
    return None


def _draw_platforms(axes: Axes, data: Summary) -> None:
    axes.set_title("Platform and cluster: Cramér's V", loc="left")
    if data.platforms is None:
        return _explain(axes, data.reasons["platforms"])
    strengths = {track_title(track): one.test.cramers_v for track, one in data.platforms.items()}
    draw_grouped_bars(axes, pd.DataFrame({"V": strengths}), "{:.3f}")
    return None


def _draw_filter_rates(axes: Axes, data: Summary) -> None:
    axes.set_title("Images without a cluster", loc="left")
    if data.filter_rates is None:
        return _explain(axes, data.reasons["filter_rates"])
    track = data.filter_rates.rates.columns[0]
    draw_grouped_bars(axes, data.filter_rates.rates[[track]], "{:.1%}")
    axes.set_ylabel(f"share, track {wrap_name(track)}")
    axes.yaxis.set_major_formatter(PERCENT)
    return None


def _explain(axes: Axes, reason: str) -> None:
    axes.text(0.5, 0.5, f"not drawn:\n{wrap_name(reason, width=36)}", ha="center", va="center", color="#666666")
    axes.set_xticks([])
    axes.set_yticks([])


def _write_sentences(axes: Axes, sentences: list[Finding]) -> None:
    axes.set_axis_off()
    lines = [line for sentence in sentences for line in wrap_sentence(f"• {sentence.text}", 128).split("\n")]
    text = "\n".join(f"{LEFT_TO_RIGHT}{line}" for line in lines)
    axes.text(0.0, 1.0, text, va="top", linespacing=1.4, fontsize=7.5, transform=axes.transAxes)


def describe_summary(data: Summary) -> list[Finding]:
    """Name the extremes of each part."""
    parts = (_describe_balance(data.balance), _describe_tracks(data.tracks), _describe_across_k(data.across_k))
    others = (_describe_platforms(data.platforms), _describe_filter_rates(data.filter_rates))
    return [sentence for sentence in (*parts, *others) if sentence is not None]


def _describe_balance(balance: pd.DataFrame) -> Finding:
    even = balance.loc[balance["coefficient_of_variation"].idxmin()]
    uneven = balance.loc[balance["coefficient_of_variation"].idxmax()]
    return finding(
        "By the coefficient of variation, the most even clustering is {even}, K={even_k} ({low:.2f}), the least even "
        "{uneven}, K={uneven_k} ({high:.2f}).",
        even=even["track"],
        even_k=even["K"],
        low=even["coefficient_of_variation"],
        uneven=uneven["track"],
        uneven_k=uneven["K"],
        high=uneven["coefficient_of_variation"],
    )


def _describe_tracks(tracks: list[Contingency] | None) -> Finding | None:
    if tracks is None:
        return None
    most = max(tracks, key=lambda one: one.agreement.cramers_v)
    return finding(
        "Of the pairs of tracks, {first} and {second} are associated most: Cramér's V {v:.3f}, NMI {nmi:.3f}.",
        first=most.first,
        second=most.second,
        v=most.agreement.cramers_v,
        nmi=most.agreement.nmi,
    )


def _describe_across_k(across_k: dict[str, KEffect] | None) -> Finding | None:
    if across_k is None:
        return None
    above = [track for track, one in across_k.items() if one.agreement.ari > SUBDIVISION_ARI]
    return finding(
        "Tracks in which the larger K mostly subdivides the clusters of the smaller (ARI above {threshold:.1f}): "
        "{above} of {tracks}.",
        above=len(above),
        tracks=len(across_k),
        threshold=SUBDIVISION_ARI,
    )


def _describe_platforms(platforms: dict[str, PlatformClusters] | None) -> Finding | None:
    if platforms is None:
        return None
    track, most = max(platforms.items(), key=lambda item: item[1].test.cramers_v)
    return finding(
        "The platform is associated most with the clusters of {track}: Cramér's V {v:.3f}.",
        track=track,
        v=most.test.cramers_v,
    )


def _describe_filter_rates(rates: FilterRates | None) -> Finding | None:
    if rates is None:
        return None
    track = rates.rates.columns[0]
    if rates.rates[track].isna().all():
        return None
    return finding(
        "{platform} has the largest share of images without a cluster: {rate:.1%} in the track {track}.",
        platform=rates.rates[track].idxmax(),
        rate=rates.rates[track].max(),
        track=track,
    )


SUMMARY = FigureSpec("rq_summary", "Summary", compute_summary, draw_summary, describe_summary)
