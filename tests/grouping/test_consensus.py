"""The consensus of proposals: what changes nothing, what must hold, and what proposals agree on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from ictc.errors import GroupingError
from ictc.grouping.base import Grouping
from ictc.grouping.consensus import find_consensus


@dataclass(frozen=True, kw_only=True)
class Case:
    """Proposals of where a few labels belong."""

    placements: npt.NDArray[np.int64]
    labels: list[str]
    weights: list[int]
    num_groups: int

    def find(self, **more: object) -> Grouping:
        known = {"labels": self.labels, "weights": self.weights, "num_groups": self.num_groups}
        return find_consensus(self.placements, **{**known, **more})  # type: ignore[arg-type]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    labels = draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=12, unique=True))
    size = len(labels)
    row = st.lists(st.integers(-1, 4), min_size=size, max_size=size)
    return Case(
        placements=np.array(draw(st.lists(row, min_size=1, max_size=6))),
        labels=labels,
        weights=draw(st.lists(st.integers(1, 50), min_size=size, max_size=size)),
        num_groups=draw(st.integers(1, 8)),
    )


def same_bytes(first: Grouping, second: Grouping) -> bool:
    return first.members.tobytes() == second.members.tobytes() and first.support.tobytes() == second.support.tobytes()


@settings(max_examples=40)
@given(cases(), st.randoms())
def test_the_order_of_labels_and_proposals_and_their_numbers_change_no_byte(case: Case, random: Random) -> None:
    expected = case.find()
    order = random.sample(range(len(case.labels)), len(case.labels))
    rows = random.sample(range(len(case.placements)), len(case.placements))
    numbers = np.array([*random.sample(range(9), 5), -1])  # the last stands for -1
    moved = Case(
        placements=numbers[case.placements][rows][:, order],
        labels=[case.labels[index] for index in order],
        weights=[case.weights[index] for index in order],
        num_groups=case.num_groups,
    ).find()
    back = np.argsort(order)
    assert same_bytes(Grouping(members=moved.members[back], support=moved.support[back]), expected)


@settings(max_examples=40)
@given(cases())
def test_every_label_is_in_one_of_exactly_so_many_groups_numbered_by_weight(case: Case) -> None:
    grouping = case.find()
    heavy = np.bincount(grouping.members, case.weights)
    assert len(heavy) == grouping.num_groups == min(case.num_groups, len(case.labels))
    assert (heavy > 0).all()
    firsts = [min(np.array(case.labels, object)[grouping.members == group].tolist()) for group in range(len(heavy))]
    assert all(a[0] > b[0] or (a[0] == b[0] and a[1] < b[1]) for a, b in pairwise(zip(heavy, firsts, strict=True)))
    assert ((grouping.support >= 0) & (grouping.support <= 1)).all()


@settings(max_examples=40)
@given(cases())
def test_support_is_the_share_of_the_group_that_proposals_put_with_a_label(case: Case) -> None:
    grouping = case.find()
    weights = np.array(case.weights)
    for label, group in enumerate(grouping.members):
        shares = []
        for row in case.placements:
            if row[label] >= 0:
                placed = (grouping.members == group) & (row >= 0)
                shares.append(weights[placed & (row == row[label])].sum() / weights[placed].sum())
        assert grouping.support[label] == pytest.approx(np.mean(shares) if shares else 0.0)


@settings(max_examples=40)
@given(cases(), st.data())
def test_what_must_be_together_or_apart_is(case: Case, data: st.DataObject) -> None:
    size = len(case.labels)
    pair = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda pair: pair[0] != pair[1])
    pairs = st.lists(pair, max_size=5) if size > 1 else st.just([])
    together, apart = data.draw(pairs), data.draw(pairs)
    try:
        members = case.find(together=together, apart=apart).members
    except GroupingError:
        assert not is_possible(case, together=together, apart=apart)
        return
    assert all(members[a] == members[b] for a, b in together)
    assert all(members[a] != members[b] for a, b in apart)
    assert len(set(members)) == min(case.num_groups, size)


def is_possible(case: Case, *, together: list[tuple[int, int]], apart: list[tuple[int, int]]) -> bool:
    """Whether some grouping keeps the pairs, found by trying all."""
    size = len(case.labels)
    graph = np.zeros((size, size))
    graph[tuple(np.array(together, int).reshape(-1, 2).T)] = 1
    num_units, unit_of = connected_components(graph, directed=False)
    pairs = {frozenset((int(unit_of[a]), int(unit_of[b]))) for a, b in apart}
    if any(len(pair) == 1 for pair in pairs) or num_units < min(case.num_groups, size):
        return False
    colors: list[int] = []

    def fits(unit: int) -> bool:
        if unit == num_units:
            return True
        for color in range(case.num_groups):
            if all(colors[other] != color for other in range(unit) if frozenset((unit, other)) in pairs):
                colors.append(color)
                if fits(unit + 1):
                    return True
                colors.pop()
        return False

    return fits(0)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_proposals_that_mostly_agree_are_seen_through(seed: int) -> None:
    """Each of 20 proposals puts a fifth of 60 labels somewhere at random, and knows nothing of another fifth."""
    rng = np.random.default_rng(seed)
    truth = np.arange(60) % 5
    placements = np.where(rng.random((20, 60)) < 0.2, rng.integers(0, 5, (20, 60)), truth)
    placements[rng.random((20, 60)) < 0.2] = -1
    labels = [f"label {number}" for number in range(60)]
    grouping = find_consensus(placements, labels=labels, weights=rng.integers(1, 9, 60), num_groups=5)
    assert len({(a, b) for a, b in zip(truth.tolist(), grouping.members.tolist(), strict=True)}) == 5


@settings(max_examples=30)
@given(cases(), st.randoms())
def test_where_few_labels_decide_where_to_start_the_same_holds(case: Case, random: Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ictc.grouping.consensus.CORE", 3)
        grouping = case.find(apart=[(0, 1)] if len(case.labels) > 1 and case.num_groups > 1 else [])
        order = random.sample(range(len(case.labels)), len(case.labels))
        moved = Case(
            placements=case.placements[:, order],
            labels=[case.labels[index] for index in order],
            weights=[case.weights[index] for index in order],
            num_groups=case.num_groups,
        ).find(apart=[(order.index(1), order.index(0))] if len(case.labels) > 1 and case.num_groups > 1 else [])
    assert grouping.num_groups == len(set(grouping.members)) == min(case.num_groups, len(case.labels))
    assert moved.members.tobytes() == grouping.members[order].tobytes()
    assert len(case.labels) < 2 or case.num_groups < 2 or grouping.members[0] != grouping.members[1]


def test_a_label_that_a_proposal_places_elsewhere_has_less_support() -> None:
    placements = [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 0, 0]]
    grouping = find_consensus(placements, labels=list("abcde"), weights=[50, 50, 1, 50, 49], num_groups=2)
    assert grouping.members.tolist() == [0, 0, 0, 1, 1]
    assert grouping.support[2] == pytest.approx((1 + 1 / 101 + 1) / 3)
    assert grouping.support[3:] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"labels": ["a", "b", "a"]}, "'a' is there twice"),
        ({"weights": [1, 0, 1]}, "one finite count above 0"),
        ({"num_groups": 0}, "0 groups"),
        ({"together": [(0, 1)], "num_groups": 3}, "leave 2 of 3 groups"),
        ({"together": [(0, 1)], "apart": [(1, 0)]}, "'b' and 'a' must be both"),
        ({"apart": [(0, 1), (1, 2), (0, 2)], "num_groups": 2}, "3 labels that must be apart"),
        ({"apart": [(0, 3)]}, "names a label that is not there"),
    ],
)
def test_what_can_not_be_is_one_line(more: dict[str, object], words: str) -> None:
    case = Case(placements=np.array([[0, 0, 1]]), labels=["a", "b", "c"], weights=[1, 1, 1], num_groups=2)
    with pytest.raises(GroupingError, match=words) as caught:
        case.find(**more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("placements", [[], [0, 0, 1], [[0, 1]], [[0, 1, -2]], [[0.0, 1.0, 0.5]]])
def test_proposals_that_are_none_are_refused(placements: list[object]) -> None:
    with pytest.raises(GroupingError, match="proposal"):
        find_consensus(placements, labels=["a", "b", "c"], weights=[1, 1, 1], num_groups=2)  # type: ignore[arg-type]
