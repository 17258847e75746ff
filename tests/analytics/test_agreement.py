"""Agreement of two partitions, against scikit-learn and definitions written out, and what holds for any of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from ictc.analytics.agreement import (
    adjusted_mutual_information,
    adjusted_rand_index,
    bcubed,
    conditional_entropy,
    hungarian_accuracy,
    match_clusters,
    measure_agreement,
    normalized_mutual_information,
    purity,
)
from ictc.analytics.association import contingency_table

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=40)
TABLES = arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.integers(0, 30)).filter(np.any)
MEASURES: dict[str, Callable[[pd.DataFrame], float]] = {
    "ari": adjusted_rand_index,
    "ami": adjusted_mutual_information,
    "nmi": normalized_mutual_information,
    "conditional entropy": conditional_entropy,
    "purity": purity,
    "accuracy": hungarian_accuracy,
    "bcubed precision": lambda table: bcubed(table).precision,
    "bcubed recall": lambda table: bcubed(table).recall,
    "bcubed f1": lambda table: bcubed(table).f1,
}


def table_of(labels: list[tuple[int, int]]) -> pd.DataFrame:
    clusters, classes = zip(*labels, strict=True)
    return contingency_table(clusters, classes)


@settings(max_examples=40)
@given(LABELS)
def test_chance_corrected_scores_are_those_of_scikit_learn(labels: list[tuple[int, int]]) -> None:
    clusters, classes = zip(*labels, strict=True)
    table = table_of(labels)
    assert adjusted_rand_index(table) == pytest.approx(metrics.adjusted_rand_score(classes, clusters))
    assert normalized_mutual_information(table) == pytest.approx(
        metrics.normalized_mutual_info_score(classes, clusters)
    )
    assert adjusted_mutual_information(table) == pytest.approx(
        metrics.adjusted_mutual_info_score(classes, clusters), abs=1e-9
    )


@settings(max_examples=40)
@given(LABELS)
def test_conditional_entropy_is_one_minus_homogeneity(labels: list[tuple[int, int]]) -> None:
    """Scikit-learn's homogeneity is 1 - H(class | cluster) / H(class), and 1 where there is one class."""
    clusters, classes = zip(*labels, strict=True)
    if len(set(classes)) > 1:
        expected = 1 - metrics.homogeneity_score(classes, clusters)
        assert conditional_entropy(table_of(labels)) == pytest.approx(expected, abs=1e-9)
    else:
        assert np.isnan(conditional_entropy(table_of(labels)))


@settings(max_examples=40)
@given(LABELS)
def test_bcubed_is_the_mean_over_the_items(labels: list[tuple[int, int]]) -> None:
    precision = [np.mean([b == d for c, d in labels if c == a]) for a, b in labels]
    recall = [np.mean([c == a for c, d in labels if d == b]) for a, b in labels]
    scores = bcubed(table_of(labels))
    assert scores.precision == pytest.approx(np.mean(precision))
    assert scores.recall == pytest.approx(np.mean(recall))


@settings(max_examples=40)
@given(TABLES)
def test_no_other_pairing_has_more_items_in_agreement(counts: np.ndarray) -> None:
    square = np.zeros((4, 4))
    square[: counts.shape[0], : counts.shape[1]] = counts
    best = max(sum(square[row, column] for row, column in enumerate(order)) for order in permutations(range(4)))
    assert hungarian_accuracy(pd.DataFrame(counts)) == pytest.approx(best / counts.sum())
    assert len(match_clusters(pd.DataFrame(counts))) == min(counts.shape)


@settings(max_examples=40)
@given(counts=TABLES, seed=st.integers(0, 99))
def test_names_and_their_order_do_not_matter(counts: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixed = counts[rng.permutation(counts.shape[0])][:, rng.permutation(counts.shape[1])]
    renamed = pd.DataFrame(mixed, list("zyxw")[: counts.shape[0]], list("dbca")[: counts.shape[1]])
    expected = {name: measure(pd.DataFrame(counts)) for name, measure in MEASURES.items()}
    values = {name: measure(renamed) for name, measure in MEASURES.items()}
    assert values == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(max_examples=40)
@given(counts=TABLES)
def test_measures_are_at_most_1_and_those_without_correction_at_least_0(counts: np.ndarray) -> None:
    for name, measure in MEASURES.items():
        value = measure(pd.DataFrame(counts))
        assert np.isnan(value) or (value <= 1 + 1e-9 and (value >= 0 or name in ("ari", "ami"))), name


@settings(max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=5))
def test_equal_partitions_agree_in_everything(sizes: list[int]) -> None:
    table = pd.DataFrame(np.diag(sizes))
    values = {name: measure(table) for name, measure in MEASURES.items()}
    assert values.pop("conditional entropy") == pytest.approx(0, abs=1e-9)
    assert values == pytest.approx(dict.fromkeys(values, 1.0))
    agreement = measure_agreement(table)
    assert agreement.num_items == sum(sizes)
    assert agreement.cramers_v == pytest.approx(1)


def test_independent_partitions_tell_nothing_of_each_other() -> None:
    agreement = measure_agreement(pd.DataFrame(np.outer([10, 20, 30], [30, 40, 10])))
    assert agreement.nmi == pytest.approx(0, abs=1e-9)
    assert agreement.entropy_of_columns_given_rows == pytest.approx(1)
    assert agreement.entropy_of_rows_given_columns == pytest.approx(1)
    assert abs(agreement.ari) < 0.01
    assert abs(agreement.ami) < 0.01


def test_finer_clusters_tell_the_classes_but_not_the_other_way_round() -> None:
    table = pd.DataFrame([[30, 0], [20, 0], [0, 25], [0, 25]])
    agreement = measure_agreement(table)
    assert agreement.entropy_of_columns_given_rows == pytest.approx(0, abs=1e-9)
    assert agreement.entropy_of_rows_given_columns > 0.4
    assert purity(table) == 1
    assert hungarian_accuracy(table) == 0.55
