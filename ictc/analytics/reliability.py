"""How far coders agree beyond chance: Krippendorff's alpha and Cohen's kappa, with intervals.

Knows codes in arrays, rows for units and columns for coders; knows nothing of images or clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ictc.analytics.intervals import CONFIDENCE, Array, wilson_interval

Codes = npt.NDArray[np.intp]

NUM_RESAMPLES = 1000
MISSING = -1


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """An agreement beyond chance with its interval, 1 for all and 0 for chance.

    Attributes:
        value: NaN where it can't be told: no unit has two codes, or all have one and the same.
        num_units: those with two codes at least.
        observed: share of the pairs of codes that are the same.
    """

    value: float
    low: float
    high: float
    num_units: int
    observed: float


def krippendorff_alpha(codes: Codes, *, strata: Codes | None = None, seed: int = 0) -> Agreement:
    """Return alpha for nominal data (Krippendorff 2004, "Content Analysis", chapter 11): 1 - D_o / D_e.

    Any number of coders, any codes missing; units with fewer than two codes tell nothing.

    Args:
        codes: from 0, `MISSING` where a coder has none, shape (units, coders).
        strata: that the units were drawn in, shape (units,); resampled apart. None for one.
    """
    counts = _count_codes(codes)
    counts, strata = _keep_pairable(counts, strata)
    if not len(counts):
        return Agreement(value=np.nan, low=np.nan, high=np.nan, num_units=0, observed=np.nan)
    weights = np.ones((1, len(counts)))
    observed, expected = _alpha_disagreements(counts, weights)
    resampled = _alpha_disagreements(counts, _resample(strata, seed=seed))
    return _chance_corrected(
        observed=observed[0], expected=expected[0], resampled=resampled, num_units=len(counts), size=len(counts)
    )


def cohen_kappa(
    first: Codes, second: Codes, *, strata: Codes | None = None, weights: Array | None = None, seed: int = 0
) -> Agreement:
    """Return kappa of two coders (Cohen 1960, Educational and Psychological Measurement 20): 1 - D_o / D_e.

    Args:
        first, second: codes from 0 of the same units, `MISSING` where there is none, shape (units,).
        strata: that the units were drawn in, shape (units,); resampled apart.
        weights: of the units, such as how many others each stands for; equal ones if None.
    """
    known = (first >= 0) & (second >= 0)
    first, second = first[known], second[known]
    strata = np.zeros(len(first), np.intp) if strata is None else strata[known]
    weights = np.ones(len(first)) if weights is None else weights[known]
    if not len(first):
        return Agreement(value=np.nan, low=np.nan, high=np.nan, num_units=0, observed=np.nan)
    num_codes = int(max(first.max(), second.max())) + 1
    pair = np.eye(num_codes * num_codes)[first * num_codes + second]

    def disagreements(factors: Array) -> tuple[Array, Array]:
        tables = (factors * weights) @ pair
        tables = (tables / tables.sum(axis=1, keepdims=True)).reshape(-1, num_codes, num_codes)
        chance = (tables.sum(axis=2) * tables.sum(axis=1)).sum(axis=1)
        return 1 - np.trace(tables, axis1=1, axis2=2), 1 - chance

    observed, expected = disagreements(np.ones((1, len(first))))
    size = weights.sum() ** 2 / (weights**2).sum()
    return _chance_corrected(
        observed=observed[0],
        expected=expected[0],
        resampled=disagreements(_resample(strata, seed=seed)),
        num_units=len(first),
        size=size,
    )


def _count_codes(codes: Codes) -> Array:
    """Return how many coders gave each unit each code, shape (units, codes)."""
    num_codes = int(codes.max(initial=0)) + 1
    return np.asarray((codes[:, :, None] == np.arange(num_codes)).sum(axis=1), np.float64)


def _keep_pairable(counts: Array, strata: Codes | None) -> tuple[Array, Codes]:
    pairable = counts.sum(axis=1) >= 2
    strata = np.zeros(len(counts), np.intp) if strata is None else strata
    return counts[pairable], strata[pairable]


def _alpha_disagreements(counts: Array, factors: Array) -> tuple[Array, Array]:
    """Return D_o and D_e where each unit counts `factors` times, shape (resamples,) each.

    Krippendorff's coincidence matrix: a unit with m codes gives its pairs the weight 1 / (m - 1).
    """
    sizes = counts.sum(axis=1)
    differing = (sizes**2 - (counts**2).sum(axis=1)) / (sizes - 1)
    margins = factors @ counts
    total = margins.sum(axis=1)
    observed = factors @ differing / total
    expected = (total**2 - (margins**2).sum(axis=1)) / (total * np.maximum(total - 1, 1))
    return observed, expected


def _resample(strata: Codes, *, seed: int) -> Array:
    """Return how often each unit counts in each resample, shape (resamples, units).

    One unit fewer than there are is drawn of each stratum, and counts that much more (Rao and Wu 1988, J. American
    Statistical Association 83): as many as there are would make variances too small in strata of few units.
    """
    rng = np.random.default_rng(seed)
    factors = np.ones((NUM_RESAMPLES, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        if (size := len(members)) > 1:
            drawn = rng.multinomial(size - 1, np.full(size, 1 / size), size=NUM_RESAMPLES)
            factors[:, members] = drawn * (size / (size - 1))
    return factors


def _chance_corrected(
    *, observed: float, expected: float, resampled: tuple[Array, Array], num_units: int, size: float
) -> Agreement:
    """Return 1 - observed / expected disagreement with its interval.

    The interval is the bootstrap's of percentiles, made wide enough to hold what Wilson's interval of the observed
    disagreement allows: where coders never differ all resamples are the same.

    Args:
        size: of a simple random sample that is as precise.
    """
    if expected <= 0:
        return Agreement(value=np.nan, low=np.nan, high=np.nan, num_units=num_units, observed=float(1 - observed))
    values = 1 - resampled[0][resampled[1] > 0] / resampled[1][resampled[1] > 0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (np.nan, np.nan)
    fewest, most = wilson_interval(observed * size, size)
    return Agreement(
        value=float(1 - observed / expected),
        low=float(np.nanmin([low, 1 - most / expected])),
        high=float(min(np.nanmax([high, 1 - fewest / expected]), 1.0)),
        num_units=num_units,
        observed=float(1 - observed),
    )
