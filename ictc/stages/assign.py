"""Step 3: every valid ad gets exactly one of the K clusters, by a closed choice."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from random import Random

from ictc.engines.base import Answer, ChoiceAnswer, GenerationRequest, Task
from ictc.errors import InvalidAnswer
from ictc.records import ClusterDefinition, LabeledCaption, StageName
from ictc.stages.label import shorten
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.work import WorkItem
from ictc.tracks.base import Track, image_inputs, image_json

MAX_TOKENS = 16
CONFIDENCE_DIGITS = 4


@dataclass(frozen=True)
class AssignStage:
    """Ask for the cluster of every caption.

    The clusters stand in another order for each image, drawn from the seed and the image id, so that a
    model's liking for the first or last option evens out.
    """

    labeled_captions: Callable[[], Iterator[WorkItem[LabeledCaption]]]
    clusters: tuple[ClusterDefinition, ...]
    track: Track
    criterion: str
    seed: int
    name: StageName = "assign"

    def iter_items(self) -> Iterator[WorkItem[LabeledCaption]]:
        return self.labeled_captions()

    async def build_request(self, item: LabeledCaption, attempt: Attempt) -> GenerationRequest | Outcome:
        caption, label = shorten(item[0], attempt.text_share), item[1]
        options = self._options(caption.image_id)
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
                "options": {letters: asdict(cluster) for letters, cluster in options.items()},
            },
        )

    def parse_answer(self, item: LabeledCaption, answer: Answer) -> Outcome:
        cluster = self._options(item[0].image_id).get(answer.text)
        if cluster is None:
            raise InvalidAnswer(f"{answer.text[:40]!r} is none of the {len(self.clusters)} clusters")
        confidence = None if answer.scores is None else round(answer.scores[answer.text], CONFIDENCE_DIGITS)
        return Outcome(Status.DONE, {"cluster_id": cluster.cluster_id, "confidence": confidence})

    def _options(self, image_id: str) -> dict[str, ClusterDefinition]:
        """Return the clusters by their letters, in this image's own order."""
        shuffled = list(self.clusters)
        Random(f"{self.seed}/{image_id}").shuffle(shuffled)
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
