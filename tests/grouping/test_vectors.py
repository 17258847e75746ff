"""Proposals from vectors, how many groups they make, and their levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations, pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ictc.errors import GroupingError
from ictc.grouping.consensus import find_consensus
from ictc.grouping.levels import find_levels, parents_of
from ictc.grouping.number import choose_number, measure_agreement, measure_stability
from ictc.grouping.vectors import propose_groupings

Vectors = npt.NDArray[np.float64]


def draw_blobs(num_blobs: int, *, seed: int, num_labels: int = 60, spread: float = 0.05) -> tuple[Vectors, list[int]]:
    """Return vectors around so many far centers, shape (N, 16), and the center of each."""
    rng = np.random.default_rng(seed)
    centers = np.linalg.qr(rng.normal(size=(16, 16)))[0][:num_blobs]
    truth = np.arange(num_labels) % num_blobs
    return centers[truth] + rng.normal(size=(num_labels, 16)) * spread, truth.tolist()


def names(number: int) -> list[str]:
    return [f"label {index}" for index in range(number)]


def proposer(vectors: Vectors, *, seed: int = 0, num_proposals: int = 10) -> Callable[[int], npt.NDArray[np.int64]]:
    known = {"labels": names(len(vectors)), "weights": np.arange(len(vectors)) % 7 + 1}
    return lambda num_groups: propose_groupings(
        vectors, num_groups=num_groups, num_proposals=num_proposals, seed=seed, **known
    )


@settings(max_examples=20)
@given(st.integers(0, 100), st.randoms())
def test_the_order_of_labels_changes_no_byte_and_equal_seeds_give_equal_bytes(seed: int, random: Random) -> None:
    rng = np.random.default_rng(seed)
    vectors, weights, labels = rng.normal(size=(30, 8)), rng.integers(1, 9, 30), names(30)
    propose = partial(propose_groupings, num_groups=4, num_proposals=5, seed=seed)
    expected = propose(vectors, labels=labels, weights=weights)
    order = random.sample(range(30), 30)
    moved = propose(vectors[order], labels=[labels[index] for index in order], weights=weights[order])
    assert moved.tobytes() == expected[:, order].tobytes()


def test_bags_differ() -> None:
    vectors = np.random.default_rng(1).normal(size=(40, 8))
    proposals = proposer(vectors)(4)
    assert proposals.shape == (10, 40)
    assert len({row.tobytes() for row in proposals}) > 5


@pytest.mark.parametrize("num_blobs", [2, 5, 9])
def test_what_is_far_apart_is_found(num_blobs: int) -> None:
    vectors, truth = draw_blobs(num_blobs, seed=num_blobs)
    placements = proposer(vectors)(num_blobs)
    found = find_consensus(placements, labels=names(60), weights=np.ones(60), num_groups=num_blobs)
    assert adjusted_rand_score(truth, found.members) == 1
    assert found.support.min() > 0.5


@pytest.mark.parametrize("num_blobs", [3, 6, 9])
def test_the_number_of_groups_is_found(num_blobs: int) -> None:
    vectors, truth = draw_blobs(num_blobs, seed=num_blobs)
    choice = choose_number(proposer(vectors), labels=names(60), weights=np.ones(60), max_groups=14)
    assert choice.num_groups == num_blobs == choice.grouping.num_groups
    assert adjusted_rand_score(truth, choice.grouping.members) == 1
    assert [point.num_groups for point in choice.curve] == list(range(2, 15))
    assert max(choice.curve, key=lambda point: point.stability).stability <= 1


@given(st.data())
def test_agreement_is_what_counting_pairs_gives(data: st.DataObject) -> None:
    rows = st.lists(st.integers(-1, 3), min_size=8, max_size=8)
    first, second = data.draw(rows), data.draw(rows)
    pairs = list(combinations([pair for pair in zip(first, second, strict=True) if min(pair) >= 0], 2))
    in_first = [a[0] == b[0] for a, b in pairs]
    in_second = [a[1] == b[1] for a, b in pairs]
    shared = sum(a and b for a, b in zip(in_first, in_second, strict=True))
    both_ways = ((in_first, in_second), (in_second, in_first))
    ways = [shared / sum(one) - sum(other) / len(pairs) for one, other in both_ways if any(one)]
    assert measure_agreement(np.array(first), np.array(second)) == pytest.approx(sum(ways) / 2)


def test_equal_proposals_are_as_stable_as_can_be_and_random_ones_not_at_all() -> None:
    rng = np.random.default_rng(0)
    equal = np.tile(np.arange(60) % 4, (9, 1))
    assert measure_stability(equal) == pytest.approx((1 - 14 / 59, 0))
    stability, error = measure_stability(rng.integers(0, 4, (30, 60)))
    assert abs(stability) < 5 * error < 0.05


def test_levels_nest_and_the_coarsest_is_what_it_would_be_alone() -> None:
    vectors = np.random.default_rng(3).normal(size=(80, 12))
    propose, weights = proposer(vectors), np.ones(80)
    levels = find_levels(propose, labels=names(80), weights=weights, num_groups=[20, 3, 8])
    assert [level.num_groups for level in levels] == [3, 8, 20]
    for coarse, fine in pairwise(levels):
        assert (parents_of(fine, coarse=coarse)[fine.members] == coarse.members).all()
    alone = find_consensus(propose(3), labels=names(80), weights=weights, num_groups=3)
    assert levels[0].members.tobytes() == alone.members.tobytes()


def test_labels_of_one_meaning_still_make_the_groups_asked_for() -> None:
    placements = proposer(np.ones((9, 4)))(3)
    assert find_consensus(placements, labels=names(9), weights=np.ones(9), num_groups=3).num_groups == 3


def test_what_is_no_vector_is_refused() -> None:
    vectors = np.ones((3, 4))
    vectors[1, 1] = np.nan
    for wrong in (vectors, np.ones((2, 4)), np.ones(3)):
        with pytest.raises(GroupingError, match="one vector of finite numbers"):
            propose_groupings(wrong, labels=names(3), weights=[1, 1, 1], num_groups=2, num_proposals=2, seed=0)
