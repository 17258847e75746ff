"""How well clusters recover known classes where an image may be in several of either (`--multi_label`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ictc.analytics.agreement import match_clusters
from ictc.analytics.ids import match_ids
from ictc.errors import InputError

SEPARATOR = ";"
"""Between the classes of an image, where the truth has several in a cell."""


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """Agreement of sets of clusters and sets of classes, each in [0, 1].

    Attributes:
        precision: of all pairs of an image and a cluster that fits it, the share in which the cluster stands for a
            class that the image has (micro average).
        recall: of all pairs of an image and a class, the share whose class is found.
        f1: the harmonic mean of both.
        jaccard: what the sets of an image have in common, as a share of what is in either, averaged over images.
        exact: share of images whose sets are the same.
        best: share of images whose best cluster stands for a class that they have.
    """

    precision: float
    recall: float
    f1: float
    jaccard: float
    exact: float
    best: float


@dataclass(frozen=True, eq=False, kw_only=True)
class SetEvaluation:
    """What a comparison with the truth says.

    Attributes:
        matches: the class that each matched cluster stands for: one to one, so that most pairs agree.
        per_class: a row a class: its cluster, its images, and precision, recall and F1 of that cluster for it.
        num_images: those with a cluster and a class, which the scores are about.
        num_without_cluster: images with a class that are in no cluster.
    """

    matches: dict[Any, Any]
    scores: SetScores
    per_class: pd.DataFrame
    num_images: int
    num_without_cluster: int


def evaluate_sets(fitting: pd.Series, *, truth: pd.Series) -> SetEvaluation:
    """Compare the clusters that fit each image with its classes.

    Args:
        fitting: the clusters of each image as a list without repetition, the best first; index: image ids.
        truth: the classes of each image in a cell, "" for none; index: image ids, which may be in another Unicode form.

    Raises:
        InputError: no image has both.
    """
    classes = truth.rename(index=match_ids(truth.index, fitting.index)).map(split_classes)
    classes = classes[classes.map(bool)]
    common = classes.index.intersection(fitting.index, sort=False)
    if common.empty:
        raise InputError("no image has both a cluster and a class; look at the ids of both")
    found, wanted = fitting[common].tolist(), classes[common].tolist()
    matches = match_clusters(count_pairs(found, wanted))
    stood = [[matches.get(cluster) for cluster in clusters] for clusters in found]
    return SetEvaluation(
        matches=matches,
        scores=score_sets(stood, wanted),
        per_class=score_classes(stood, wanted, matches),
        num_images=len(common),
        num_without_cluster=len(classes) - len(common),
    )


def split_classes(cell: str) -> list[str]:
    """Return the classes in a cell of the truth, each once.

    >>> split_classes("food; travel;food;")
    ['food', 'travel']
    """
    return list(dict.fromkeys(part.strip() for part in cell.split(SEPARATOR) if part.strip()))


def count_pairs(found: Iterable[list[Any]], wanted: Iterable[list[Any]]) -> pd.DataFrame:
    """Return how many images have each cluster (rows) and class (columns) among theirs."""
    pairs = [(one, other) for some, others in zip(found, wanted, strict=True) for one in some for other in others]
    clusters, classes = zip(*pairs, strict=True)
    return pd.crosstab(pd.Series(clusters, name="cluster"), pd.Series(classes, name="class"))


def score_sets(stood: list[list[Any]], wanted: list[list[Any]]) -> SetScores:
    """Return all scores.

    Args:
        stood: the class that each cluster of an image stands for, the best first; None for a cluster without one.
        wanted: the classes of the same images.
    """
    agreeing = [len({*some} & {*others}) for some, others in zip(stood, wanted, strict=True)]
    sizes = [(len(some), len(others)) for some, others in zip(stood, wanted, strict=True)]
    num_found, num_wanted, total = sum(a for a, _ in sizes), sum(b for _, b in sizes), sum(agreeing)
    count = len(stood)
    return SetScores(
        precision=total / num_found,
        recall=total / num_wanted,
        f1=2 * total / (num_found + num_wanted),
        jaccard=sum(both / (a + b - both) for both, (a, b) in zip(agreeing, sizes, strict=True)) / count,
        exact=sum(both == a == b for both, (a, b) in zip(agreeing, sizes, strict=True)) / count,
        best=sum(some[0] in others for some, others in zip(stood, wanted, strict=True)) / count,
    )


def score_classes(stood: list[list[Any]], wanted: list[list[Any]], matches: Mapping[Any, Any]) -> pd.DataFrame:
    """Return precision, recall and F1 of each class for the cluster that stands for it; 0 for a class without one."""
    cluster_of = {name: cluster for cluster, name in matches.items()}
    rows = []
    for name in sorted({name for names in wanted for name in names}):
        images, clustered = (sum(name in names for names in sets) for sets in (wanted, stood))
        agreeing = sum(name in some and name in others for some, others in zip(stood, wanted, strict=True))
        precision, recall = agreeing / clustered if clustered else 0.0, agreeing / images
        rows.append((name, cluster_of.get(name), images, precision, recall, 2 * agreeing / (images + clustered)))
    return pd.DataFrame(rows, columns=["class", "cluster", "images", "precision", "recall", "f1"])
