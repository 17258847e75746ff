"""Proposals from vectors: the same clustering of bags of the images, so that what is chance differs between them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ictc.errors import GroupingError
from ictc.grouping.base import Floats, Integers, order_labels

EXTRA_DIMENSIONS = 3
"""Principal components kept beyond K: enough to hold K directions, few enough to drop what labels say by accident."""
MAX_DIMENSIONS = 100
"""K-means of any K keeps its meaning in so few: they need to grow with log K only (Makarychev et al. 2019, STOC)."""
ROWS_AT_ONCE = 8192
BAG_PER_GROUP, MIN_BAG = 200, 20_000
"""Images in a bag at most, where there are more: fewer than all make a bag too (Bickel, Götze and van Zwet 1997)."""
MAX_PROPOSALS, MIN_PROPOSALS, MAX_CLUSTERS = 200, 10, 5_000
"""How many proposals there are, unless told: with more than so many clusters in all, fewer, but some."""

Vectors = npt.NDArray[np.floating[Any]]


def propose_groupings(
    vectors: Vectors,
    *,
    labels: Sequence[str],
    weights: npt.ArrayLike,
    num_groups: int,
    seed: int,
    num_proposals: int | None = None,
) -> npt.NDArray[np.int64]:
    """Return proposals of where labels belong, shape (R, N), for `ictc.grouping.consensus.find_consensus`.

    Each is k-means on weighted principal components of a bag: as many images as there are, drawn with replacement
    (bagging: Dudoit and Fridlyand 2003, Bioinformatics 19). Few components and unit length make it spectral clustering
    on cosine similarity (Ding and He 2004; Ng, Jordan and Weiss 2001), which a label far from all others can't upset as
    it upsets plain k-means. The order of labels changes no byte.

    Args:
        vectors: one for each label, such that a small angle means alike, shape (N, D).
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).
        num_groups: K; fewer where there are fewer distinct vectors.
        seed: equal seeds give equal proposals.
        num_proposals: R; enough for a consensus unless told.

    Raises:
        GroupingError: labels, counts or vectors are wrong.
    """
    known = order_labels(labels, weights)
    if vectors.ndim != 2 or len(vectors) != len(labels) or not np.isfinite(vectors).all():
        raise GroupingError(f"each of the {len(labels):,} labels needs one vector of finite numbers")
    if num_proposals is None:
        num_proposals = min(max(MAX_CLUSTERS // max(num_groups, 1), MIN_PROPOSALS), MAX_PROPOSALS)
    if num_groups < 1 or num_proposals < 1:
        raise GroupingError(f"{num_proposals} proposals of {num_groups} groups can't be made; ask for 1 or more")
    import sklearn.cluster  # noqa: F401  before the limit, which holds for the libraries that are loaded
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums in one order
        num_dimensions = min(num_groups + EXTRA_DIMENSIONS, MAX_DIMENSIONS)
        directions = find_directions(vectors[known.order], weights=known.weights, num_dimensions=num_dimensions)
        rng = np.random.default_rng(seed)
        proposals = [
            _cluster_bag(directions, weights=known.weights, num_groups=num_groups, rng=rng)
            for _ in range(num_proposals)
        ]
    return known.to_given(np.stack(proposals))


def find_directions(vectors: Vectors, *, weights: Floats, num_dimensions: int) -> Floats:
    """Return the vectors on their first principal components, each of length 1, shape (N, at most `num_dimensions`)."""
    center = np.average(vectors, axis=0, weights=weights).astype(np.float64)
    scatter = np.zeros((vectors.shape[1],) * 2)
    for rows in _iter_slices(len(vectors)):
        part = vectors[rows] - center
        scatter += part.T @ (part * weights[rows, None])
    axes = np.linalg.eigh(scatter)[1][:, ::-1][:, :num_dimensions]
    projected = np.concatenate([(vectors[rows] - center) @ axes for rows in _iter_slices(len(vectors))])
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    return np.asarray(projected / np.maximum(lengths, np.finfo(np.float64).tiny))


def _iter_slices(num_rows: int) -> list[slice]:
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, num_rows, ROWS_AT_ONCE)]


def _cluster_bag(directions: Floats, *, weights: Floats, num_groups: int, rng: np.random.Generator) -> Integers:
    """Return the cluster of each label, shape (N,): by the nearest center of the bag's clusters."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    size = max(min(round(weights.sum()), max(MIN_BAG, BAG_PER_GROUP * num_groups)), 1)
    times = rng.multinomial(size, weights / weights.sum())
    drawn = np.flatnonzero(times)
    model = KMeans(min(num_groups, len(drawn)), n_init=1, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # labels of one meaning make fewer clusters
        model.fit(directions[drawn], sample_weight=times[drawn].astype(np.float64))
    return np.asarray(model.predict(directions))
