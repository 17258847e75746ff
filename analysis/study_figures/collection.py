"""Figures of the collection: what the images are, and which were set apart (01, 09)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ictc.analytics.association import contingency_table
from ictc.analytics.intervals import wilson_interval
from study_figures.charts import (
    PAGE_CHARACTERS,
    PERCENT,
    draw_counts,
    draw_grouped_bars,
    draw_pie,
    format_title,
    join_axes,
    legend_below,
    name_places,
    new_figure,
)
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.reading import Study, Unavailable


@dataclass(frozen=True, eq=False)
class Collection:
    """Images by platform and by ad format, those of which it is known, the largest first."""

    num_images: int
    by_platform: pd.Series
    by_format: pd.Series


def compute_collection(study: Study) -> Collection:
    """Count the images of the collection, those without a cluster included."""
    images = study.images
    by_platform = pd.Series(study.platform_of(images)).value_counts(sort=False)
    try:
        by_format = pd.Series(study.format_of(images)).value_counts(sort=False)
    except Unavailable:
        by_format = pd.Series(dtype=np.int64)
    return Collection(len(images), by_platform, by_format)


def draw_collection(data: Collection) -> Figure:
    """Draw the platforms as a pie and the formats as bars."""
    title = f"Platforms and ad formats of {data.num_images:,} images"
    ratios = {"height_ratios": [3, 0.25 * len(data.by_platform)], "width_ratios": [2, 3]}
    figure, grid = new_figure(title, 3.8, 2, 2, **ratios)
    draw_pie(grid[0, 0], grid[1, 0], data.by_platform, f"Platform, n = {data.by_platform.sum():,}")
    right = join_axes(figure, grid[:, 1])
    if data.by_format.empty:
        right.text(0.5, 0.5, "no image has an ad format", ha="center")
        right.set_axis_off()
        return figure
    draw_counts(right, data.by_format.rename(index=format_title))
    right.set(title=f"Ad format, n = {data.by_format.sum():,}", xlabel="share of the images with a known format")
    return figure


def describe_collection(data: Collection) -> list[Finding]:
    """Name the size, the most frequent platform and the most frequent format."""
    findings = [
        finding(
            "The collection has {images:,} images; the platform of {known:,} is known, and {share:.1%} of those are "
            "from {platform}.",
            images=data.num_images,
            known=data.by_platform.sum(),
            share=data.by_platform.iloc[0] / data.by_platform.sum(),
            platform=data.by_platform.index[0],
        )
    ]
    if not data.by_format.empty:
        findings.append(
            finding(
                "Of {formats} ad formats, {format} is the most frequent: {share:.1%} of {known:,} images.",
                formats=len(data.by_format),
                format=format_title(data.by_format.index[0]),
                share=data.by_format.iloc[0] / data.by_format.sum(),
                known=data.by_format.sum(),
            )
        )
    return findings


@dataclass(frozen=True, eq=False)
class FilterRates:
    """Images without a cluster by platform (rows, largest first) and track (columns).

    Attributes:
        overall: share of all images of each track, those of unknown platform included.
        low, high: 95 % Wilson interval of `rates`.
    """

    images: pd.DataFrame
    filtered: pd.DataFrame
    rates: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    overall: pd.Series


def compute_filter_rates(study: Study) -> FilterRates:
    """Count by platform and track which images have no cluster: interface only, broken, rejected, or none fits."""
    counts, overall = {}, {}
    for track in study.tracks:
        run = study.run_of(track)
        rows = pd.concat([run.rows.assign(filtered="no"), run.filtered.assign(filtered="yes")], ignore_index=True)
        states = pd.Categorical(rows["filtered"], categories=["no", "yes"])
        counts[track] = contingency_table(study.platform_of(rows), states)
        overall[track] = len(run.filtered) / max(len(rows), 1)
    filtered = pd.DataFrame({track: table["yes"] for track, table in counts.items()})
    images = pd.DataFrame({track: table.sum(axis=1) for track, table in counts.items()})
    low, high = (pd.DataFrame(end, images.index, images.columns) for end in wilson_interval(filtered, images))
    return FilterRates(images, filtered, filtered / images.where(images > 0), low, high, pd.Series(overall))


def draw_filter_rates(data: FilterRates) -> Figure:
    """Draw a group of bars for each platform."""
    figure, ((axes,),) = new_figure("Images without a cluster, by platform and track", 3.4)
    errors = [
        np.clip([data.rates[track] - data.low[track], data.high[track] - data.rates[track]], 0, None)
        for track in data.rates
    ]
    draw_grouped_bars(axes, data.rates, "{:.1%}", errors, PAGE_CHARACTERS)
    images = data.images.max(axis=1)
    name_places(axes, list(images.index), PAGE_CHARACTERS, [f"(n = {count:,})" for count in images])
    axes.set(ylabel="share of the platform's images", ylim=(0, None))
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_title("interface only, broken or rejected; whiskers: 95% Wilson intervals", loc="left", fontsize=8)
    legend_below(figure, axes, columns=len(data.rates.columns))
    return figure


def describe_filter_rates(data: FilterRates) -> list[Finding]:
    """Compare the platforms with the highest and the lowest rate, for each track."""
    return [
        finding(
            "In the track {track}, {overall:.1%} of the images have no cluster: most on {highest} ({high:.1%}), least "
            "on {lowest} ({low:.1%}).",
            track=track,
            overall=data.overall[track],
            highest=data.rates[track].idxmax(),
            high=data.rates[track].max(),
            lowest=data.rates[track].idxmin(),
            low=data.rates[track].min(),
        )
        for track in data.rates
        if data.rates[track].notna().sum() > 1
    ]


PLATFORMS_AND_FORMATS = FigureSpec(
    "01_platforms_and_formats",
    "Platforms and ad formats of the collection",
    compute_collection,
    draw_collection,
    describe_collection,
)
FILTER_RATES = FigureSpec(
    "09_filter_rates",
    "Images without a cluster, by platform and track",
    compute_filter_rates,
    draw_filter_rates,
    describe_filter_rates,
)
