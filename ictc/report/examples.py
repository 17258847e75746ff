"""Which members show a cluster best, and which show where it ends.

Knows vectors and cluster numbers; knows nothing of texts or images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from ictc.report.embedding import Array

MAX_PER_KIND = 4

EXAMPLE_KINDS = {
    "central": "captions nearest to the cluster's center",
    "typical": "captions at the median distance from the center",
    "borderline": "captions nearest to another cluster's center, compared with their own",
}


@dataclass(frozen=True, kw_only=True)
class Proximity:
    """How near each of N captions is to its own cluster and to the next one.

    A center is the mean of the unit vectors of a cluster's captions, scaled to length one; a similarity is the cosine
    with it.

    Attributes:
        own: similarity to the center of its own cluster, shape (N,).
        rival: code of the nearest other cluster, shape (N,); -1 where there is no other.
        margin: own similarity less that to the rival, shape (N,); negative where the rival is nearer.
    """

    own: Array
    rival: npt.NDArray[np.intp]
    margin: Array


def measure_proximity(vectors: Array, codes: npt.NDArray[np.intp]) -> Proximity:
    """Compare each vector with the centers of all clusters.

    Args:
        vectors: unit vectors, shape (N, d).
        codes: number of each vector's cluster, from 0, shape (N,).
    """
    present, own_column = np.unique(codes, return_inverse=True)
    centers = np.stack([vectors[codes == code].mean(axis=0) for code in present])
    centers /= np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), np.float32(1e-9))
    similarities = vectors @ centers.T
    rows = np.arange(len(vectors))
    own = similarities[rows, own_column]
    if len(present) == 1:
        return Proximity(own=own, rival=np.full(len(vectors), -1), margin=own)
    similarities[rows, own_column] = -np.inf
    nearest = similarities.argmax(axis=1)
    return Proximity(own=own, rival=present[nearest], margin=own - similarities[rows, nearest])


def pick_examples(members: npt.NDArray[np.intp], proximity: Proximity, texts: Sequence[str]) -> dict[str, list[int]]:
    """Return which of a cluster's `members` stand for each of `EXAMPLE_KINDS`, no one and no text twice.

    Args:
        members: positions of the cluster's captions in `proximity` and `texts`.
    """
    if not len(members):
        return {kind: [] for kind in EXAMPLE_KINDS}
    own, margin = proximity.own[members], proximity.margin[members]
    orders = {
        "central": members[np.argsort(-own, kind="stable")],
        "borderline": members[np.argsort(margin, kind="stable")],
        "typical": members[np.argsort(np.abs(own - np.median(own)), kind="stable")],
    }
    count = min(MAX_PER_KIND, ceil(len(members) / len(EXAMPLE_KINDS)))
    seen: set[str] = set()
    picked = {kind: list(_pick_new(order, texts, count, seen)) for kind, order in orders.items()}
    return {kind: picked[kind] for kind in EXAMPLE_KINDS}


def _pick_new(order: npt.NDArray[np.intp], texts: Sequence[str], count: int, seen: set[str]) -> Iterator[int]:
    for position in order.tolist():
        if count and texts[position] not in seen:
            seen.add(texts[position])
            count -= 1
            yield position
