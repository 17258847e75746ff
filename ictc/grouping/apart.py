"""What must not be together: the cheapest way to put units into groups so that none meets one it must not meet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from ictc.errors import GroupingError
from ictc.grouping.base import Floats, Integers

Pair = tuple[int, int]

MAX_NODES = 10_000
"""Branches that the solver looks at: a count and not a time, so that each machine comes to the same end."""


def assign_apart(costs: Floats, pairs: Sequence[Pair]) -> Integers:
    """Return the group of each unit, shape (U,): the least sum of `costs` such that no pair shares a group.

    Units of no pair go to their cheapest group. The others are an integer program (HiGHS): the sets whose members are
    all apart from each other are told to it, so that it sees at once that K + 1 such units don't fit into K groups.

    Args:
        costs: of each unit in each group, shape (U, K).

    Raises:
        GroupingError: there is no such way, or none was found.
    """
    members = np.asarray(costs.argmin(axis=1))
    if pairs:
        bound = np.unique(np.fromiter(chain.from_iterable(pairs), np.int64))
        place = {unit: row for row, unit in enumerate(bound.tolist())}
        members[bound] = _solve(costs[bound], [(place[a], place[b]) for a, b in pairs])
    return members


def _solve(costs: Floats, pairs: Sequence[Pair]) -> Integers:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, identity, kron

    num_units, num_groups = costs.shape
    cliques = cover_by_cliques(num_units, pairs)
    ones = np.ones(sum(map(len, cliques)))
    rows = np.repeat(np.arange(len(cliques)), [len(clique) for clique in cliques])
    in_clique = csr_matrix((ones, (rows, list(chain.from_iterable(cliques)))), shape=(len(cliques), num_units))
    one_group = kron(identity(num_units), np.ones((1, num_groups)))
    one_of_clique = kron(in_clique, identity(num_groups))
    outcome = milp(
        costs.ravel(),
        integrality=np.ones(costs.size),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_group, 1, 1), LinearConstraint(one_of_clique, -np.inf, 1)],
        options={"node_limit": MAX_NODES},
    )
    if outcome.x is None:
        raise GroupingError(
            f"{num_units:,} labels that must be apart don't fit into {num_groups} groups; ask for more groups, or keep "
            "fewer labels apart"
        )
    return np.asarray(outcome.x.reshape(costs.shape).argmax(axis=1))


def cover_by_cliques(num_units: int, pairs: Sequence[Pair]) -> list[list[int]]:
    """Return sets of units that are all apart from each other, so that each pair is in one of them."""
    near: list[set[int]] = [set() for _ in range(num_units)]
    for a, b in pairs:
        near[a].add(b)
        near[b].add(a)
    uncovered = {(min(pair), max(pair)) for pair in pairs}
    cliques = []
    for first, second in sorted(uncovered):
        if (first, second) in uncovered:
            clique = [first, second]
            for unit in sorted(near[first] & near[second]):
                if near[unit].issuperset(clique):
                    clique.append(unit)
            cliques.append(clique)
            uncovered -= {(a, b) for a in clique for b in clique if a < b}
    return cliques
