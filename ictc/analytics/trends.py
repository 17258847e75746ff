"""How the clusters' shares shift over time and between advertisers, with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ictc.analytics.association import ChiSquare, chi_square, contingency_table
from ictc.analytics.brands import unify_brands
from ictc.analytics.intervals import newcombe_interval, wilson_interval
from ictc.errors import InputError

By = Literal["day", "week", "month", "brand"]
FORMATS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
"""Weeks are those of ISO 8601: they begin on Monday, and belong to the year that most of their days lie in."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Trends:
    """Shares of the clusters by period or brand.

    Attributes:
        counts: images in each group (rows) and cluster (columns); periods in order of time, brands by size.
        shares: a row a group and cluster: `count` of `total`, `share` with its 95 % Wilson interval, and `shift` with
            its 95 % Newcombe interval: over time against the period before, for a brand against all other ads.
            `clear` says that the interval of the shift leaves out 0; it holds for each shift on its own.
        test: of whether groups and clusters are independent.
        num_unknown: images without a time or brand.
        num_small: images of groups with fewer than the least number of ads; they count as "other ads" only.
    """

    by: By
    counts: pd.DataFrame
    shares: pd.DataFrame
    test: ChiSquare
    num_unknown: int
    num_small: int


def measure_trends(rows: pd.DataFrame, by: By, min_ads: int = 1) -> Trends:
    """Return the clusters' shares by period or brand.

    Args:
        rows: with the columns "cluster" and "timestamp" or, for brands, "brand".
        min_ads: leave out periods and brands with fewer ads.

    Raises:
        InputError: no image has a time or brand, or none is frequent enough.
    """
    groups = group_images(rows, by)
    if groups.isna().all():
        source = "brand" if by == "brand" else "timestamp"
        raise InputError(f"no image with a cluster has a {source}; nothing can be told by {by}")
    everything = contingency_table(groups, rows["cluster"])
    totals = everything.sum(axis=1)
    counts = everything[totals >= min_ads]
    if counts.empty:
        raise InputError(f"no {by} has {min_ads:,} ads, the largest {totals.max():,}; lower --min_ads")
    if by == "brand":
        counts = counts.loc[totals[counts.index].sort_values(ascending=False, kind="stable").index]
        base = everything.sum() - counts
    else:
        base = counts.shift()
    return Trends(
        by=by,
        counts=counts,
        shares=_shares(counts, base=base, by=by),
        test=chi_square(counts),
        num_unknown=int(groups.isna().sum()),
        num_small=int(totals.sum() - counts.to_numpy().sum()),
    )


def group_images(rows: pd.DataFrame, by: By) -> pd.Series:
    """Return the period or brand of each image; NaN where there is none."""
    return unify_brands(rows["brand"]) if by == "brand" else period_of(rows["timestamp"], by)


def period_of(timestamps: pd.Series, by: Literal["day", "week", "month"]) -> pd.Series:
    """Return the period of each ISO 8601 time in UTC, such as "2025-W11"; NaN where there is none."""
    times = pd.to_datetime(timestamps, utc=True, format="ISO8601", errors="coerce")
    days = times.dt.normalize()
    distinct = days.dropna().drop_duplicates()
    return days.map(dict(zip(distinct, distinct.dt.strftime(FORMATS[by]), strict=True)))


def _shares(counts: pd.DataFrame, *, base: pd.DataFrame, by: By) -> pd.DataFrame:
    """Return the long table of `Trends.shares`; `base` holds the counts that each group is compared with."""
    count, total = counts.to_numpy(), counts.sum(axis=1).to_numpy()[:, None]
    base_count = base.fillna(0).to_numpy()
    low, high = wilson_interval(count, total)
    shift, shift_low, shift_high = newcombe_interval(
        count, total, base_counts=base_count, base_totals=base_count.sum(axis=1, keepdims=True)
    )
    values = {
        "count": count,
        "total": np.broadcast_to(total, count.shape),
        "share": count / total,
        "low": low,
        "high": high,
        "shift": shift,
        "shift_low": shift_low,
        "shift_high": shift_high,
        "clear": (shift_low > 0) | (shift_high < 0),
    }
    keys = {by: np.repeat(counts.index.astype(str), count.shape[1]), "cluster": list(counts.columns) * len(counts)}
    return pd.DataFrame({**keys, **{name: value.ravel() for name, value in values.items()}})
