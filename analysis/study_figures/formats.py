"""Figure of the ad formats: which clusters of the cultural track they show (06)."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from ictc.analytics.association import ChiSquare, chi_square, contingency_table
from ictc.analytics.figures import wrap_name
from study_figures.charts import (
    LEFT_TO_RIGHT,
    PAGE_CHARACTERS,
    PERCENT,
    draw_table,
    format_title,
    new_figure,
    percent,
    share_of_rows,
)
from study_figures.finding import FigureSpec, Finding, finding
from study_figures.platforms import describe_test
from study_figures.reading import Study, Unavailable

TRACK = "cultural"
FEWEST_ADS = 100
"""Formats need more ads than this to be shown."""


@dataclass(frozen=True, eq=False)
class FormatClusters:
    """Ads of the cultural track by cluster (rows) and format (columns), formats by falling number of ads.

    Attributes:
        num_left_out: formats with too few ads.
        shares: of each format.
    """

    num_clusters: int
    num_left_out: int
    counts: pd.DataFrame
    shares: pd.DataFrame
    test: ChiSquare


def compute_formats(study: Study) -> FormatClusters:
    """Count the ads of the frequent formats in each cluster, at the larger K if there are two."""
    run = study.run_of(TRACK, study.ks[-1])
    table = contingency_table(run.rows["cluster"], study.format_of(run.rows))
    table = table.loc[:, table.any()]
    totals = table.sum().sort_values(ascending=False, kind="stable")
    shown = table[totals[totals > FEWEST_ADS].index]
    if shown.shape[1] < 2:
        raise Unavailable(f"fewer than two ad formats have over {FEWEST_ADS} ads")
    left_out = table.shape[1] - shown.shape[1]
    return FormatClusters(run.num_clusters, left_out, shown, share_of_rows(shown.T).T, chi_square(shown))


def draw_formats(data: FormatClusters) -> Figure:
    """Draw a heat map: percent of the format's ads."""
    title = f"Cultural clusters by ad format, K={data.num_clusters}, percent of the format's ads"
    figure, ((axes,),) = new_figure(title, 2.0 + 0.32 * len(data.shares))
    names = {
        name: f"{LEFT_TO_RIGHT}{wrap_name(format_title(name), width=18, most_lines=1)}{LEFT_TO_RIGHT} ({count:,})"
        for name, count in data.counts.sum().items()
    }
    shares = data.shares.rename(columns=names)
    image = draw_table(
        axes, shares, percent(shares), limits=(0.0, float(shares.max(axis=None))), row_width=30, room=PAGE_CHARACTERS
    )
    axes.set_title(f"{describe_test(data.test)}\nformats with over {FEWEST_ADS} ads", loc="left", fontsize=8)
    figure.colorbar(image, ax=axes, label="share of the format's ads", shrink=0.7, format=PERCENT)
    return figure


def describe_formats(data: FormatClusters) -> list[Finding]:
    """Give the strength of the association, and the cell in which a format is most concentrated."""
    cluster, ad_format = data.shares.stack().idxmax()
    return [
        finding(
            "{formats} ad formats have over {fewest} ads ({left_out} have not); format and cluster of the cultural "
            "track at K={k}: chi-square {statistic:,.0f}, Cramér's V {v:.3f}.",
            formats=data.counts.shape[1],
            fewest=FEWEST_ADS,
            left_out=data.num_left_out,
            k=data.num_clusters,
            statistic=data.test.statistic,
            v=data.test.cramers_v,
        ),
        finding(
            "The largest share of a format in one cluster is that of {format} in {cluster}: {share:.1%}.",
            format=format_title(ad_format),
            cluster=cluster,
            share=data.shares.at[cluster, ad_format],
        ),
    ]


FORMATS = FigureSpec(
    "06_format_clusters", "Cultural clusters by ad format", compute_formats, draw_formats, describe_formats
)
