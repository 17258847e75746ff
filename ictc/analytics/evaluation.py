"""How well clusters recover known classes. Knows label vectors by image id; knows nothing of where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ictc.analytics.agreement import (
    adjusted_mutual_information,
    adjusted_rand_index,
    bcubed,
    hungarian_accuracy,
    match_clusters,
    normalized_mutual_information,
    purity,
)
from ictc.analytics.association import contingency_table
from ictc.analytics.ids import match_ids
from ictc.analytics.tables import printable
from ictc.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Agreement of clusters and classes, each in [0, 1] but ARI and AMI, which may fall below 0.

    Attributes:
        accuracy: share of the compared images whose cluster stands for their class.
        accuracy_of_all: the same over all images with a class; one without a cluster counts as wrong.
    """

    accuracy: float
    accuracy_of_all: float
    nmi: float
    ari: float
    ami: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f1: float
    purity: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a comparison with the truth says.

    Attributes:
        table: images by cluster (rows) and class (columns), those with both alone.
        matches: the class that each matched cluster stands for.
        per_class: a row a class: its cluster, its images, and precision, recall and F1 of that cluster for it.
        without_cluster: images with a class but no cluster.
        fitting_none: classes of those that no cluster fits; index: their ids.
        without_truth: images with a cluster that the truth does not name.
        without_class: images that the truth names without giving them a class.
        notes: what the reader must know to judge the scores.
    """

    table: pd.DataFrame
    matches: dict[Any, Any]
    scores: Scores
    per_class: pd.DataFrame
    without_cluster: pd.Index
    fitting_none: pd.Series
    without_truth: pd.Index
    without_class: pd.Index
    notes: tuple[str, ...]

    @property
    def num_images(self) -> int:
        """Images with a cluster and a class: those that the scores are about."""
        return int(self.table.to_numpy().sum())


def evaluate(clusters: pd.Series, *, truth: pd.Series, outcomes: pd.Series | None = None) -> Evaluation:
    """Compare clusters with classes.

    Args:
        clusters: categorical, index: image ids.
        truth: the class of each image, "" for none; index: image ids, which may be in another Unicode form.
        outcomes: of images without a cluster, why: "none" if none fits; index: image ids.

    Raises:
        InputError: no image has both.
    """
    outcomes = pd.Series(dtype=str) if outcomes is None else outcomes
    renamed = match_ids(truth.index, clusters.index.append(outcomes.index))
    truth = truth.rename(index=renamed)
    classes = truth[truth != ""]
    common = classes.index.intersection(clusters.index, sort=False)
    if common.empty:
        raise InputError(_explain_no_overlap(clusters, classes))
    table = contingency_table(clusters[common], classes[common])
    matches = match_clusters(table)
    return Evaluation(
        table=table,
        matches=matches,
        scores=score(table, num_with_class=len(classes)),
        per_class=score_classes(table, matches),
        without_cluster=classes.index.difference(clusters.index, sort=False),
        fitting_none=classes[classes.index.isin(outcomes.index[outcomes == "none"])],
        without_truth=clusters.index.difference(truth.index, sort=False),
        without_class=truth.index[truth == ""],
        notes=(*explain_renamed(renamed), *explain_unequal_numbers(table)),
    )


def explain_renamed(renamed: Mapping[str, str]) -> list[str]:
    """Return how many ids of the truth were taken for others that look the same; nothing if none were."""
    if not renamed:
        return []
    return [
        f"{len(renamed):,} ids of the truth, such as {printable(next(iter(renamed)))!r}, differ from those of the "
        "images in their Unicode form (NFC or NFD) or in spaces alone, and are taken for the same."
    ]


def _explain_no_overlap(clusters: pd.Series, classes: pd.Series) -> str:
    if clusters.empty or classes.empty:
        return f"nothing to compare: {len(clusters):,} images have a cluster and {len(classes):,} have a class"
    examples = " and ".join(repr(printable(ids.index[0])) for ids in (clusters, classes))
    return f"no image has both a cluster and a class; ids such as {examples} differ"


def score(table: pd.DataFrame, num_with_class: int) -> Scores:
    """Return all scores of a table of clusters (rows) and classes (columns)."""
    accuracy, shares = hungarian_accuracy(table), bcubed(table)
    return Scores(
        accuracy=accuracy,
        accuracy_of_all=accuracy * int(table.to_numpy().sum()) / num_with_class,
        nmi=normalized_mutual_information(table),
        ari=adjusted_rand_index(table),
        ami=adjusted_mutual_information(table),
        bcubed_precision=shares.precision,
        bcubed_recall=shares.recall,
        bcubed_f1=shares.f1,
        purity=purity(table),
    )


def score_classes(table: pd.DataFrame, matches: dict[Any, Any]) -> pd.DataFrame:
    """Return precision, recall and F1 of each class for the cluster that stands for it; 0 for a class without one."""
    cluster_of = {matched: cluster for cluster, matched in matches.items()}
    rows = []
    for name, column in table.items():
        cluster = cluster_of.get(name)
        agreeing, images = (int(column[cluster]) if cluster in column.index else 0), int(column.sum())
        clustered = int(table.loc[cluster].sum()) if cluster in table.index else 0
        precision = agreeing / clustered if clustered else 0.0
        recall = agreeing / images if images else 0.0
        f1 = 2 * agreeing / (clustered + images) if clustered + images else 0.0
        rows.append((name, cluster, images, precision, recall, f1))
    return pd.DataFrame(rows, columns=["class", "cluster", "images", "precision", "recall", "f1"])


def explain_unequal_numbers(table: pd.DataFrame) -> list[str]:
    """Return which scores still mean something when there are not as many clusters as classes; nothing if there are."""
    num_clusters, num_classes = table.shape
    head = (
        f"{num_clusters:,} clusters for {num_classes:,} classes: ARI, AMI and BCubed compare any numbers; compare NMI"
    )
    if num_clusters < num_classes:
        best = float(np.sort(table.sum().to_numpy())[-num_clusters:].sum() / table.to_numpy().sum())
        missing = f"{num_classes - num_clusters:,} of the classes get no cluster and have recall 0"
        return [f"{head} between runs of equal K only.", f"{missing}; accuracy and purity cannot exceed {best:.2f}."]
    if num_clusters > num_classes:
        surplus = (
            f"{num_clusters - num_classes:,} of the clusters stand for no class, so all of their images count as wrong"
        )
        return [
            f"{head} and purity, which rise with K, between runs of equal K only.",
            f"{surplus} in accuracy and recall, however pure they are; BCubed recall falls too where a class is split.",
        ]
    return []
