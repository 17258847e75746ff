"""Small groups: which they would join, and what is left where some merges are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ictc.grouping.consensus import find_consensus
from ictc.grouping.merges import apply_merges, plan_merges

PLACEMENTS = [[0, 0, 1, 1, 2, 3], [0, 0, 1, 1, 1, 2], [0, 0, 1, 1, 1, 0]]
KNOWN = {"labels": list("abcdef"), "weights": [30, 30, 20, 20, 5, 3]}


def test_small_groups_join_the_ones_that_proposals_put_them_with() -> None:
    grouping = find_consensus(PLACEMENTS, num_groups=4, **KNOWN)
    assert grouping.members.tolist() == [0, 0, 1, 1, 2, 3]
    merges = plan_merges(grouping, placements=PLACEMENTS, min_weight=10, **KNOWN)
    assert [(merge.small, merge.into) for merge in merges] == [(3, 0), (2, 1)]
    assert [merge.nearness for merge in merges] == pytest.approx([1 / 3, 2 / 3])
    assert apply_merges(grouping, merges, placements=PLACEMENTS, **KNOWN).members.tolist() == [0, 0, 1, 1, 1, 0]
    refused = apply_merges(grouping, merges[1:], placements=PLACEMENTS, **KNOWN)
    assert refused.members.tolist() == [0, 0, 1, 1, 1, 2]
    assert refused.num_groups == 3


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_after_all_merges_no_group_is_too_small_unless_it_is_alone(seed: int, min_weight: int) -> None:
    rng = np.random.default_rng(seed)
    placements, weights = rng.integers(-1, 4, (4, 12)), rng.integers(1, 9, 12)
    labels = [f"label {number}" for number in range(12)]
    grouping = find_consensus(placements, labels=labels, weights=weights, num_groups=5)
    merges = plan_merges(grouping, placements=placements, labels=labels, weights=weights, min_weight=min_weight)
    merged = apply_merges(grouping, merges, placements=placements, labels=labels, weights=weights)
    assert merged.num_groups == grouping.num_groups - len(merges)
    assert merged.num_groups == 1 or np.bincount(merged.members, weights).min() >= min_weight
    assert all(0 <= merge.nearness <= 1 + 1e-9 and merge.small != merge.into for merge in merges)


def test_nothing_is_merged_where_nothing_is_small() -> None:
    grouping = find_consensus(PLACEMENTS, num_groups=4, **KNOWN)
    assert plan_merges(grouping, placements=PLACEMENTS, min_weight=3, **KNOWN) == ()
