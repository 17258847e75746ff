"""What a grouping is, the one order in which labels are computed with, and what all functions check.

Sums of floating-point numbers depend on their order. So whatever order labels come in, they are computed with in the
order of their text, and the outcome is handed back in theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ictc.errors import GroupingError

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grouping:
    """Each label in exactly one group.

    Attributes:
        members: the group of each label, shape (N,); numbered from 0 by weight, the heaviest first, and where two weigh
            the same, the one with the label that comes first in the order of texts. Of nested groups, see
            `ictc.grouping.levels`.
        support: how surely each label belongs to its group, in [0, 1], shape (N,); see `ictc.grouping.consensus`.
    """

    members: npt.NDArray[np.int64]
    support: Floats

    @property
    def num_groups(self) -> int:
        """How many groups there are; each has a label."""
        return int(self.members.max()) + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrderedLabels:
    """Labels in the order of their text.

    Attributes:
        order: where each label stood as it was given, shape (N,): `given[order]` is in the order of texts.
        weights: of each label in the order of texts, shape (N,).
    """

    order: Integers
    weights: Floats

    def to_given(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return values of the labels, shape (N,) or (…, N), from the order of texts to the one that was given."""
        given = np.empty_like(values)
        given[..., self.order] = values
        return given


def order_labels(labels: Sequence[str], weights: npt.ArrayLike) -> OrderedLabels:
    """Return the labels in the order of their text.

    Args:
        labels: distinct, N ≥ 1.
        weights: how many images have each label, above 0, shape (N,).

    Raises:
        GroupingError: no labels, a label twice, or weights that are none.
    """
    if not labels:
        raise GroupingError("there are no labels to group; label images first")
    order = np.array(sorted(range(len(labels)), key=labels.__getitem__), np.int64)
    twice = next((labels[a] for a, b in pairwise(order) if labels[a] == labels[b]), None)
    if twice is not None:
        raise GroupingError(f"the label {twice!r} is there twice; add up the counts of equal labels")
    given = np.asarray(weights, np.float64)
    if given.shape != (len(labels),) or not (np.isfinite(given).all() and (given > 0).all()):
        raise GroupingError(f"each of the {len(labels):,} labels needs one finite count above 0")
    return OrderedLabels(order=order, weights=given[order])


def number_by_weight(members: Integers, weights: Floats) -> npt.NDArray[np.int64]:
    """Return `members`, shape (N,), numbered from 0 by weight; of equally heavy groups the one seen first is first."""
    _, first, numbers = np.unique(members, return_index=True, return_inverse=True)
    ranks = np.lexsort((first, -np.bincount(numbers, weights)))
    number_of = np.empty(len(ranks), np.int64)
    number_of[ranks] = np.arange(len(ranks))
    return number_of[numbers]


def number_by_appearance(members: Integers) -> npt.NDArray[np.int64]:
    """Return `members`, shape (N,), numbered from 0 in the order in which they are seen; -1 stays -1."""
    values, first, numbers = np.unique(members, return_index=True, return_inverse=True)
    first = np.where(values < 0, -1, first)
    number_of = np.empty(len(values), np.int64)
    number_of[np.argsort(first, kind="stable")] = np.arange(len(values)) - (values < 0).sum()
    return number_of[numbers]
