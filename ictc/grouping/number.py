"""How many groups: the fewest on which different bags of the images agree as well as on any other number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from ictc.errors import GroupingError
from ictc.grouping.base import Grouping, Integers, OrderedLabels, order_labels
from ictc.grouping.consensus import find_consensus, order_proposals

NUM_OTHERS = 20
"""With how many others each proposal is compared: time linear in the proposals, where there are many."""

Propose = Callable[[int], Integers]
"""Makes proposals of so many groups, shape (R, N)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How far proposals agree.

    Attributes:
        num_groups: how many groups they make.
        stability: the probability that two labels of one group of a proposal share one in another proposal, beyond that
            of any two labels; up to 1 - 1 / K where groups are equally large.
        error: its standard error, as proposals are drawn.
    """

    num_groups: int
    stability: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberChoice:
    """The number of groups, the curve that it was chosen from, and the grouping."""

    num_groups: int
    curve: tuple[Stability, ...]
    grouping: Grouping


def choose_number(
    propose: Propose, *, labels: Sequence[str], weights: npt.ArrayLike, max_groups: int, min_groups: int = 2
) -> NumberChoice:
    """Return the least number of groups whose stability is within one standard error of the best.

    Groups are stable if a second look finds them again (prediction strength: Tibshirani and Walther 2005, JCGS 14); as
    chance is taken off, few large groups gain nothing from being few. Each label counts once: a frequent one is with
    itself in any grouping. The rule of one standard error is that of Breiman et al. (1984), chapter 3.

    Args:
        propose: called once for each number of groups; R ≥ 3.
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).
        max_groups: no more than there are labels are tried.
        min_groups: at least 2.

    Raises:
        GroupingError: as from `find_consensus`, or the bounds hold no number.
    """
    known = order_labels(labels, weights)
    numbers = range(min_groups, min(max_groups, len(labels)) + 1)
    if min_groups < 2 or not numbers:
        raise GroupingError(f"{len(labels):,} labels make no {min_groups} to {max_groups} groups; ask for other bounds")
    curve = tuple(_measure(propose(number), number, known) for number in numbers)
    best = max(curve, key=lambda point: point.stability)
    chosen = next(point.num_groups for point in curve if point.stability >= best.stability - best.error)
    grouping = find_consensus(propose(chosen), labels=labels, weights=weights, num_groups=chosen)
    return NumberChoice(num_groups=chosen, curve=curve, grouping=grouping)


def measure_stability(proposals: Integers) -> tuple[float, float]:
    """Return the stability of proposals, shape (R, N), and its standard error.

    The error is that of a mean over pairs (Hoeffding 1948): twice that of the means of the proposals.
    """
    num_proposals = len(proposals)
    proposals = np.random.default_rng(0).permutation(proposals)  # neighbors in the order of content are alike
    steps = range(1, min(num_proposals - 1, NUM_OTHERS) // 2 + 1)
    agreement = [
        [measure_agreement(proposals[row], proposals[(row + step) % num_proposals]) for row in range(num_proposals)]
        for step in steps
    ]
    with_next = np.array(agreement)
    with_previous = np.stack([np.roll(row, step) for step, row in zip(steps, with_next, strict=True)])
    of_proposal = np.mean([with_next, with_previous], axis=(0, 1))
    return float(of_proposal.mean()), float(2 * of_proposal.std(ddof=1) / sqrt(num_proposals))


def measure_agreement(first: Integers, second: Integers) -> float:
    """Return how much likelier two labels share a group of one if they do of the other, the mean of both ways.

    Args:
        first: the group of each label, -1 for none, shape (N,).
        second: likewise; labels that only one places don't count.
    """
    both = (first >= 0) & (second >= 0)
    num_pairs = _count_pairs(np.zeros(int(both.sum()), np.int64))
    if not num_pairs:
        return 0.0
    first, second = first[both], second[both]
    shared = _count_pairs(first * (int(second.max()) + 1) + second)
    of_first, of_second = _count_pairs(first), _count_pairs(second)
    ways = ((of_first, of_second), (of_second, of_first))
    return sum(shared / within - other / num_pairs for within, other in ways if within) / 2


def _measure(placements: npt.ArrayLike, number: int, known: OrderedLabels) -> Stability:
    proposals = order_proposals(placements, known)
    if len(proposals) < 3:
        raise GroupingError(f"{len(proposals)} proposals don't tell how far they agree; make 3 or more")
    stability, error = measure_stability(proposals)
    return Stability(num_groups=number, stability=stability, error=error)


def _count_pairs(groups: Integers) -> float:
    """Return how many pairs of labels share a group."""
    sizes = np.bincount(groups).astype(np.float64)
    return float((sizes * (sizes - 1)).sum() / 2)
