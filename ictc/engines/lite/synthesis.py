"""Step 2b: labels with counts become K named clusters. Knows labels and embeddings, no images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ictc.engines.lite.embedder import Array, Embedder

Weights = npt.NDArray[np.float64]
Indices = npt.NDArray[np.integer[Any]]

NUM_PROPOSALS = 50
SEED = 0
LABEL_JOINT = " and "
JOINTS = frozenset((LABEL_JOINT.strip(), "&"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelGroup:
    """Labels that belong together, from the most to the least typical, and how many images have each."""

    labels: tuple[str, ...]
    counts: tuple[int, ...]


def group_labels(
    labels: Sequence[str], *, counts: Sequence[int], num_groups: int, embedder: Embedder
) -> list[LabelGroup]:
    """Group labels by meaning into `num_groups` groups, largest first.

    Returns:
        Fewer groups if there are fewer labels of distinct meaning.
    """
    from ictc.grouping.consensus import find_consensus
    from ictc.grouping.vectors import propose_groupings

    counted = sorted(zip(labels, counts, strict=True))  # of equally typical labels one is always first
    labels, counts = [label for label, _ in counted], [count for _, count in counted]
    vectors, alike = embed_labels(labels, embedder), pairs_of_equal_words(labels)
    num_groups = min(num_groups, len(labels) - len(alike))
    proposals = propose_groupings(
        vectors, labels=labels, weights=counts, num_groups=num_groups, num_proposals=NUM_PROPOSALS, seed=SEED
    )
    grouping = find_consensus(proposals, labels=labels, weights=counts, num_groups=num_groups, together=alike)
    groups = []
    for number in range(num_groups):
        members = np.flatnonzero(grouping.members == number)
        typical = members[by_typicality(vectors[members], np.array(counts, np.float64)[members])]
        groups.append(LabelGroup(labels=tuple(labels[i] for i in typical), counts=tuple(counts[i] for i in typical)))
    return groups


def pairs_of_equal_words(labels: Sequence[str]) -> list[tuple[int, int]]:
    """Return each label that has the words of an earlier one, with that one, as indices.

    >>> pairs_of_equal_words(["cats and dogs", "birds", "dogs and cats"])
    [(0, 2)]
    """
    first: dict[frozenset[str], int] = {}
    for index, label in enumerate(labels):
        first.setdefault(frozenset(words_of(label)), index)
    return [(first[words], i) for i, label in enumerate(labels) if first[words := frozenset(words_of(label))] != i]


def embed_labels(labels: Sequence[str], embedder: Embedder) -> Array:
    """Return unit vectors of labels, shape (N, 384), each the mean of its words' embeddings.

    As a whole, two labels would seem alike for being built alike.
    """
    means = np.stack([embedder.embed(words_of(label)).mean(axis=0) for label in labels])
    vectors: Array = means / np.linalg.norm(means, axis=1, keepdims=True)
    return vectors


def words_of(label: str) -> list[str]:
    """Return the words of a label without what joins them; the label itself if it has no others."""
    return [word for word in label.lower().split() if word not in JOINTS] or [label]


def by_typicality(vectors: Array, weights: Weights) -> Indices:
    """Return the order of a cluster's labels: near its center and frequent first."""
    center = np.average(vectors, axis=0, weights=weights)
    order: Indices = np.argsort(-(vectors @ center) * np.sqrt(weights), kind="stable")
    return order
