"""Step 2a: a label of two to four words for each captioned image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ictc.engines.base import Answer, GenerationRequest, JsonAnswer, Task
from ictc.records import Caption, StageName
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.storage.keys import digest
from ictc.tracks.base import Track, image_inputs, image_json, parse_label

MAX_TOKENS = 200


@dataclass(frozen=True)
class LabelStage:
    """Ask for the label of every caption.

    Attributes:
        iter_captions: yields the valid ads' captions in the order of the manifest.
    """

    iter_captions: Callable[[], Iterator[Caption]]
    track: Track
    criterion: str
    seed: int
    name: StageName = "label"

    def iter_items(self) -> Iterator[Caption]:
        return self.iter_captions()

    def identify(self, item: Caption) -> tuple[str, str]:
        return item.image_id, label_input(item)

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


def label_input(caption: Caption) -> str:
    """Return a digest of what the label of `caption` is made from."""
    return digest(caption)


def shorten(caption: Caption, share: float) -> Caption:
    """Return the caption with only the first `share` of its text and summary."""
    if share >= 1:
        return caption
    text, summary = (value[: int(len(value) * share)] for value in (caption.text, caption.summary))
    return replace(caption, text=text, summary=summary)
