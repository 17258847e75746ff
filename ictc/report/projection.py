"""Vectors on a plane, by t-SNE."""

from __future__ import annotations

import numpy as np

from ictc.report.embedding import Array

METHOD = "t-SNE"

MIN_POINTS = 12
"""Fewer have no neighborhoods worth a map."""

PERPLEXITY = 30
"""About how many neighbors a place is chosen by."""


def project(vectors: Array, seed: int) -> Array | None:
    """Return a place in the unit square for each of N unit vectors, shape (N, 2), near ones near each other.

    None for fewer than `MIN_POINTS`. Method: t-SNE (van der Maaten and Hinton, 2008), started from the principal
    components (Kobak and Berens, 2019), cosine distance.
    """
    if len(vectors) < MIN_POINTS:
        return None
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # Distinct places even for equal texts: were all of them equal, there would be no components to start from.
    jitter = np.random.default_rng(seed).normal(scale=1e-4, size=vectors.shape).astype(np.float32)
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    reducer = TSNE(perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
    with threadpool_limits(1):  # sums over cores come in another order on another machine
        places = reducer.fit_transform(vectors + jitter)
    low, high = places.min(axis=0), places.max(axis=0)
    scaled: Array = (places - low) / np.maximum(high - low, np.float32(1e-9))
    return scaled
