"""Nested levels: each finer group lies inside one coarser group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ictc.errors import GroupingError
from ictc.grouping.apart import Pair
from ictc.grouping.base import Floats, Grouping, Integers, number_by_weight, order_labels
from ictc.grouping.consensus import find_consensus, join_pairs, measure_support, order_proposals
from ictc.grouping.number import Propose


def find_levels(
    propose: Propose,
    *,
    labels: Sequence[str],
    weights: npt.ArrayLike,
    num_groups: Sequence[int],
    together: Sequence[Pair] = (),
    apart: Sequence[Pair] = (),
) -> list[Grouping]:
    """Return a grouping for each number of groups, the coarsest first, each nested in the one before.

    The coarsest is what it would be alone; each finer one is split from it. So what is apart in one is in all below.

    Args:
        propose: called once for each number of groups, from the smallest.
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).
        num_groups: how many groups each level has, all different.
        together: pairs of labels, as indices, that share a group on every level.
        apart: pairs of labels, as indices, that share none on any.

    Raises:
        GroupingError: as from `find_consensus`, or a number is there twice.
    """
    numbers = sorted(num_groups)
    if not numbers or any(fewer == more for fewer, more in pairwise(numbers)):
        raise GroupingError(f"levels need different numbers of groups, not {', '.join(map(str, num_groups))}")
    first = find_consensus(
        propose(numbers[0]), labels=labels, weights=weights, num_groups=numbers[0], together=together, apart=apart
    )
    levels = [first]
    for number in numbers[1:]:
        placements = propose(number)
        finer = split_groups(
            levels[-1], placements=placements, labels=labels, weights=weights, num_groups=number, together=together
        )
        levels.append(finer)
    return levels


def split_groups(
    coarse: Grouping,
    *,
    placements: npt.ArrayLike,
    labels: Sequence[str],
    weights: npt.ArrayLike,
    num_groups: int,
    together: Sequence[Pair] = (),
) -> Grouping:
    """Return the consensus of proposals inside each of the coarser groups, `num_groups` in all.

    Args:
        coarse: as from `find_consensus` for the same labels.
        placements: proposals of about `num_groups` groups, shape (R, N).
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).
        num_groups: at least as many as there are coarser groups.
        together: pairs of labels, as indices, that share a group; they do in the coarser ones.

    Raises:
        GroupingError: as from `find_consensus`, or there are more coarser groups.
    """
    if num_groups < coarse.num_groups:
        raise GroupingError(f"{num_groups} groups can't lie inside {coarse.num_groups} coarser ones; ask for more")
    known = order_labels(labels, weights)
    proposals, parents = order_proposals(placements, known), coarse.members[known.order]
    rank = np.argsort(known.order)
    pairs = [(int(rank[a]), int(rank[b])) for a, b in together]
    units = join_pairs(len(parents), pairs)
    room = np.bincount(parents[np.unique(units, return_index=True)[1]], minlength=coarse.num_groups)
    shares = share_out(proposals, parents=parents, weights=known.weights, num_groups=num_groups, room=room)
    members = np.empty(len(parents), np.int64)
    for parent, share in enumerate(shares.tolist()):
        inside = np.flatnonzero(parents == parent)
        place = {label: index for index, label in enumerate(inside.tolist())}
        part = find_consensus(
            proposals[:, inside],
            labels=[labels[index] for index in known.order[inside]],
            weights=known.weights[inside],
            num_groups=share,
            together=[(place[a], place[b]) for a, b in pairs if a in place],
        )
        members[inside] = part.members + shares[:parent].sum()
    members = number_by_weight(members, known.weights)
    support = measure_support(members, proposals=proposals, weights=known.weights)
    return Grouping(members=known.to_given(members), support=known.to_given(support))


def share_out(proposals: Integers, *, parents: Integers, weights: Floats, num_groups: int, room: Integers) -> Integers:
    """Return into how many groups each coarser group splits, shape (P,), each at least 1 and at most its `room`.

    As many as the proposals make of it on average: of each, the `num_groups` heaviest of its clusters count, cut where
    the coarser groups are.
    """
    num_parents = len(room)
    wanted = np.zeros(num_parents)
    for row in proposals:
        pieces, numbers = np.unique(np.where(row < 0, -1, row * num_parents + parents), return_inverse=True)
        order = np.lexsort((-np.bincount(numbers, weights), pieces < 0))[:num_groups]
        made = pieces[order][pieces[order] >= 0]
        wanted += np.bincount(made % num_parents, minlength=num_parents)
    wanted /= len(proposals)
    shares = np.ones(num_parents, np.int64)
    while shares.sum() < min(num_groups, room.sum()):
        shares[int(np.where(shares < room, wanted - shares, -np.inf).argmax())] += 1
    return shares


def parents_of(fine: Grouping, *, coarse: Grouping) -> Integers:
    """Return the coarser group in which each group of `fine` lies, shape (its number of groups,)."""
    parents = np.empty(fine.num_groups, np.int64)
    parents[fine.members] = coarse.members
    return parents
