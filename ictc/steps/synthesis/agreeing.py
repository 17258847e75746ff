"""What several proposals agree on: which labels belong together, as far as the user does not know it already."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from ictc.records import Guide, GuideCluster
from ictc.steps.histogram import Counted
from ictc.steps.synthesis.result import PlacedLabel, StabilityOfNumber
from ictc.tracks.spelling import singular_form

if TYPE_CHECKING:
    from ictc.grouping.base import Grouping
    from ictc.grouping.merges import Merge

Pair = tuple[int, int]
Placements = Sequence[Sequence[int | None]]
"""By proposal, the cluster of each name, None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Which labels belong together; groups are numbered from 1.

    Attributes:
        placed: the labels of images.
        members: the group of each of all names.
        guided: clusters of the guide, by the group that they are in.
    """

    placed: Sequence[PlacedLabel]
    members: Sequence[int]
    guided: Mapping[int, Sequence[GuideCluster]]

    @property
    def number(self) -> int:
        """How many groups there are."""
        return max(self.members)

    def labels_of(self, numbers: Container[int]) -> list[str]:
        """Return the labels of these groups, the most frequent first."""
        return [one.label for one in self.placed if one.cluster_id in numbers]

    def parents_in(self, coarser: Groups) -> tuple[int, ...]:
        """Return the group of `coarser` in which each group lies."""
        parents = dict(zip(self.members, coarser.members, strict=True))
        return tuple(parents[number] for number in sorted(parents))


@dataclass(frozen=True, kw_only=True)
class LabelsToGroup:
    """Labels of images, and the names of clusters that must be there, which are placed like labels.

    Attributes:
        counted: labels of images with their counts.
    """

    counted: Sequence[Counted]
    guide: Guide

    @cached_property
    def names(self) -> list[str]:
        """All that is placed: the labels, then names of clusters that are no labels."""
        return [label for label, _ in self._all]

    @cached_property
    def _all(self) -> list[Counted]:
        known = {singular_form(label) for label, _ in self.counted}
        names = [cluster.name for cluster in self.guide.clusters if singular_form(cluster.name) not in known]
        return [*self.counted, *((name, 1) for name in names)]

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {singular_form(name): place for place, name in enumerate(self.names)}

    def group(self, placements: Placements, num_groups: int) -> Groups:
        """Return so many groups, those of a guide among them.

        Args:
            placements: by proposal, in which of its clusters each of `names` is, None where that is not known.

        Raises:
            GroupingError: so many groups can't be told apart, or the guide contradicts itself.
        """
        from ictc.grouping.consensus import find_consensus

        grouping = find_consensus(
            as_rows(placements),
            labels=self.names,
            weights=[count for _, count in self._all],
            num_groups=num_groups,
            together=self._together(),
            apart=[*self._apart(), *self._apart_as_named()],
        )
        return self._as_groups(grouping)

    def group_levels(self, placements: Mapping[int, Placements]) -> list[Groups]:
        """Return the groups of each level, the coarsest first; those of a guide are on the finest.

        Args:
            placements: by the number of groups of a level, which is that of the proposals' clusters; as for `group`.

        Raises:
            GroupingError: so many groups can't be told apart, or the guide contradicts itself.
        """
        from numpy import array

        from ictc.grouping.levels import find_levels

        levels = find_levels(
            lambda number: array(as_rows(placements[number])),
            labels=self.names,
            weights=[count for _, count in self._all],
            num_groups=list(placements),
            together=self._together(),
            apart=self._apart(),
            apart_in_finest=self._apart_as_named(),
        )
        return [self._as_groups(grouping) for grouping in levels]

    def plan_merges(self, groups: Groups, placements: Placements, *, min_share: float) -> tuple[Merge, ...]:
        """Return which groups have less than a share of the images, and which each of them would join.

        Args:
            placements: as for `group`.
        """
        from ictc.grouping.merges import plan_merges

        return plan_merges(
            _grouping_of(groups),
            placements=as_rows(placements),
            labels=self.names,
            weights=[count for _, count in self._all],
            min_weight=min_share * sum(count for _, count in self._all),
        )

    def merge(self, groups: Groups, merges: Sequence[Merge], placements: Placements) -> Groups:
        """Return the groups after these merges."""
        from ictc.grouping.merges import apply_merges

        merged = apply_merges(
            _grouping_of(groups),
            merges,
            placements=as_rows(placements),
            labels=self.names,
            weights=[count for _, count in self._all],
        )
        return self._as_groups(merged)

    def _as_groups(self, grouping: Grouping) -> Groups:
        placed = [
            PlacedLabel(label=label, count=count, cluster_id=int(group) + 1, support=round(float(support), 4))
            for (label, count), group, support in zip(
                self.counted, grouping.members, grouping.support[: len(self.counted)], strict=False
            )
        ]
        members = [int(group) + 1 for group in grouping.members]
        guided: dict[int, list[GuideCluster]] = {}
        for one in self.guide.clusters:
            guided.setdefault(members[self._place(one.name)], []).append(one)
        return Groups(placed=placed, members=members, guided=guided)

    def choose_number(self, placements: Mapping[int, Placements]) -> tuple[int, tuple[StabilityOfNumber, ...]]:
        """Return the number of groups on which proposals agree best, and how far they do for each number.

        Args:
            placements: by the number of clusters of the proposals.

        Raises:
            GroupingError: there is no number to choose from.
        """
        from numpy import array

        from ictc.grouping.number import choose_number

        choice = choose_number(
            lambda number: array(as_rows(placements[number])),
            labels=self.names,
            weights=[count for _, count in self._all],
            min_groups=min(placements),
            max_groups=max(placements),
        )
        curve = (
            StabilityOfNumber(
                num_clusters=point.num_groups, stability=round(point.stability, 4), error=round(point.error, 4)
            )
            for point in choice.curve
        )
        return choice.num_groups, tuple(curve)

    def _place(self, name: str) -> int:
        return self._places[singular_form(name)]

    def _find(self, names: Sequence[str]) -> list[int]:
        """Return the places of those that are there."""
        places = (self._places.get(singular_form(name)) for name in names)
        return [place for place in places if place is not None]

    def _together(self) -> list[Pair]:
        sets = [*self.guide.together, *((one.name, *one.labels) for one in self.guide.clusters)]
        return [pair for labels in sets for pair in pairwise(self._find(labels))]

    def _apart(self) -> list[Pair]:
        return [pair for labels in self.guide.apart for pair in combinations(self._find(labels), 2)]

    def _apart_as_named(self) -> list[Pair]:
        return [*combinations(self._find([one.name for one in self.guide.clusters]), 2)]


def _grouping_of(groups: Groups) -> Grouping:
    from numpy import array, ones

    from ictc.grouping.base import Grouping

    return Grouping(members=array(groups.members) - 1, support=ones(len(groups.members)))


def as_rows(placements: Placements) -> list[list[int]]:
    """Return places as numbers, -1 for those that are not known."""
    return [[-1 if cluster_id is None else cluster_id for cluster_id in row] for row in placements]


def find_absent(guide: Guide, labels: Sequence[Counted]) -> list[str]:
    """Return the labels of a guide that no image has, in the order of the guide."""
    known = {singular_form(label) for label, _ in labels}
    named = [label for one in guide.clusters for label in one.labels]
    named += [label for labels_ in (*guide.together, *guide.apart) for label in labels_]
    return list(dict.fromkeys(label for label in named if singular_form(label) not in known))
