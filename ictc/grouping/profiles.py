"""Labels described by where proposals put them, and the clustering of such descriptions.

A unit is a label, or several that must be together. Its profile has a column for each cluster of each proposal: the
share of the unit that is in the cluster. k-means on such rows is the consensus with the largest category utility
(Topchy, Jain and Punch 2005, IEEE TPAMI 27; Wu et al. 2015, IEEE TKDE 27), in time linear in the labels. A proposal
that says nothing of a label counts neither for nor against any group, as in their treatment of incomplete partitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ictc.grouping.base import Floats, Integers


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """Units and where R proposals put them.

    Attributes:
        shares: of each unit, the share of its weight in each cluster of each proposal, sparse, shape (U, C).
        placed: of each unit, the share of its weight that each proposal places, shape (U, R).
        starts: the first column of each proposal, shape (R,).
        weights: shape (U,).
    """

    shares: Any
    placed: Floats
    starts: Integers
    weights: Floats

    @property
    def num_units(self) -> int:
        return len(self.weights)

    @cached_property
    def squares(self) -> Floats:
        """The share that each unit's own clusters take of it, summed over proposals: the square of its length, (U,)."""
        return np.asarray(self.shares.multiply(self.shares).sum(axis=1), np.float64).ravel()

    def take(self, units: Integers) -> Profiles:
        """Return the profiles of some units."""
        return Profiles(
            shares=self.shares[units], placed=self.placed[units], starts=self.starts, weights=self.weights[units]
        )

    def centers(self, members: Integers, num_groups: int) -> Centers:
        """Return what the proposals say of each group; units of group -1 count for none."""
        from scipy.sparse import csr_matrix

        used = np.flatnonzero(members >= 0)
        picks = csr_matrix((self.weights[used], (members[used], used)), shape=(num_groups, self.num_units))
        sums = (picks @ self.shares).toarray()
        placed = picks @ self.placed
        widths = np.diff([*self.starts, sums.shape[1]])
        shares = sums / np.maximum(np.repeat(placed, widths, axis=1), np.finfo(np.float64).tiny)
        return Centers(shares=shares, squares=np.add.reduceat(shares * shares, self.starts, axis=1))

    def costs(self, centers: Centers) -> Floats:
        """Return the weight of each unit times its squared distance to each center, shape (U, G).

        Over the proposals that place it, and without what is the same for all centers where a unit is part of several
        clusters of one proposal.
        """
        near = self.shares @ centers.shares.T
        lengths = self.placed @ centers.squares.T
        return np.asarray((self.squares[:, None] + lengths - 2 * near) * self.weights[:, None], np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Centers:
    """What proposals say of G groups.

    Attributes:
        shares: the share of each group in each cluster of each proposal, shape (G, C).
        squares: of each group and proposal, the sum of the squares of those, shape (G, R).
    """

    shares: Floats
    squares: Floats


def build_profiles(placements: Integers, *, units: Integers, weights: Floats) -> Profiles:
    """Return the profiles of units.

    Args:
        placements: the cluster of each label in each proposal, each proposal's own numbers from 0, -1 for none, (R, N).
        units: which unit each label is part of, numbered from 0, shape (N,).
        weights: of each label, shape (N,).
    """
    from scipy.sparse import csr_matrix

    num_clusters = np.maximum(placements.max(axis=1) + 1, 1)
    starts = np.concatenate([[0], np.cumsum(num_clusters)])
    of_unit = np.bincount(units, weights).astype(np.float64)
    proposal, label = np.nonzero(placements >= 0)
    share = weights[label] / of_unit[units[label]]
    columns = starts[proposal] + placements[proposal, label]
    shares = csr_matrix((share, (units[label], columns)), shape=(len(of_unit), int(starts[-1])))
    placed = np.stack([np.bincount(units, np.where(row >= 0, weights, 0)) / of_unit for row in placements], axis=1)
    return Profiles(shares=shares, placed=placed, starts=starts[:-1], weights=of_unit)
