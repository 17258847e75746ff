"""How far clusters survive in other runs over the same items. Knows counts only, so it is linear in the items."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt
import pandas as pd

DISSOLUTION_POINT = 0.5
"""A cluster whose best Jaccard similarity is at most this has dissolved (Hennig 2008, J. Multivariate Analysis 99)."""


def jaccard(table: pd.DataFrame) -> pd.DataFrame:
    """Return the Jaccard similarity |A ∩ B| / |A ∪ B| of each row cluster and each column cluster, shape (R, C)."""
    return pd.DataFrame(_jaccard(table.to_numpy()), index=table.index, columns=table.columns)


def _jaccard(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the similarities of tables of shape (…, R, C)."""
    union = counts.sum(axis=-1, keepdims=True) + counts.sum(axis=-2, keepdims=True) - counts
    return np.asarray(counts / np.maximum(union, 1))


def bootstrap_jaccard(
    table: pd.DataFrame, *, num_resamples: int = 500, confidence: float = 0.95, seed: int = 42
) -> pd.DataFrame:
    """Return how well each row cluster is found again among the column clusters, with a bootstrap interval.

    The clusterwise Jaccard similarity (Hennig 2007, Computational Statistics & Data Analysis 52). Resampled are the
    items of two given clusterings, not the runs that made them: the interval says how far the similarity depends on
    which items were collected. Resampling items with replacement is drawing the table from a multinomial distribution.

    Returns:
        A row for each row cluster: `best`, the most similar column cluster; `jaccard`, the similarity to it; `low` and
        `high`, the percentile interval of that (Efron and Tibshirani 1993, chapter 13).
    """
    counts, observed = table.to_numpy(), jaccard(table).to_numpy()
    rows, best = np.arange(len(table)), observed.argmax(axis=1)
    total = counts.sum()
    drawn = np.random.default_rng(seed).multinomial(total, counts.ravel() / total, size=num_resamples)
    similarities = _jaccard(drawn.reshape(num_resamples, *counts.shape))[:, rows, best]
    low, high = np.quantile(similarities, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    columns = {"best": table.columns[best], "jaccard": observed[rows, best], "low": low, "high": high}
    return pd.DataFrame(columns, index=table.index)


def coassignment_counts(groups: pd.DataFrame, sizes: npt.NDArray[np.int64]) -> list[int]:
    """Return how many pairs of items share a cluster in exactly m of the runs, for m = 0, …, R.

    Counted by inclusion and exclusion over the 2^R sets of runs, never pair by pair. The m-th entry over the number of
    pairs is the share of 1s, m/R and so on in the co-association matrix (Fred and Jain 2005).

    Args:
        groups: the cluster of each group of items in each run, shape (T, R).
        sizes: number of items in each group, shape (T,).
    """
    counts = range(groups.shape[1] + 1)
    shared = [sum(_pairs_within(groups, sizes, runs) for runs in combinations(groups.columns, m)) for m in counts]
    return [sum((-1) ** (j - m) * comb(j, m) * shared[j] for j in counts[m:]) for m in counts]


def _pairs_within(groups: pd.DataFrame, sizes: npt.NDArray[np.int64], runs: Sequence[str]) -> int:
    """Return how many pairs of items share a cluster in all of `runs`."""
    if not runs:
        return comb(int(sizes.sum()), 2)
    members = pd.Series(sizes).groupby([groups[run].to_numpy() for run in runs]).sum()
    return sum(comb(int(size), 2) for size in members)


def proportion_ambiguous(pair_counts: Sequence[int], *, low: float = 0.1, high: float = 0.9) -> float:
    """Return the PAC: the share of pairs that are together in more than `low` and less than `high` of the runs.

    0 if all runs agree on every pair (Șenbabaoğlu et al. 2014, Scientific Reports 4). Runs with different K disagree on
    pairs by design, so compare it only between sets of runs with the same K.

    Args:
        pair_counts: as from `coassignment_counts`.
    """
    num_runs = len(pair_counts) - 1
    ambiguous = sum(count for m, count in enumerate(pair_counts) if low < m / num_runs < high)
    total = sum(pair_counts)
    return ambiguous / total if total else 0.0
