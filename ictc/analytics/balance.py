"""How evenly a collection is spread over its clusters. Knows cluster sizes only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

SMALLEST_EFFECTIVE_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What the functions of this module say about one clustering."""

    num_clusters: int
    normalized_entropy: float
    effective_clusters: int
    coefficient_of_variation: float
    largest_share: float
    gini: float


def measure_balance(sizes: npt.ArrayLike) -> Balance:
    """Return every measure of balance.

    Args:
        sizes: number of items in each cluster, shape (K,), empty clusters included.
    """
    counts = np.asarray(sizes)
    return Balance(
        num_clusters=len(counts),
        normalized_entropy=normalized_entropy(counts),
        effective_clusters=effective_clusters(counts),
        coefficient_of_variation=coefficient_of_variation(counts),
        largest_share=largest_share(counts),
        gini=gini(counts),
    )


def normalized_entropy(sizes: npt.ArrayLike) -> float:
    """Return the entropy of the shares over its maximum ln K: 1 for equal clusters, 0 if one holds everything.

    Pielou's evenness J' = H / ln K (Pielou 1966, J. Theoretical Biology 13). NaN for a single cluster.
    """
    counts = np.asarray(sizes)
    return float(stats.entropy(counts) / math.log(len(counts))) if len(counts) > 1 else math.nan


def effective_clusters(sizes: npt.ArrayLike, smallest_share: float = SMALLEST_EFFECTIVE_SHARE) -> int:
    """Return how many clusters hold at least `smallest_share` of the items."""
    counts = np.asarray(sizes)
    return int((counts >= smallest_share * counts.sum()).sum())


def coefficient_of_variation(sizes: npt.ArrayLike) -> float:
    """Return the population standard deviation of the sizes (divisor K) over their mean (Pearson 1896)."""
    return float(stats.variation(np.asarray(sizes)))


def largest_share(sizes: npt.ArrayLike) -> float:
    """Return the share of the items that the largest cluster holds (Berger and Parker 1970, Science 168)."""
    counts = np.asarray(sizes)
    return float(counts.max() / counts.sum())


def gini(sizes: npt.ArrayLike) -> float:
    """Return the Gini coefficient of the sizes: 0 for equal clusters, (K - 1) / K if one holds everything.

    G = Σ (2i - K - 1) x_i / (K Σ x) over the sizes x_i in ascending order (Dixon et al. 1987, Ecology 68), without
    their correction for small K.
    """
    counts = np.sort(np.asarray(sizes, dtype=np.float64))
    ranks = np.arange(1, len(counts) + 1)
    return float(((2 * ranks - len(counts) - 1) * counts).sum() / (len(counts) * counts.sum()))
