"""Nested levels: each finer group lies inside one coarser group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ictc.errors import GroupingError
from ictc.grouping.apart import Pair, cover_by_cliques
from ictc.grouping.base import Floats, Grouping, Integers, order_labels
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
    apart_in_finest: Sequence[Pair] = (),
) -> list[Grouping]:
    """Return a grouping for each number of groups, the coarsest first, each nested in the one before.

    The coarsest is what it would be alone; each finer one is split from it. So what is apart in one is in all below.
    Groups are numbered by weight, those of one coarser group before those of the next.

    Args:
        propose: called once for each number of groups, from the smallest.
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).
        num_groups: how many groups each level has, all different.
        together: pairs of labels, as indices, that share a group on every level.
        apart: pairs of labels, as indices, that share none on any.
        apart_in_finest: pairs of labels, as indices, that share none on the finest level.

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
        finer = split_groups(
            levels[-1],
            placements=propose(number),
            labels=labels,
            weights=weights,
            num_groups=number,
            together=together,
            apart=apart_in_finest if number == numbers[-1] else (),
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
    apart: Sequence[Pair] = (),
) -> Grouping:
    """Return the consensus of proposals inside each of the coarser groups, `num_groups` in all.

    They are numbered by weight, those of one coarser group before those of the next.

    Args:
        coarse: as from `find_consensus` for the same labels.
        placements: proposals of about `num_groups` groups, shape (R, N).
        labels: the N labels, all distinct.
        weights: how many images have each label, shape (N,).
        num_groups: at least as many as there are coarser groups.
        together: pairs of labels, as indices, that share a group; they do in the coarser ones.
        apart: pairs of labels, as indices, that share none.

    Raises:
        GroupingError: as from `find_consensus`, or there are more coarser groups, or they hold what needs more groups.
    """
    if num_groups < coarse.num_groups:
        raise GroupingError(f"{num_groups} groups can't lie inside {coarse.num_groups} coarser ones; ask for more")
    known = order_labels(labels, weights)
    proposals, parents = order_proposals(placements, known), coarse.members[known.order]
    rank = np.argsort(known.order)
    pairs, split = ([(int(rank[a]), int(rank[b])) for a, b in known_pairs] for known_pairs in (together, apart))
    units = join_pairs(len(parents), pairs)
    room = np.bincount(parents[np.unique(units, return_index=True)[1]], minlength=coarse.num_groups)
    least = count_apart(split, parents=parents, num_parents=coarse.num_groups)
    check_room(num_groups, room=room, least=least, num_labels=len(labels))
    shares = share_out(proposals, parents=parents, weights=known.weights, num_groups=num_groups, room=room, least=least)
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
            apart=[(place[a], place[b]) for a, b in split if a in place and b in place],
        )
        members[inside] = part.members + shares[:parent].sum()
    support = measure_support(members, proposals=proposals, weights=known.weights)
    return Grouping(members=known.to_given(members), support=known.to_given(support))


def count_apart(pairs: Sequence[Pair], *, parents: Integers, num_parents: int) -> Integers:
    """Return how many groups each coarser group needs at least, so that pairs inside it may be apart, shape (P,)."""
    least = np.ones(num_parents, np.int64)
    inside = [(a, b) for a, b in pairs if parents[a] == parents[b]]
    for clique in cover_by_cliques(len(parents), inside):
        parent = parents[clique[0]]
        least[parent] = max(least[parent], len(clique))
    return least


def check_room(num_groups: int, *, room: Integers, least: Integers, num_labels: int) -> None:
    """Refuse a number of groups that can't be made of the coarser ones.

    Raises:
        GroupingError: with what to change.
    """
    if room.sum() < min(num_groups, num_labels):
        raise GroupingError(
            f"labels that must be together leave {room.sum()} of {num_groups} groups: ask for fewer groups"
        )
    if least.sum() > num_groups:
        raise GroupingError(
            f"labels that must be apart need {least.sum()} groups inside the coarser ones, and there are {num_groups}: "
            "ask for more, or keep fewer labels apart"
        )


def share_out(
    proposals: Integers, *, parents: Integers, weights: Floats, num_groups: int, room: Integers, least: Integers
) -> Integers:
    """Return into how many groups each coarser group splits, shape (P,), at least its `least` and at most its `room`.

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
    shares = least.copy()
    while shares.sum() < min(num_groups, room.sum()):
        shares[int(np.where(shares < room, wanted - shares, -np.inf).argmax())] += 1
    return shares


def parents_of(fine: Grouping, *, coarse: Grouping) -> Integers:
    """Return the coarser group in which each group of `fine` lies, shape (its number of groups,)."""
    parents = np.empty(fine.num_groups, np.int64)
    parents[fine.members] = coarse.members
    return parents
