"""Step 2b: labels with counts become K named clusters. Knows labels and embeddings, no images."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ictc.engines.lite.embedder import Array, Embedder

Weights = npt.NDArray[np.float64]
Indices = npt.NDArray[np.integer[Any]]

EXTRA_DIMENSIONS = 3
"""Principal components kept beyond K: enough to hold K directions, few enough to drop what labels say by accident."""
NUM_RESTARTS = 20
SEED = 0
LABEL_JOINT = " and "
NAME_JOINT = " & "
LIST_MARKS = re.compile("[,;]")
JOINTS = frozenset((LABEL_JOINT.strip(), NAME_JOINT.strip()))


@dataclass(frozen=True, slots=True)
class LabelCluster:
    """One cluster: its name, and its labels from the most to the least typical."""

    name: str
    labels: tuple[str, ...]


def cluster_labels(
    labels: Sequence[str], counts: Sequence[int], num_clusters: int, embedder: Embedder
) -> list[LabelCluster]:
    """Group labels by meaning into `num_clusters` clusters, largest first.

    Returns:
        Fewer clusters if there are fewer labels of distinct meaning.
    """
    vectors, weights = embed_labels(labels, embedder), np.array(counts, np.float64)
    membership = partition(vectors, weights, min(num_clusters, len(labels)))
    clusters = []
    for number in sorted(set(membership), key=lambda number: (-weights[membership == number].sum(), number)):
        members = np.flatnonzero(membership == number)
        typical = by_typicality(vectors[members], weights[members])
        ordered = tuple(labels[members[index]] for index in typical)
        clusters.append(LabelCluster(name_of(ordered[0]), ordered))
    return clusters


def partition(vectors: Array, weights: Weights, num_clusters: int) -> Indices:
    """Return the cluster number of each vector, shape (N,), by k-means on weighted principal components.

    Few components and unit length make it spectral clustering on cosine similarity (Ding and He, 2004;
    Ng, Jordan and Weiss, 2001), which a label far from all others can't upset as it upsets plain k-means.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    centered = vectors - np.average(vectors, axis=0, weights=weights)
    _, _, components = np.linalg.svd(centered * np.sqrt(weights)[:, None], full_matrices=False)
    projected = centered @ components[: num_clusters + EXTRA_DIMENSIONS].T
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    directions = projected / np.maximum(lengths, np.finfo(np.float64).tiny)
    model = KMeans(num_clusters, n_init=NUM_RESTARTS, random_state=SEED)
    with threadpool_limits(1), warnings.catch_warnings():
        # Labels of one meaning make fewer clusters; the caller sees that.
        warnings.simplefilter("ignore", ConvergenceWarning)
        membership: Indices = model.fit(directions, sample_weight=weights).labels_
    return membership


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


def name_of(label: str) -> str:
    """Return a label as a name.

    >>> name_of("hotels and resorts")
    'Hotels & Resorts'
    """
    return label.replace(LABEL_JOINT, NAME_JOINT).title()


def describe(cluster: LabelCluster, criterion: str, max_length: int) -> str:
    """Return one sentence that lists as many of the cluster's labels as fit, the most typical first."""
    opening = f"By {criterion}, for example: "
    listed: list[str] = []
    for label in cluster.labels:
        if listed and len(opening) + len("; ".join([*listed, label])) + 1 > max_length:
            break
        listed.append(label)
    return (opening + "; ".join(listed))[: max_length - 1] + "."


def embed_definition(name: str, *, description: str, embedder: Embedder) -> Array:
    """Return the unit vector that stands for a cluster, shape (384,): the mean of its name and what it lists.

    The mean of the phrases is closer to the cluster's members than the embedding of the sentence is.
    """
    listed = LIST_MARKS.split(description.partition(":")[2] or description)
    phrases = [name, *(phrase.strip(" .") for phrase in listed if phrase.strip(" ."))]
    mean = embed_labels(phrases, embedder).mean(axis=0)
    unit: Array = mean / np.linalg.norm(mean)
    return unit
