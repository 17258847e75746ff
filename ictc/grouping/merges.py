"""Small groups, and which group each would join: along a minimum spanning tree of the groups, for someone to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ictc.grouping.base import Floats, Grouping, number_by_weight, order_labels
from ictc.grouping.consensus import measure_support, order_proposals
from ictc.grouping.profiles import Profiles, build_profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Two groups that would become one.

    Attributes:
        small: the group that is too small, with all that earlier merges gave it.
        into: the group next to it.
        nearness: how often proposals put an image of the one with an image of the other, in [0, 1].
    """

    small: int
    into: int
    nearness: float


def plan_merges(
    grouping: Grouping,
    *,
    placements: npt.ArrayLike,
    labels: Sequence[str],
    weights: npt.ArrayLike,
    min_weight: float,
) -> tuple[Merge, ...]:
    """Return the merges after which no group is lighter than `min_weight`, the lightest group first.

    Each goes along the edge of the group's that is shortest in the minimum spanning tree: near is what proposals often
    put together (single linkage on the co-association matrix, Fred and Jain 2005, IEEE TPAMI 27, of groups). Those that
    are not wanted may be left out of `apply_merges`.

    Args:
        placements: the proposals that the grouping is from, shape (R, N).
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).

    Raises:
        GroupingError: labels, counts or placements are wrong.
    """
    known = order_labels(labels, weights)
    proposals = order_proposals(placements, known)
    nearness = measure_nearness(build_profiles(proposals, units=grouping.members[known.order], weights=known.weights))
    heavy = np.bincount(grouping.members[known.order], known.weights)
    part_of = np.arange(grouping.num_groups)
    edges = find_tree(nearness)
    merges = []
    while len(edges):
        weight_of = np.bincount(part_of, heavy, minlength=len(heavy))
        small = min(np.unique(part_of).tolist(), key=lambda group: (weight_of[group], group))
        if weight_of[small] >= min_weight:
            break
        a, b = max(((a, b) for a, b in edges if small in (part_of[a], part_of[b])), key=lambda edge: nearness[edge])
        edges.remove((a, b))
        into = int(part_of[b] if part_of[a] == small else part_of[a])
        merges.append(Merge(small=small, into=into, nearness=float(nearness[a, b])))
        part_of[part_of == small] = into
    return tuple(merges)


def apply_merges(
    grouping: Grouping,
    merges: Sequence[Merge],
    *,
    placements: npt.ArrayLike,
    labels: Sequence[str],
    weights: npt.ArrayLike,
) -> Grouping:
    """Return the grouping after these merges, numbered and supported anew; arguments as of `plan_merges`."""
    known = order_labels(labels, weights)
    part_of = np.arange(grouping.num_groups)
    for merge in merges:
        part_of[part_of == part_of[merge.small]] = part_of[merge.into]
    members = number_by_weight(part_of[grouping.members[known.order]], known.weights)
    support = measure_support(members, proposals=order_proposals(placements, known), weights=known.weights)
    return Grouping(members=known.to_given(members), support=known.to_given(support))


def measure_nearness(groups: Profiles) -> Floats:
    """Return how often a proposal that places both puts an image of one with one of the other, shape (K, K)."""
    near = np.asarray((groups.shares @ groups.shares.T).todense(), np.float64)
    nearness: Floats = near / np.maximum(groups.placed @ groups.placed.T, np.finfo(np.float64).tiny)
    return nearness


def find_tree(nearness: Floats) -> list[tuple[int, int]]:
    """Return the edges of the spanning tree of the greatest nearness, K - 1 of them."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    lengths = 2.0 - np.triu(nearness, 1)  # above 0: to SciPy, 0 is no edge
    tree = minimum_spanning_tree(np.triu(lengths, 1))
    return [(int(a), int(b)) for a, b in zip(*tree.nonzero(), strict=True)]
