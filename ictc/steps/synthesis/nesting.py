"""Names nested groups of labels: the coarsest first, each finer one in sight of what it lies in and of its siblings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ictc.config.levels import LevelSize
from ictc.records import ClusterDefinition, ClusterLevel
from ictc.stages.work import AskAll
from ictc.steps.synthesis.naming import LabelGroup, meaning_of, name_groups
from ictc.steps.synthesis.proposing import Aim


@dataclass(frozen=True, kw_only=True)
class LevelGroups:
    """The groups of one level.

    Attributes:
        parents: of each group, the number of the one above, from 1; () on the coarsest level.
    """

    size: LevelSize
    groups: Sequence[LabelGroup]
    parents: tuple[int, ...] = ()


async def name_levels(ask: AskAll, levels: Sequence[LevelGroups], aim: Aim) -> tuple[ClusterLevel, ...]:
    """Return the clusters of each level; names differ in more than letters on a level, not from level to level.

    Raises:
        StageError: a group got no name of its own.
        EngineError: the engine cannot go on.
    """
    named: list[ClusterLevel] = []
    for level in levels:
        groups = put_inside(level, named[-1].clusters) if named else level.groups
        number = level.size.num_clusters
        clusters = await name_groups(ask, groups, aim.of(number), suffix=f"-of-{number}")
        named.append(ClusterLevel(name=level.size.name, clusters=clusters, parents=level.parents))
    return tuple(named)


def put_inside(level: LevelGroups, above: Sequence[ClusterDefinition]) -> list[LabelGroup]:
    """Return the groups with what each lies in; one that is all of that has its name already."""
    num_children = Counter(level.parents)
    taken = {meaning_of(group.name) for group in level.groups if group.name}
    inside = []
    for group, number in zip(level.groups, level.parents, strict=True):
        parent = above[number - 1]
        is_all = num_children[number] == 1 and not group.name and meaning_of(parent.name) not in taken
        known = replace(group, name=parent.name, description=parent.description) if is_all else group
        inside.append(replace(known, parent=parent))
    return inside
