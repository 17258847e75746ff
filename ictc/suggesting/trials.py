"""Tries criteria out on the sample: labels by each, two sets of values from two halves, each image in one of each.

What is asked is what a run asks in Steps 2a, 2b and 3, so a criterion is judged by what it would do there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from ictc.config.groups import DEFAULT_TOP_HOOKS
from ictc.engines.base import GenerationRequest
from ictc.errors import StageError
from ictc.records import Caption, ClusterDefinition
from ictc.stages.dialogue import Dialogue, hold
from ictc.stages.judging import judge
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import FIRST, next_attempt
from ictc.stages.work import AskAll, MapStage, no_items
from ictc.steps.choosing import AssignStage
from ictc.steps.histogram import build_histogram
from ictc.steps.label import LabelStage
from ictc.steps.options import make_options
from ictc.steps.synthesis.proposing import Aim, Proposer
from ictc.suggesting.sample import shuffle
from ictc.tracks import Track

logger = logging.getLogger(__name__)

KeyT = TypeVar("KeyT")

Half = tuple[str, int]
"""A criterion, and which half of the sample values are made from: 0 or 1."""

Values = tuple[ClusterDefinition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a stage asks about one item, under a name that no other question has."""

    name: str
    stage: MapStage[Any]
    item: Any


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of a criterion on the sample.

    Attributes:
        labels: of the captions that got one, by image id.
        values: made from the labels of either half.
        placed: the number of the value of each image in either set; images without one are left out.
    """

    criterion: str
    labels: Mapping[str, str]
    values: tuple[Values, Values]
    placed: tuple[Mapping[str, int], Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Criteria that are tried out on the same captions."""

    captions: Sequence[Caption]
    track: Track
    num_values: int
    seed: int

    async def try_all(self, ask: AskAll, criteria: Sequence[str]) -> list[Tried]:
        """Return what came of each criterion.

        Raises:
            EngineError: the engine cannot go on.
        """
        labels = await self._label(ask, criteria)
        values = await self._find_values(ask, labels)
        placed = await self._place(ask, labels, values)
        return [
            Tried(
                criterion=criterion,
                labels=labels[criterion],
                values=(values[criterion, 0], values[criterion, 1]),
                placed=(placed[criterion, 0], placed[criterion, 1]),
            )
            for criterion in criteria
        ]

    async def _label(self, ask: AskAll, criteria: Sequence[str]) -> dict[str, dict[str, str]]:
        questions: dict[tuple[str, str], Question] = {}
        for number, criterion in enumerate(criteria):
            stage = LabelStage(items=no_items, track=self.track, criterion=criterion, seed=self.seed)
            for caption in self.captions:
                name = f"label-{number}-{caption.image_id}"
                questions[criterion, caption.image_id] = Question(name=name, stage=stage, item=caption)
        labels: dict[str, dict[str, str]] = {criterion: {} for criterion in criteria}
        for (criterion, image_id), outcome in (await answer_all(ask, questions)).items():
            if outcome.status is Status.DONE:
                labels[criterion][image_id] = outcome.data["label"]
        return labels

    async def _find_values(self, ask: AskAll, labels: Mapping[str, Mapping[str, str]]) -> dict[Half, Values]:
        """Return the values that are made from the labels of each half; () where all of those are one label."""
        proposers = {
            (criterion, half): self._proposers(criterion, of_images, half=half, name=f"values-{number}-{half}")
            for number, (criterion, of_images) in enumerate(labels.items())
            for half in (0, 1)
        }
        dialogues = {half: first_valid(some) for half, some in proposers.items() if some}
        values: dict[Half, Values] = dict.fromkeys(proposers, ())
        return values | dict(zip(dialogues, await hold(ask, [*dialogues.values()]), strict=True))

    def _proposers(self, criterion: str, labels: Mapping[str, str], *, half: int, name: str) -> list[Proposer]:
        """Return what asks for the values of a half: for K of them, or where that comes to nothing, fewer."""
        counts = Counter(label for image_id, label in labels.items() if self._half_of[image_id] == half)
        histogram = build_histogram(counts, seed=self.seed).head(DEFAULT_TOP_HOOKS)
        return [
            Proposer(
                aim=Aim(track=self.track, criterion=criterion, num_clusters=number, seed=self.seed),
                histogram=histogram,
                name=f"{name}-{number}",
            )
            for number in range(min(self.num_values, len(histogram.labels)), 1, -1)
        ]

    async def _place(
        self, ask: AskAll, labels: Mapping[str, Mapping[str, str]], values: Mapping[Half, Values]
    ) -> dict[Half, dict[str, int]]:
        """Return where each image is among the values of each half; where there are none, all are in one."""
        questions: dict[tuple[Half, str], Question] = {}
        placed: dict[Half, dict[str, int]] = {}
        for number, (half, clusters) in enumerate(values.items()):
            of_images = labels[half[0]]
            placed[half] = {} if clusters else dict.fromkeys(of_images, 1)
            # Values stand in another order for each image, and again for each half: a model that likes the first one
            # would else seem to be sure.
            seed = self.seed + half[1]
            options = make_options(clusters, allow_none=False)
            stage = AssignStage(items=no_items, options=options, prompt=self.track.assign, criterion=half[0], seed=seed)
            for caption in self.captions if clusters else ():
                item = caption, of_images.get(caption.image_id, "")
                name = f"place-{number}-{caption.image_id}"
                questions[half, caption.image_id] = Question(name=name, stage=stage, item=item)
        for (half, image_id), outcome in (await answer_all(ask, questions)).items():
            if outcome.status is Status.DONE:
                placed[half][image_id] = outcome.data["cluster_id"]
        return placed

    @cached_property
    def _half_of(self) -> dict[str, int]:
        """In which half of the sample each image is: 0 or 1."""
        shuffled = shuffle((caption.image_id for caption in self.captions), self.seed)
        return {image_id: place % 2 for place, image_id in enumerate(shuffled)}


def first_valid(proposers: Sequence[Proposer]) -> Dialogue[Values]:
    """Come to the clusters of the first proposer that gets some, () if none does."""
    for proposer in proposers:
        try:
            proposal = yield from proposer.propose()
        except StageError as error:
            logger.info("%s: %s", proposer.name, error)
            continue
        return proposal.definitions
    return ()


async def answer_all(ask: AskAll, questions: Mapping[KeyT, Question]) -> dict[KeyT, Outcome]:
    """Return the outcome of each question; what fails is asked again as in a run.

    Raises:
        EngineError: the engine cannot go on.
    """
    outcomes: dict[KeyT, Outcome] = {}
    attempts = dict.fromkeys(questions, FIRST)
    while attempts:
        asked: dict[KeyT, GenerationRequest] = {}
        for key, attempt in attempts.items():
            question = questions[key]
            request = await question.stage.build_request(question.item, attempt)
            if isinstance(request, Outcome):
                outcomes[key] = request
            else:
                asked[key] = replace(request, request_id=question.name)
        failures: dict[KeyT, str] = {}
        for key, result in zip(asked, await ask([*asked.values()]), strict=True):
            outcomes[key], failure = judge(questions[key].stage, questions[key].item, result)
            if failure is not None:
                failures[key] = failure
        following = {key: next_attempt(attempts[key], failure) for key, failure in failures.items()}
        attempts = {key: attempt for key, attempt in following.items() if attempt is not None}
    return outcomes
