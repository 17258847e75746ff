"""How many groups: as many as different bags of the images agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ictc.errors import GroupingError
from ictc.grouping.base import Floats, Grouping, Integers, order_labels
from ictc.grouping.consensus import find_consensus, order_proposals

Propose = Callable[[int], Integers]
"""Makes proposals of so many groups, shape (R, N)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How far proposals of `num_groups` groups agree: 1 if they are equal, 0 if as random ones do on average."""

    num_groups: int
    stability: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberChoice:
    """The number of groups, the curve that it was chosen from, and the grouping."""

    num_groups: int
    curve: tuple[Stability, ...]
    grouping: Grouping


def choose_number(
    propose: Propose, *, labels: Sequence[str], weights: npt.ArrayLike, max_groups: int, min_groups: int = 2
) -> NumberChoice:
    """Return the number of groups between `min_groups` and `max_groups` on which proposals agree best.

    Args:
        propose: called once for each number of groups; R ≥ 2.
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).
        max_groups: no more than there are labels are tried.

    Raises:
        GroupingError: as from `find_consensus`, or the bounds hold no number.
    """
    known = order_labels(labels, weights)
    numbers = range(min_groups, min(max_groups, len(labels)) + 1)
    if min_groups < 1 or not numbers:
        raise GroupingError(f"{len(labels):,} labels make no {min_groups} to {max_groups} groups; ask for other bounds")
    found: dict[int, tuple[float, Integers]] = {}
    for number in numbers:
        proposals = propose(number)
        found[number] = (measure_agreement(order_proposals(proposals, known), weights=known.weights), proposals)
    best = max(numbers, key=lambda number: found[number][0])
    grouping = find_consensus(found[best][1], labels=labels, weights=weights, num_groups=best)
    curve = tuple(Stability(num_groups=number, stability=found[number][0]) for number in numbers)
    return NumberChoice(num_groups=best, curve=curve, grouping=grouping)


def measure_agreement(proposals: Integers, *, weights: Floats) -> float:
    """Return the mean adjusted Rand index of all pairs of proposals over images (Hubert and Arabie 1985).

    Args:
        proposals: shape (R, N), -1 where one says nothing; R ≥ 2.
        weights: images of each label, shape (N,).
    """
    pairs = list(combinations(range(len(proposals)), 2))
    return float(np.mean([adjusted_rand(proposals[a], proposals[b], weights=weights) for a, b in pairs]))


def adjusted_rand(first: Integers, second: Integers, *, weights: Floats) -> float:
    """Return the adjusted Rand index of two clusterings of the labels that both place, shape (N,), by images."""
    both = (first >= 0) & (second >= 0)
    if not both.any():
        return 0.0
    first, second, weights = first[both], second[both], weights[both]
    joint = first * (int(second.max()) + 1) + second
    shared, of_first, of_second, total = (
        _count_pairs(np.bincount(cells, weights)) for cells in (joint, first, second, np.zeros_like(first))
    )
    expected, most = of_first * of_second / max(total, 1.0), (of_first + of_second) / 2
    return (shared - expected) / (most - expected) if most > expected else 1.0


def _count_pairs(counts: Integers | Floats) -> float:
    return float((counts * (counts - 1)).sum() / 2)
