"""Step 3: every valid ad gets exactly one of the K clusters, by a closed choice."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from random import Random
from typing import Any

from ictc.engines.base import Answer, ChoiceAnswer, GenerationRequest, Task
from ictc.errors import InvalidAnswer
from ictc.records import ClusterDefinition, LabeledCaption, StageName
from ictc.stages.label import shorten
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.work import WorkItem
from ictc.storage.keys import digest
from ictc.tracks.base import Track, image_inputs, image_json

MAX_TOKENS = 16
CONFIDENCE_DIGITS = 4


@dataclass(frozen=True)
class AssignStage:
    """Ask for the cluster of every caption.

    The clusters stand in another order for each caption, drawn from the seed and its words, so that a model's liking
    for the first or last option evens out, and equal captions get equal requests.
    """

    labeled_captions: Callable[[], Iterator[WorkItem[LabeledCaption]]]
    clusters: tuple[ClusterDefinition, ...]
    track: Track
    criterion: str
    seed: int
    name: StageName = "assign"

    @cached_property
    def _described(self) -> dict[int, dict[str, Any]]:
        return {cluster.cluster_id: asdict(cluster) for cluster in self.clusters}

    def iter_items(self) -> Iterator[WorkItem[LabeledCaption]]:
        return self.labeled_captions()

    async def find_source(self, item: LabeledCaption) -> None:
        """Return None: equal captions with equal labels have equal input digests."""

    async def build_request(self, item: LabeledCaption, attempt: Attempt) -> GenerationRequest | Outcome:
        caption, label = shorten(item[0], attempt.text_share), item[1]
        options = self._options(item)
        lines = (f"{letters}. {cluster.name}: {cluster.description}" for letters, cluster in options.items())
        return GenerationRequest(
            request_id=caption.image_id,
            task=Task.ASSIGN,
            messages=self.track.assign.render(
                criterion=self.criterion, clusters="\n".join(lines), image=image_json(caption, label)
            ),
            answer=ChoiceAnswer(tuple(options)),
            sampling=attempt.sampling(MAX_TOKENS, self.seed),
            inputs={
                "criterion": self.criterion,
                **image_inputs(caption, label),
                "options": {letters: self._described[cluster.cluster_id] for letters, cluster in options.items()},
            },
        )

    def parse_answer(self, item: LabeledCaption, answer: Answer) -> Outcome:
        options = self._options(item)
        cluster = options.get(answer.text)
        if cluster is None:
            raise InvalidAnswer(f"{answer.text[:40]!r} is none of the {len(self.clusters)} clusters")
        confidence = runner_up = None
        if answer.scores is not None:
            confidence = round(answer.scores[answer.text], CONFIDENCE_DIGITS)
            others = [letters for letters in options if letters != answer.text]
            runner_up = options[max(others, key=answer.scores.__getitem__)].cluster_id
        return Outcome(
            Status.DONE, {"cluster_id": cluster.cluster_id, "confidence": confidence, "runner_up": runner_up}
        )

    def _options(self, item: LabeledCaption) -> dict[str, ClusterDefinition]:
        """Return the clusters by their letters, in the order for these words."""
        shuffled = list(self.clusters)
        Random(f"{self.seed}/{digest(image_inputs(*item))}").shuffle(shuffled)
        return dict(zip(option_letters(len(shuffled)), shuffled, strict=True))


def option_letters(count: int) -> list[str]:
    """Return `count` option names: A to Z, then a to z, all one token each; two letters beyond 52.

    >>> option_letters(3)
    ['A', 'B', 'C']
    """
    letters = string.ascii_uppercase + string.ascii_lowercase
    if count <= len(letters):
        return list(letters[:count])
    return [first + second for first in string.ascii_uppercase for second in string.ascii_uppercase][:count]
