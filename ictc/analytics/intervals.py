"""Confidence intervals of shares and of their differences, for whole tables at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95


def wilson_interval(
    counts: npt.ArrayLike, totals: npt.ArrayLike, confidence: float = CONFIDENCE
) -> tuple[Array, Array]:
    """Return the score interval of each share counts / totals (Wilson 1927, J. American Statistical Association 22).

    Without continuity correction, in [0, 1]; NaN where a total is 0. The shapes broadcast.
    """
    n = np.where(np.asarray(totals) > 0, totals, np.nan).astype(np.float64)
    share = np.asarray(counts) / n
    z = stats.norm.ppf((1 + confidence) / 2)
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # The interval holds the share; at 0 and 1 rounding can put an end a hair on the wrong side of it.
    return np.clip(center - half, 0.0, share), np.clip(center + half, share, 1.0)


def newcombe_interval(
    counts: npt.ArrayLike,
    totals: npt.ArrayLike,
    *,
    base_counts: npt.ArrayLike,
    base_totals: npt.ArrayLike,
    confidence: float = CONFIDENCE,
) -> tuple[Array, Array, Array]:
    """Return the difference of two independent shares with its hybrid score interval.

    Method 10 of Newcombe (1998, Statistics in Medicine 17), made of Wilson intervals. NaN where a total is 0.

    Returns:
        counts / totals - base_counts / base_totals, and the lower and upper end of its interval.
    """
    (low, high), share = wilson_interval(counts, totals, confidence), _share(counts, totals)
    (base_low, base_high), base = (
        wilson_interval(base_counts, base_totals, confidence),
        _share(base_counts, base_totals),
    )
    difference = share - base
    lower = difference - np.hypot(share - low, base_high - base)
    upper = difference + np.hypot(high - share, base - base_low)
    return difference, lower, upper


def _share(counts: npt.ArrayLike, totals: npt.ArrayLike) -> Array:
    return np.asarray(np.asarray(counts) / np.where(np.asarray(totals) > 0, totals, np.nan))
