"""Step 2a: a label of two to four words for each captioned image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import orjson

from ictc.engines.base import Answer, GenerationRequest, JsonAnswer, Task
from ictc.records import Caption
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.work import ImageReader, WorkItem, no_items
from ictc.steps.base import JsonFile, MapStep, TypicalRequest, View
from ictc.steps.caption import CAPTION, caption_of
from ictc.steps.config import StepConfig
from ictc.steps.results import Results
from ictc.storage.entries import Entry
from ictc.storage.forms import MAPPING
from ictc.storage.keys import StageKey
from ictc.tracks.answers import parse_label
from ictc.tracks.base import Track, image_inputs, image_json
from ictc.tracks.typical import TYPICAL_LABEL, typical_ad

MAX_TOKENS = 200

LABELS_FILE = "step2a_hooks.json"


def iter_labels(results: Results) -> Iterator[tuple[str, str]]:
    """Yield id and label of the captioned images that have one."""
    return (
        (image_id, label_of(results, image_id))
        for image_id in results.iter_ids(CAPTION, Status.DONE)
        if has_label(results, image_id)
    )


def export_labels(view: View) -> Iterator[Entry]:
    """Yield the same, for a file."""
    return iter_labels(view.results)


class LabelStep(MapStep[Caption]):
    """Step 2a."""

    name = "label"
    number = "2a"
    title = "Step 2a labels"
    about = "a label for each ad"
    needs = (CAPTION,)
    follows = CAPTION
    of_a_part = True
    of_input = "another caption"
    files = (JsonFile(name=LABELS_FILE, form=MAPPING, entries=export_labels),)

    def key(self, config: StepConfig, results: Results) -> StageKey:
        prompt = config.track.prompts[self.name]
        key = config.model_key(self.role, prompt, uses_criterion=config.track.label.uses("criterion"))
        if config.has_imported_labels:
            key["imported"] = "labels"
        return key

    def iter_items(self, results: Results) -> Iterator[WorkItem[Caption]]:
        for image_id in results.iter_ids(CAPTION, Status.DONE):
            yield WorkItem(
                image_id,
                input_digest=results.fingerprint(CAPTION, image_id),
                load=partial(caption_of, results, image_id),
            )

    def stage(self, config: StepConfig, results: Results, reader: ImageReader | None) -> LabelStage:
        return LabelStage(
            items=partial(self.iter_items, results), track=config.track, criterion=config.criterion, seed=config.seed
        )

    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        image = image_json(typical_ad(config.track))
        prompt = config.track.label.render(criterion=config.criterion, image=image)
        return [TypicalRequest(prompt=prompt, answer=orjson.dumps({"label": TYPICAL_LABEL}).decode())]

    def sense_of(self, results: Results) -> Callable[[Mapping[str, Any]], bool]:
        return lambda record: record["status"] == Status.DONE and bool(record["data"].get("label"))


LABEL = LabelStep()


def has_label(results: Results, image_id: str) -> bool:
    """Whether this very caption of an image was labelled."""
    return results.is_about(LABEL, image_id, input_digest=results.fingerprint(CAPTION, image_id))


def label_of(results: Results, image_id: str) -> str:
    """Return the label of an image's caption as it is now, "" if there is none."""
    if not has_label(results, image_id):
        return ""
    label: str = results.record(LABEL, image_id)["data"]["label"]
    return label


def count_labels(results: Results) -> Counter[str]:
    """Return how many captioned images carry each label."""
    return results.once(_count_labels, CAPTION, LABEL)


def _count_labels(results: Results) -> Counter[str]:
    return Counter(label for _, label in iter_labels(results))


@dataclass(frozen=True, kw_only=True)
class LabelStage:
    """Asks for the label of every caption.

    Attributes:
        items: yields the captioned images in the order of the manifest.
    """

    items: Callable[[], Iterator[WorkItem[Caption]]]
    track: Track
    criterion: str
    seed: int
    name: str = LABEL.name
    reads_images: bool = False

    def detached(self) -> Self:
        return replace(self, items=no_items)

    def iter_items(self) -> Iterator[WorkItem[Caption]]:
        return self.items()

    async def find_source(self, item: Caption) -> None:
        """Return None: equal captions have equal input digests."""

    async def build_request(self, item: Caption, attempt: Attempt) -> GenerationRequest | Outcome:
        caption = shorten(item, attempt.text_share)
        return GenerationRequest(
            request_id=item.image_id,
            task=Task.LABEL,
            messages=self.track.label.render(criterion=self.criterion, image=image_json(caption)),
            answer=JsonAnswer(self.track.label.schema),
            sampling=attempt.sampling(max_tokens=MAX_TOKENS, seed=self.seed),
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
