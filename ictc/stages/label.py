"""Step 2a: a label of two to four words for each captioned image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ictc.engines.base import Answer, GenerationRequest, JsonAnswer, Task
from ictc.records import Caption, StageName
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.work import WorkItem
from ictc.tracks.base import Track, image_inputs, image_json, parse_label

MAX_TOKENS = 200


@dataclass(frozen=True)
class LabelStage:
    """Ask for the label of every caption.

    Attributes:
        captions: yields the valid ads in the order of the manifest.
    """

    captions: Callable[[], Iterator[WorkItem[Caption]]]
    track: Track
    criterion: str
    seed: int
    name: StageName = "label"

    def iter_items(self) -> Iterator[WorkItem[Caption]]:
        return self.captions()

    async def find_source(self, item: Caption) -> None:
        """Return None: equal captions have equal input digests."""

    async def build_request(self, item: Caption, attempt: Attempt) -> GenerationRequest | Outcome:
        caption = shorten(item, attempt.text_share)
        return GenerationRequest(
            request_id=item.image_id,
            task=Task.LABEL,
            messages=self.track.label.render(criterion=self.criterion, image=image_json(caption)),
            answer=JsonAnswer(self.track.label.schema),
            sampling=attempt.sampling(MAX_TOKENS, self.seed),
            inputs={"criterion": self.criterion, **image_inputs(caption)},
        )

    def parse_answer(self, item: Caption, answer: Answer) -> Outcome:
        return Outcome(Status.DONE, {"label": parse_label(answer.text, self.track.label.answer)})


def shorten(caption: Caption, share: float) -> Caption:
    """Return the caption with only the first `share` of its text and summary."""
    if share >= 1:
        return caption
    text, summary = (value[: int(len(value) * share)] for value in (caption.text, caption.summary))
    return replace(caption, text=text, summary=summary)
