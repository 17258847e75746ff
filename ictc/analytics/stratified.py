"""Estimates from a stratified sample, with intervals that hold where samples are small and nothing was seen.

Knows proportions and sizes of strata, in arrays; knows nothing of clusters or coders.

All of it is one interval: the score interval of a weighted sum of independent proportions, theta = sum of w_h p_h. It
is made of the values of theta that a score test does not reject, where the variance is that of the proportions that are
likeliest if theta is true (Miettinen and Nurminen 1985, Statistics in Medicine 4, for two; here for any number, with
any weights). For one stratum it is Wilson's. Where no error was seen in any stratum the usual interval, of the
variances that were observed (Cochran 1977, section 5.6), has no width; this one has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from ictc.analytics.intervals import CONFIDENCE, Array

STEPS = 44
RATIO_STEPS = 20
"""Of bisections; each halves the error."""
LONGEST_PULL = 30.0
"""Logarithm of the largest multiplier that is looked at; weights are about 1."""


def effective_sizes(num_drawn: npt.ArrayLike, num_all: npt.ArrayLike) -> Array:
    """Return the size of the sample with replacement that is as precise as one without: n / (1 - n / N).

    Infinite where all were drawn, 0 where nothing was (Cochran 1977, section 2.6: the finite population correction).
    The shapes broadcast.
    """
    drawn, total = (np.asarray(one, dtype=np.float64) for one in (num_drawn, num_all))
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.where(drawn >= total, np.inf, drawn / (1 - drawn / total))
    return np.where(drawn > 0, sizes, 0.0)


def score_interval(
    proportions: npt.ArrayLike, *, sizes: npt.ArrayLike, weights: npt.ArrayLike, confidence: float = CONFIDENCE
) -> tuple[Array, Array]:
    """Return the interval of sum_h w_h p_h, over the last axis.

    Args:
        proportions: observed in each stratum, in [0, 1], shape (…, H). They may be means of anything in [0, 1], whose
            variance is at most that of a proportion; then the interval is at least as wide as need be.
        sizes: effective sizes of the samples, as from `effective_sizes`, shape (…, H). Where one is 0 the stratum may
            have any proportion; what is given for it is nothing to the interval.
        weights: w_h, of either sign, shape (…, H).
    """
    shares, counts, factors = _broadcast(proportions, sizes, weights)
    low, high = (_score_end(shares, counts, factors, sign=sign, confidence=confidence) for sign in (-1, 1))
    return low, high


def _broadcast(*arrays: npt.ArrayLike) -> list[Array]:
    return list(np.broadcast_arrays(*(np.asarray(one, np.float64) for one in arrays)))


def _score_end(shares: Array, counts: Array, weights: Array, *, sign: int, confidence: float) -> Array:
    """Return the lower end of `score_interval` if `sign` is -1, the upper one if it is 1."""
    is_seen = counts > 0
    seen, unseen = np.where(is_seen, weights, 0.0), np.where(is_seen, 0.0, weights)
    spread = _divide(seen, _without_estimated(counts, seen))

    def statistic(pull: Array) -> Array:
        moved = shares - _likeliest(shares, -sign * pull[..., None] * spread)
        return np.asarray(-sign * pull * (seen * moved).sum(axis=-1))

    pull = _find_root(statistic, float(stats.norm.ppf((1 + confidence) / 2)) ** 2, shares.shape[:-1])
    known = (seen * _likeliest(shares, -sign * pull[..., None] * spread)).sum(axis=-1)
    return np.asarray(known + sign * np.maximum(sign * unseen, 0).sum(axis=-1))


def _without_estimated(counts: Array, weights: Array) -> Array:
    """Return the sizes less what goes into the likeliest proportions, n_h - 1 + v_h, with v_h its part of the variance.

    H proportions are found under one condition. For two strata alike this is the factor N / (N - 1) of Miettinen and
    Nurminen (1985); for one stratum nothing is estimated. Without it ten strata of two items have an interval of 95 %
    that holds in 88 % of all cases.
    """
    parts = _divide(weights**2, counts)
    total = parts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts - 1 + _divide(parts, total), counts)


def _divide(numerator: Array, denominator: Array) -> Array:
    """Return the ratios, 0 where nothing is divided by nothing."""
    return np.asarray(np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0))


def _likeliest(shares: Array, pull: Array) -> Array:
    """Return the likeliest proportions p where theta is another than observed: s - p = pull · p (1 - p).

    That is where the derivative of the likelihood, n_h (s_h - p_h) / (p_h (1 - p_h)), is the same multiple mu of w_h in
    every stratum (Lagrange); `pull` is mu w_h / n_h. The score statistic (theta(s) - theta(p))^2 / variance(p) is then
    mu (theta(s) - theta(p)), which rises with mu.
    """
    root = np.sqrt(np.maximum((1 + pull) ** 2 - 4 * pull * shares, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):  # of two forms, the one without a difference of equals
        solution = np.where(pull < -1, ((1 + pull) - root) / (2 * pull), 2 * shares / ((1 + pull) + root))
    return np.clip(np.where(np.isnan(solution), shares, solution), 0.0, 1.0)


def _find_root(rising: Callable[[Array], Array], wanted: float, shape: tuple[int, ...]) -> Array:
    """Return where a function of positive numbers comes to `wanted`, by bisection of the logarithm; else a huge one."""
    low, high = np.full(shape, -LONGEST_PULL), np.full(shape, LONGEST_PULL)
    for _ in range(STEPS):
        middle = (low + high) / 2
        is_above = rising(np.exp(middle)) > wanted
        low, high = np.where(is_above, low, middle), np.where(is_above, middle, high)
    return np.asarray(np.exp(high))


def ratio_interval(
    proportions: npt.ArrayLike,
    *,
    sizes: npt.ArrayLike,
    weights: npt.ArrayLike,
    is_counted: npt.ArrayLike,
    confidence: float = CONFIDENCE,
) -> tuple[Array, Array, Array]:
    """Return which part of sum_h w_h p_h lies in some of the strata, with its interval; over the last axis.

    Those values r are in it for which the score test does not reject sum_h w_h p_h (counted_h - r) = 0, as Fieller
    (1954, J. Royal Statistical Society B 16) does it for normal means. NaN and [0, 1] where the sum is 0.

    Args:
        proportions, sizes, weights: as of `score_interval`; the weights are positive.
        is_counted: of each stratum whether it is in the numerator, shape (…, H).

    Returns:
        The ratio, and the lower and the upper end of its interval.
    """
    shares, counts, factors, counted = _broadcast(proportions, sizes, weights, is_counted)
    parts = factors * shares
    total = parts.sum(axis=-1)
    ratio = np.where(total > 0, (parts * counted).sum(axis=-1) / np.where(total > 0, total, 1.0), np.nan)

    def is_within(sign: int) -> Callable[[Array], npt.NDArray[np.bool_]]:
        def reaches_zero(r: Array) -> npt.NDArray[np.bool_]:
            contrast = factors * (counted - r[..., None])
            return sign * _score_end(shares, counts, contrast, sign=sign, confidence=confidence) >= 0

        return reaches_zero

    start = np.where(np.isnan(ratio), 0.5, ratio)
    low = _bisect(is_within(-1), inside=start, outside=np.zeros_like(start))
    high = _bisect(is_within(1), inside=start, outside=np.ones_like(start))
    return ratio, np.where(np.isnan(ratio), 0.0, low), np.where(np.isnan(ratio), 1.0, high)


def _bisect(holds: Callable[[Array], npt.NDArray[np.bool_]], *, inside: Array, outside: Array) -> Array:
    """Return how far from `inside` towards `outside` a condition holds."""
    reached, beyond = inside, outside
    for _ in range(RATIO_STEPS):
        middle = (reached + beyond) / 2
        good = holds(middle)
        reached, beyond = np.where(good, middle, reached), np.where(good, beyond, middle)
    return np.asarray(np.where(holds(outside), outside, reached))
