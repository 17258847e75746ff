"""Step 2b at work: the clusters of one answer, or those that several answers agree on.

Several answers are had from samples of the labels. Each label is placed among the clusters of each of them, and labels
that are placed alike make a group; only then is a name asked for each group. So no cluster hangs on the one answer, and
a label that no answer read has its place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ictc.config.groups import LEAST_TO_COMPARE
from ictc.config.levels import MIN_CLUSTERS, LevelSize
from ictc.errors import StageError
from ictc.records import Guide, GuideCluster
from ictc.stages.dialogue import Dialogue, hold
from ictc.stages.work import AskAll, ReduceTask
from ictc.steps.histogram import Counted, LabelHistogram
from ictc.steps.synthesis.agreeing import Groups, LabelsToGroup, find_absent
from ictc.steps.synthesis.dividing import Divider, first_number, labels_at_once
from ictc.steps.synthesis.merging import merge_small
from ictc.steps.synthesis.naming import LabelGroup, name_groups
from ictc.steps.synthesis.nesting import LevelGroups, name_levels
from ictc.steps.synthesis.placing import place
from ictc.steps.synthesis.proposing import Aim, Proposal, Proposer
from ictc.steps.synthesis.result import PlacedLabel, StabilityOfNumber, Synthesis

logger = logging.getLogger(__name__)

EXAMPLES_OF_GROUP = 3


@dataclass(frozen=True, kw_only=True)
class SynthesizeTask(ReduceTask[Synthesis]):
    """Makes the clusters of the whole collection.

    Attributes:
        labels: all of them.
        num_labels: how many of them, the most frequent ones, one prompt lists.
        num_proposals: how often clusters are asked for.
        chooses_number: whether the number of clusters is to be chosen, up to that of the aim.
        levels: that are wanted, the coarsest first, the last being about the aim; () for clusters that are not nested.
        examples: a caption for each of the most frequent labels.
        guide: what is known of the clusters beforehand; needs several proposals.
    """

    aim: Aim
    labels: LabelHistogram
    num_labels: int
    num_proposals: int = 1
    chooses_number: bool = False
    levels: tuple[LevelSize, ...] = ()
    examples: Mapping[str, str] = field(default_factory=dict)
    guide: Guide = field(default_factory=Guide)

    @cached_property
    def head(self) -> LabelHistogram:
        """The labels that one prompt lists if there is room."""
        return self.labels.head(self.num_labels)

    @property
    def announcement(self) -> str:  # type: ignore[override]
        """From how many labels how many clusters are made."""
        head = self.head
        number = f"{self.aim.num_clusters}" if not self.chooses_number else f"2 to {self.aim.num_clusters}"
        if self.levels:
            number = f"{' > '.join(str(level.num_clusters) for level in self.levels)} nested ones"
        of_what = (
            f"{number} from {head.num_distinct:,} labels; the {len(head.labels)} most frequent ones cover "
            f"{head.coverage:.0%} of the images"
        )
        return of_what if self.num_proposals == 1 else f"{of_what}; what {self.num_proposals} proposals agree on"

    def remark(self, result: Synthesis) -> str:
        """Return what there is to say of K, of labels without room and of the guide, "" if nothing."""
        return "; ".join(filter(None, (tell_of_number(result), self._tell_of_room(result), self._tell_of_absent())))

    def _tell_of_room(self, result: Synthesis) -> str:
        if result.num_labels is None:
            return ""
        read = self.head.head(result.num_labels)
        return (
            f"the context had room for {result.num_labels} of these labels, which cover {read.coverage:.0%} of the "
            "images; a longer --max_model_len with --force_steps 2b,3 reads more"
        )

    def _tell_of_absent(self) -> str:
        absent = find_absent(self.guide, self.labels.labels)
        return f"no image has the labels {', '.join(map(repr, absent[:5]))} of --guide" if absent else ""

    async def run(self, ask: AskAll) -> Synthesis:
        """Return the K definitions, and what they were made from."""
        if self.num_proposals > 1:
            return await self._agree(ask)
        [proposal] = await hold(ask, [Proposer(aim=self.aim, histogram=self.head, name="synthesize").propose()])
        num_read = len(proposal.read.labels)
        return Synthesis(proposal.definitions, num_read if num_read < len(self.head.labels) else None)

    async def _agree(self, ask: AskAll) -> Synthesis:
        """Return the K clusters that several proposals agree on."""
        proposals = await self._propose_all(ask)
        read = [proposal for each in proposals.values() for proposal in each]
        labels = LabelsToGroup(counted=self._labels_to_place(read), guide=self.guide)
        placements = {
            number: [
                await self._place(ask, labels, proposal, self.aim.of(number), rank)
                for rank, proposal in enumerate(each, start=1)
            ]
            for number, each in proposals.items()
        }
        if self.levels:
            return await self._name_levels(ask, labels.group_levels(placements))
        chosen = self.aim.num_clusters
        curve: tuple[StabilityOfNumber, ...] = ()
        if self.chooses_number:
            chosen, curve = labels.choose_number(placements)
        groups = labels.group(placements[chosen], chosen)
        if self.chooses_number and self.guide == Guide():  # what a guide tells apart stays apart
            groups = await merge_small(
                ask, groups, labels=labels, placements=placements[chosen], aim=self.aim.of(chosen)
            )
        number = groups.number
        definitions = await name_groups(ask, self._describe(groups, number, takes_names=True), self.aim.of(number))
        return Synthesis(definitions, placed=tuple(groups.placed), curve=curve, num_merged=chosen - number)

    async def _name_levels(self, ask: AskAll, groups: Sequence[Groups]) -> Synthesis:
        """Return nested clusters; those of a guide are on the finest level."""
        levels = [
            LevelGroups(
                size=size,
                groups=self._describe(mine, size.num_clusters, takes_names=size == self.levels[-1]),
                parents=() if above is None else mine.parents_in(above),
            )
            for size, mine, above in zip(self.levels, groups, (None, *groups[:-1]), strict=True)
        ]
        named = await name_levels(ask, levels, self.aim)
        return Synthesis(named[-1].clusters, placed=tuple(groups[-1].placed), levels=named)

    def _numbers_to_try(self) -> Sequence[int]:
        """Return the numbers of clusters to make proposals of."""
        if self.levels:
            return [level.num_clusters for level in self.levels]
        most = min(self.aim.num_clusters, len(self.labels.labels))
        return range(max(MIN_CLUSTERS, len(self.guide.clusters)), most + 1) if self.chooses_number else [most]

    async def _propose_all(self, ask: AskAll) -> dict[int, list[Proposal]]:
        """Return proposals by their number of clusters; of those to choose from, up to the first that can't be made.

        Raises:
            StageError: the model can't make what it must.
        """
        proposals: dict[int, list[Proposal]] = {}
        for number in self._numbers_to_try():
            try:
                proposals[number] = await self._propose(ask, self.aim.of(number))
            except StageError as error:
                if not proposals or not self.chooses_number:
                    raise
                logger.warning("no more than %d clusters are tried: %s", number - 1, error)
                break
        return proposals

    async def _propose(self, ask: AskAll, aim: Aim) -> list[Proposal]:
        """Return several sets of clusters, each from a sample of its own.

        Raises:
            StageError: too many of the answers were no K distinct clusters.
        """
        made = await hold(ask, [try_to_propose(self._proposer(aim, number)) for number in range(self.num_proposals)])
        proposals = [one for one in made if isinstance(one, Proposal)]
        failures = [one for one in made if isinstance(one, StageError)]
        least = LEAST_TO_COMPARE if self.chooses_number else 1
        if failures and len(proposals) < max(least, self.num_proposals // 2 + 1):
            raise failures[-1]
        for failure in failures:
            logger.warning("one of %d proposals is left out: %s", self.num_proposals, failure)
        return proposals

    async def _place(
        self, ask: AskAll, labels: LabelsToGroup, proposal: Proposal, aim: Aim, rank: int
    ) -> list[int | None]:
        """Return in which cluster of a proposal each name is, of one with fewer than were aimed at: once divided."""
        is_one_of_many = self.chooses_number or self.levels
        prefix = f"place-{rank}-of-{aim.num_clusters}" if is_one_of_many else f"place-{rank}"
        names = labels.names
        dialogues = [
            place(name, proposal, aim=self.aim, name=f"{prefix}-{row}") for row, name in enumerate(names, start=1)
        ]
        row = await hold(ask, dialogues)
        if len(proposal.definitions) == aim.num_clusters:
            return row
        return await Divider(aim=aim, counted=labels.counted, name=prefix).divide(ask, names, row)

    def _proposer(self, aim: Aim, number: int) -> Proposer:
        """Return what asks for one proposal, from a sample of its own."""
        num_labels = labels_at_once(self.num_labels, num_clusters=aim.num_clusters)
        aim = aim.of(first_number(aim.num_clusters))
        sample = self.labels.resample(draw=f"{aim.seed}/{number}").head(num_labels)
        if len(sample.labels) < aim.num_clusters:  # so few labels that a sample may lack some
            sample = self.labels.head(num_labels)
        return Proposer(aim=aim, histogram=sample, name=f"synthesize-{number + 1}")

    def _labels_to_place(self, proposals: Sequence[Proposal]) -> list[Counted]:
        """Return the most frequent labels, and whatever others a proposal was made from, with their counts."""
        read = {label for proposal in proposals for label, _ in proposal.read.labels}
        return [
            counted for rank, counted in enumerate(self.labels.labels) if rank < self.num_labels or counted[0] in read
        ]

    def _describe(self, groups: Groups, num_groups: int, *, takes_names: bool) -> list[LabelGroup]:
        """Return what groups are named from; those that the guide names have their name if they take it."""
        placed: list[list[PlacedLabel]] = [[] for _ in range(num_groups)]
        for one in groups.placed:
            placed[one.cluster_id - 1].append(one)
        return [
            self._describe_one(mine, groups.guided.get(number, ()), takes_name=takes_names)
            for number, mine in enumerate(placed, start=1)
        ]

    def _describe_one(
        self, placed: Sequence[PlacedLabel], known: Sequence[GuideCluster], *, takes_name: bool
    ) -> LabelGroup:
        examples = [self.examples[one.label] for one in placed if one.label in self.examples]
        labels = [(one.label, one.count) for one in placed]
        labels = labels or [(one.name, 0) for one in known]  # it must be there, whether images have such labels or not
        group = LabelGroup(labels=labels, examples=examples[:EXAMPLES_OF_GROUP])
        if not known or not takes_name:
            return group
        return replace(group, name=known[0].name, description=known[0].description)


def tell_of_number(result: Synthesis) -> str:
    """Return how many clusters were chosen, and by what, "" if their number was given."""
    if not result.curve:
        return ""
    best = max(result.curve, key=lambda point: point.stability)
    number = len(result.definitions) + result.num_merged
    chosen = next(point for point in result.curve if point.num_clusters == number)
    merged = f"; small groups merged with the ones next to them: {result.num_merged}" if result.num_merged else ""
    return (
        f"{chosen.num_clusters} clusters, the fewest on which proposals agree as well as on any number: stability "
        f"{chosen.stability:.2f}, at best {best.stability:.2f} ± {best.error:.2f} with {best.num_clusters}{merged}"
    )


def try_to_propose(proposer: Proposer) -> Dialogue[Proposal | StageError]:
    """Come to a proposal, or to why there is none: the others may do without it."""
    try:
        return (yield from proposer.propose())
    except StageError as error:
        return error
