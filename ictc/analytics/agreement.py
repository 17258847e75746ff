"""How far two partitions of the same items agree, from the table of their counts.

Every function takes a contingency table (`ictc.analytics.association`) and is linear in its items. Where the two sides
differ, the rows are the clusters and the columns are the true classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.optimize import linear_sum_assignment

from ictc.analytics.association import chi_square


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What two partitions have in common; the normalized conditional entropies alone depend on the direction."""

    num_items: int
    ari: float
    ami: float
    nmi: float
    cramers_v: float
    cramers_v_corrected: float
    entropy_of_columns_given_rows: float
    entropy_of_rows_given_columns: float


def measure_agreement(table: pd.DataFrame) -> Agreement:
    """Return the measures that need no truth.

    Raises:
        ValueError: the table has no items.
    """
    test = chi_square(table)
    return Agreement(
        num_items=test.num_items,
        ari=adjusted_rand_index(table),
        ami=adjusted_mutual_information(table),
        nmi=normalized_mutual_information(table),
        cramers_v=test.cramers_v,
        cramers_v_corrected=test.cramers_v_corrected,
        entropy_of_columns_given_rows=conditional_entropy(table),
        entropy_of_rows_given_columns=conditional_entropy(table.T),
    )


def adjusted_rand_index(table: pd.DataFrame) -> float:
    """Return the ARI: 1 for equal partitions, 0 on average for random ones (Hubert and Arabie 1985)."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*labels_of(table)))


def adjusted_mutual_information(table: pd.DataFrame) -> float:
    """Return the AMI with the arithmetic mean: 1 for equal, 0 on average for random partitions (Vinh et al. 2010)."""
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(*labels_of(table)))


def normalized_mutual_information(table: pd.DataFrame) -> float:
    """Return the mutual information over the mean of the two entropies, in [0, 1] (Strehl and Ghosh 2002).

    It is not corrected for chance and tends to rise with the number of clusters.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(*labels_of(table)))


def labels_of(table: pd.DataFrame) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return two label vectors with these counts, each of shape (N,)."""
    counts = table.to_numpy()
    rows, columns = np.nonzero(counts)
    repeats = counts[rows, columns]
    return np.repeat(rows, repeats), np.repeat(columns, repeats)


def conditional_entropy(table: pd.DataFrame) -> float:
    """Return H(columns | rows) / H(columns): 0 if the row tells the column, 1 if it tells nothing.

    H(Y | X) = H(X, Y) - H(X) (Cover and Thomas 2006, chapter 2). NaN if all items are in one column.
    """
    counts = table.to_numpy()
    of_columns = stats.entropy(counts.sum(axis=0))
    remaining = stats.entropy(counts.ravel()) - stats.entropy(counts.sum(axis=1))
    return float(np.clip(remaining / of_columns, 0.0, 1.0)) if of_columns > 0 else math.nan


def purity(table: pd.DataFrame) -> float:
    """Return the share of items in the most frequent class of their cluster (Manning et al. 2008, chapter 16.3).

    It rises with the number of clusters and is 1 when every item is a cluster of its own.
    """
    return float(table.max(axis=1).sum() / table.to_numpy().sum())


def match_clusters(table: pd.DataFrame) -> dict[Any, Any]:
    """Return for each cluster the class that it stands for: the pairing with the most items in agreement.

    The Hungarian method (Kuhn 1955). Of K clusters and C classes, min(K, C) are paired; ties fall to the first.
    """
    rows, columns = linear_sum_assignment(table.to_numpy(), maximize=True)
    return dict(zip(table.index[rows], table.columns[columns], strict=True))


def hungarian_accuracy(table: pd.DataFrame) -> float:
    """Return the share of items whose cluster stands for their class (Xie et al. 2016, "unsupervised accuracy")."""
    agreeing = sum(int(table.at[pair]) for pair in match_clusters(table).items())
    return float(agreeing / table.to_numpy().sum())


@dataclass(frozen=True, kw_only=True)
class BCubed:
    """How far an average item shares its cluster with its class (precision) and its class with its cluster (recall)."""

    precision: float
    recall: float
    f1: float


def bcubed(table: pd.DataFrame) -> BCubed:
    """Return BCubed (Bagga and Baldwin 1998; Amigó et al. 2009).

    With n_ij items of class j in cluster i: precision Σ n_ij² / n_i. / N, recall Σ n_ij² / n_.j / N, F1 their harmonic
    mean.
    """
    counts = table.to_numpy().astype(np.float64)
    total = counts.sum()
    of_cluster = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    of_class = np.maximum(counts.sum(axis=0, keepdims=True), 1)
    precision = float((counts**2 / of_cluster).sum() / total)
    recall = float((counts**2 / of_class).sum() / total)
    return BCubed(precision=precision, recall=recall, f1=2 * precision * recall / (precision + recall))
