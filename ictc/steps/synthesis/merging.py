"""Small groups, where K is chosen: the model says which of them belong to the group next to them.

A few images that proposals keep apart can make the number of groups one larger. Which group is next to which follows
from the proposals; whether the one belongs to the other is a question about meaning. It is asked as Step 3 asks it:
of an image that has the labels of the small group, with the other group as the one cluster, or none.
"""

from __future__ import annotations

from ictc.config.levels import MIN_CLUSTERS
from ictc.records import ClusterDefinition
from ictc.stages.dialogue import hold
from ictc.stages.work import AskAll
from ictc.steps.options import make_options
from ictc.steps.synthesis.agreeing import Groups, LabelsToGroup, Placements
from ictc.steps.synthesis.placing import place_among
from ictc.steps.synthesis.proposing import Aim

SMALL_SHARE = 0.01
"""A group with less of the images is asked about."""
LABELS_SHOWN = 8
METHOD = 1
"""Another one where other groups would be merged for the same answers."""


async def merge_small(
    ask: AskAll, groups: Groups, *, labels: LabelsToGroup, placements: Placements, aim: Aim
) -> Groups:
    """Return the groups, those that are small and belong to the group next to them merged with it; two stay.

    Args:
        placements: the proposals that the groups are from.

    Raises:
        EngineError: the engine cannot go on.
    """
    merges = labels.plan_merges(groups, placements, min_share=SMALL_SHARE)[: groups.number - MIN_CLUSTERS]
    gathered = {number: {number} for number in range(groups.number)}
    dialogues = []
    for rank, merge in enumerate(merges, start=1):
        small, into = (say_labels(groups, gathered[part]) for part in (merge.small, merge.into))
        other = ClusterDefinition(1, name=into.partition(";")[0], description=f"images with such labels: {into}")
        dialogues.append(
            place_among(small, make_options([other], allow_none=True), aim=aim, name=f"merge-{rank}-of-{groups.number}")
        )
        gathered[merge.into] |= gathered[merge.small]
    answers = await hold(ask, dialogues)
    wanted = [merge for merge, answer in zip(merges, answers, strict=True) if answer is not None]
    return labels.merge(groups, wanted, placements) if wanted else groups


def say_labels(groups: Groups, parts: set[int]) -> str:
    """Return the most frequent labels of groups, numbered from 0, as one text."""
    return "; ".join(groups.labels_of({part + 1 for part in parts})[:LABELS_SHOWN])
