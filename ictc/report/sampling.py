"""Seeded samples that leave no cluster out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

MIN_PER_CLUSTER = 24
"""Small clusters get so many members before the rest is shared out by size."""


def sample_positions(clusters: pd.Series, *, limit: int, seed: int) -> npt.NDArray[np.intp]:
    """Return the sorted positions of at most `limit` rows, `MIN_PER_CLUSTER` of each cluster where there is room.

    Beyond that minimum clusters are represented by their share.

    Args:
        clusters: of each row, as a categorical.
    """
    if len(clusters) <= limit:
        return np.arange(len(clusters))
    sizes = clusters.value_counts()
    floor = min(MIN_PER_CLUSTER, limit // max(1, len(sizes)))
    quotas = floor + (limit - floor * len(sizes)) * sizes / len(clusters)
    return np.flatnonzero(random_ranks(clusters, seed) < clusters.map(quotas.astype(int)).to_numpy(dtype=int))


def random_ranks(clusters: pd.Series, seed: int) -> npt.NDArray[np.intp]:
    """Return the place of each row, from 0, in a shuffled order of its cluster's members."""
    keys = pd.Series(np.random.default_rng(seed).permutation(len(clusters)))
    ranks: npt.NDArray[np.intp] = keys.groupby(clusters.cat.codes.to_numpy()).rank().to_numpy(dtype=np.intp) - 1
    return ranks
