"""Stability of clusters over runs, against counting pair by pair."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ictc.analytics.association import contingency_table
from ictc.analytics.stability import bootstrap_jaccard, coassignment_counts, jaccard, proportion_ambiguous

RUNS = st.integers(1, 4).flatmap(
    lambda num_runs: st.lists(
        st.tuples(st.tuples(*[st.integers(0, 2)] * num_runs), st.integers(1, 4)),
        min_size=1,
        max_size=6,
        unique_by=lambda group: group[0],
    )
)


@settings(max_examples=40)
@given(RUNS)
def test_pairs_are_counted_as_if_one_by_one(groups: list[tuple[tuple[int, ...], int]]) -> None:
    clusters = [labels for labels, size in groups for _ in range(size)]
    num_runs = len(clusters[0])
    expected = [0] * (num_runs + 1)
    for first, second in combinations(clusters, 2):
        expected[sum(a == b for a, b in zip(first, second, strict=True))] += 1
    frame = pd.DataFrame([labels for labels, _ in groups], columns=[f"run {n}" for n in range(num_runs)])
    assert coassignment_counts(frame, np.array([size for _, size in groups])) == expected


def test_pac_counts_the_pairs_that_runs_disagree_on() -> None:
    assert proportion_ambiguous([50, 10, 15, 0, 25]) == 0.25
    assert proportion_ambiguous([50, 50]) == 0
    assert proportion_ambiguous([80, 10, *[0] * 7, 5, 5]) == 0  # 1 and 9 of 10 runs are no ambiguity yet
    assert proportion_ambiguous([0, 0]) == 0


def test_jaccard_is_the_common_part_of_the_union() -> None:
    table = pd.DataFrame([[30, 10], [0, 60]])
    assert jaccard(table).to_numpy() == pytest.approx(np.array([[30 / 40, 10 / 100], [0, 60 / 70]]))


def test_a_cluster_found_again_whole_is_certain_and_a_scattered_one_is_not() -> None:
    table = pd.DataFrame([[50, 0, 0], [0, 15, 15], [0, 15, 15]], index=["kept", "lost", "gone"], columns=list("xyz"))
    found = bootstrap_jaccard(table, num_resamples=200)
    assert tuple(found.loc["kept"]) == ("x", 1, 1, 1)
    assert found.at["lost", "jaccard"] == pytest.approx(15 / 45)
    assert 0.15 < found.at["lost", "low"] < found.at["lost", "jaccard"] < found.at["lost", "high"] < 0.55


def test_the_bootstrap_draws_what_its_seed_says_and_narrows_with_more_items() -> None:
    table = pd.DataFrame([[40, 20], [10, 30]])
    few, again, other = (bootstrap_jaccard(table, seed=seed) for seed in (1, 1, 2))
    many = bootstrap_jaccard(table * 100, seed=1)
    pd.testing.assert_frame_equal(few, again)
    assert not few.equals(other)
    assert ((many["high"] - many["low"]) < 0.2 * (few["high"] - few["low"])).all()


def test_resampling_the_table_spreads_as_resampling_the_items_does() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.choice(2, 300), rng.choice(2, 300, p=[0.3, 0.7])
    found = bootstrap_jaccard(contingency_table(first, second), num_resamples=2_000)
    draws = []
    for _ in range(300):
        chosen = rng.choice(300, 300)
        similarities = jaccard(contingency_table(first[chosen], second[chosen]))
        draws.append([similarities.at[row, found.at[row, "best"]] for row in similarities.index])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    assert found["low"].to_numpy() == pytest.approx(low, abs=0.03)
    assert found["high"].to_numpy() == pytest.approx(high, abs=0.03)
