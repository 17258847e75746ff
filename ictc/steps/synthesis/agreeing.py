"""What several proposals agree on: which labels belong together."""

from __future__ import annotations

from collections.abc import Sequence

from ictc.grouping.consensus import find_consensus
from ictc.steps.histogram import Counted
from ictc.steps.synthesis.result import PlacedLabel


def group_labels(
    counted: Sequence[Counted], placements: Sequence[Sequence[int | None]], *, num_groups: int
) -> list[PlacedLabel]:
    """Return the labels with their groups.

    Args:
        placements: by proposal, in which of its clusters each label is, None where that is not known.

    Raises:
        GroupingError: so many groups can't be told apart.
    """
    rows = [[-1 if cluster_id is None else cluster_id for cluster_id in row] for row in placements]
    grouping = find_consensus(
        rows,
        labels=[label for label, _ in counted],
        weights=[count for _, count in counted],
        num_groups=num_groups,
    )
    return [
        PlacedLabel(label=label, count=count, cluster_id=int(group) + 1, support=round(float(support), 4))
        for (label, count), group, support in zip(counted, grouping.members, grouping.support, strict=True)
    ]
