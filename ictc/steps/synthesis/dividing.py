"""Sets of more clusters than one answer can hold: clusters of a coarser set first, then more inside each of them.

So no request lists, and no answer holds, more than `MOST_AT_ONCE` clusters. Which labels lie in which coarser cluster
is known by then, as each label has been placed; what is asked inside one is about its labels alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from ictc.config.levels import MIN_CLUSTERS, MOST_AT_ONCE
from ictc.errors import StageError
from ictc.stages.dialogue import Dialogue, hold
from ictc.stages.work import AskAll
from ictc.steps.histogram import Counted, LabelHistogram
from ictc.steps.synthesis.placing import place
from ictc.steps.synthesis.proposing import Aim, Proposal, Proposer

logger = logging.getLogger(__name__)

MOST_LABELS = 2 * MOST_AT_ONCE
"""In one list, which is one of several; the place of every label is asked anyway."""


def first_number(num_clusters: int) -> int:
    """Return how many clusters are asked for first.

    >>> first_number(100), first_number(101), first_number(1000)
    (100, 10, 31)
    """
    return num_clusters if num_clusters <= MOST_AT_ONCE else isqrt(num_clusters)


def labels_at_once(num_labels: int, *, num_clusters: int) -> int:
    """Return how many labels are listed where so many clusters are asked for."""
    return num_labels if num_clusters <= MOST_AT_ONCE else min(num_labels, MOST_LABELS)


@dataclass(frozen=True, kw_only=True)
class Divider:
    """Divides the clusters of one proposal further.

    Attributes:
        aim: how many clusters there are to be in all.
        counted: labels of images with their counts, the most frequent first.
        name: of the requests.
    """

    aim: Aim
    counted: Sequence[Counted]
    name: str

    async def divide(self, ask: AskAll, names: Sequence[str], row: Sequence[int | None]) -> list[int | None]:
        """Return the finer cluster of each name, numbered from 1; those of unknown place stay so.

        Args:
            row: the coarser cluster of each name, from 1.
        """
        inside: dict[int, list[int]] = {}
        for place_, coarse in enumerate(row):
            if coarse is not None:
                inside.setdefault(coarse, []).append(place_)
        inside = dict(sorted(inside.items()))
        shares = share_out({coarse: len(places) for coarse, places in inside.items()}, self.aim.num_clusters)
        divided = [coarse for coarse in inside if shares[coarse] > 1]
        members = {coarse: frozenset(names[place_] for place_ in inside[coarse]) for coarse in divided}
        made = await hold(
            ask, [self._propose_inside(coarse, labels=members[coarse], number=shares[coarse]) for coarse in divided]
        )
        parts = {coarse: part for coarse, part in zip(divided, made, strict=True) if part is not None}
        return await self._place_inside(ask, names, inside, parts)

    def _propose_inside(self, coarse: int, *, labels: frozenset[str], number: int) -> Dialogue[Proposal | None]:
        """Come to clusters of the labels of one coarser cluster, None if the model makes none."""
        mine = tuple(counted for counted in self.counted if counted[0] in labels)
        aim = self.aim.of(min(number, len(mine)))  # names of a guide that no image has are placed, but not read
        if aim.num_clusters < MIN_CLUSTERS:
            return None
        histogram = LabelHistogram(
            labels=mine[:MOST_LABELS], num_images=sum(count for _, count in mine), num_distinct=len(mine)
        )
        try:
            return (yield from Proposer(aim=aim, histogram=histogram, name=f"{self.name}-in-{coarse}").propose())
        except StageError as error:
            logger.warning("%s: cluster %d is not divided: %s", self.name, coarse, error)
            return None

    async def _place_inside(
        self,
        ask: AskAll,
        names: Sequence[str],
        inside: Mapping[int, Sequence[int]],
        parts: Mapping[int, Proposal],
    ) -> list[int | None]:
        todo = [(coarse, place_) for coarse in parts for place_ in inside[coarse]]
        found = await hold(
            ask,
            [
                place(names[place_], parts[coarse], aim=self.aim, name=f"{self.name}-in-{coarse}-place-{place_ + 1}")
                for coarse, place_ in todo
            ],
        )
        finer = dict(zip(todo, found, strict=True))
        row: list[int | None] = [None] * len(names)
        before = 0
        for coarse, places in inside.items():
            for place_ in places:
                number = finer[coarse, place_] if coarse in parts else 1
                row[place_] = None if number is None else before + number
            before += len(parts[coarse].definitions) if coarse in parts else 1
        return row


def share_out(sizes: Mapping[int, int], total: int) -> dict[int, int]:
    """Return into how many parts each is divided, at most as many as its size and as one answer holds.

    In proportion to the sizes, each part as nearly as large as the others as can be (D'Hondt's method).

    >>> share_out({1: 60, 2: 30, 3: 1}, 9)
    {1: 6, 2: 2, 3: 1}
    """
    shares = dict.fromkeys(sizes, 1)
    room = {one: min(size, MOST_AT_ONCE) for one, size in sizes.items()}
    while sum(shares.values()) < min(total, sum(room.values())):
        open_ones = [one for one in sizes if shares[one] < room[one]]
        shares[max(open_ones, key=lambda one: sizes[one] / (shares[one] + 1))] += 1
    return shares
