"""Vectors on a plane, by UMAP."""

from __future__ import annotations

import warnings

import numpy as np

from ictc.report.embedding import Array

MIN_POINTS = 12
"""Fewer have no neighborhoods worth a map."""

NUM_NEIGHBORS = 15


def project(vectors: Array, seed: int) -> Array | None:
    """Return a place in the unit square for each of N unit vectors, shape (N, 2), near ones near each other.

    None for fewer than `MIN_POINTS`. Method: UMAP (McInnes et al., 2018), cosine distance.
    """
    if len(vectors) < MIN_POINTS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # about an optional part that needs TensorFlow
        from umap import UMAP

    # Distinct places even for equal texts, which have no distances that UMAP could keep.
    jitter = np.random.default_rng(seed).normal(scale=1e-4, size=vectors.shape).astype(np.float32)
    reducer = UMAP(
        n_neighbors=min(NUM_NEIGHBORS, len(vectors) - 1), metric="cosine", init="pca", random_state=seed, n_jobs=1
    )
    places = reducer.fit_transform(vectors + jitter)
    low, high = places.min(axis=0), places.max(axis=0)
    scaled: Array = (places - low) / np.maximum(high - low, np.float32(1e-9))
    return scaled
