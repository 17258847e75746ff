"""Step 1: the vision-language model describes each image and sets interface screens apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import orjson

from ictc.dataset.catalog.versions import read_contents
from ictc.engines.base import Answer, GenerationRequest, JsonAnswer, Task
from ictc.records import BrokenImage, Caption, ImageRecord, Source, UnreadableImage
from ictc.stages.combined import PARTS, combine_lanes
from ictc.stages.lane import Lane
from ictc.stages.outcome import Outcome, Status, content_of, unreadable
from ictc.stages.retry import Attempt
from ictc.stages.sharing import lead_all
from ictc.stages.work import ImageReader, WorkItem, no_items
from ictc.steps.base import JsonFile, MapStep, TypicalRequest, View
from ictc.steps.config import StepConfig
from ictc.steps.finding import Finding, name_some
from ictc.steps.image_links import FOLDERS, iter_names, linking_images
from ictc.steps.results import Results
from ictc.storage.entries import Entry
from ictc.storage.forms import MAPPING
from ictc.storage.keys import StageKey, digest
from ictc.tracks.answers import parse_caption
from ictc.tracks.base import Track, image_inputs
from ictc.tracks.combined import CombinedCaptions
from ictc.tracks.typical import typical_ad

MAX_TOKENS = 1024
MIN_IMAGE_TOKENS = 64

CAPTION_FIELDS = tuple(one.name for one in fields_of(Caption) if one.name != "image_id")

IMAGES_FILE = "image_mapping.json"
IMAGE_FIELDS = ("path", "platform", "ad_format", "timestamp")
CAPTIONS_FILE = "step1_captions.json"
UI_ONLY_FILE = "ui_only_images.json"
BROKEN_FILE = "broken_images.json"
LINKS_FOLDER = "categorized_images"


def iter_images(view: View) -> Iterator[Entry]:
    """Yield where each image is and what the metadata says of it."""
    for image in view.results.manifest:
        yield image.image_id, {name: getattr(image, name) for name in IMAGE_FIELDS}


def iter_flat(view: View, status: Status) -> Iterator[Entry]:
    """Yield the images that left the step in this way as users see them, a track's own fields beside the others."""
    for image_id, data in view.results.iter_data(CAPTION, status):
        fields = {name: value for name, value in data.items() if name not in ("ui_only", "analysis")}
        yield image_id, {**fields, **data.get("analysis", {})}


def iter_ui_only(view: View) -> Iterator[Entry]:
    """Yield the screens that were set apart, with what was seen on them."""
    for image_id, fields in iter_flat(view, Status.UI_ONLY):
        yield image_id, {"reason": "the screen shows only the interface of an app", **fields}


class CaptionStep(MapStep[ImageRecord]):
    """Step 1."""

    name = "caption"
    number = "1"
    title = "Step 1 captions"
    about = "what is in the image"
    role = "vlm"
    of_a_part = True
    reads_images = True
    links_images = True
    of_input = "another image"
    files = (
        JsonFile(name=IMAGES_FILE, form=MAPPING, entries=iter_images),
        JsonFile(name=CAPTIONS_FILE, form=MAPPING, entries=partial(iter_flat, status=Status.DONE)),
        JsonFile(name=UI_ONLY_FILE, form=MAPPING, entries=iter_ui_only),
        JsonFile(name=BROKEN_FILE, form=MAPPING, entries=partial(iter_flat, status=Status.BROKEN)),
    )

    def key(self, config: StepConfig, results: Results) -> StageKey:
        prompt = config.track.prompts[self.name]
        key = config.model_key(self.role, prompt, uses_criterion=config.track.caption.uses("criterion"))
        key["max_image_tokens"] = config.vlm.max_image_tokens
        if config.dedupe == "near":  # exact copies change nothing
            key["dedupe"] = "near"
        if config.combined:
            key["combined"] = config.combined
        return key

    def compares_looks(self, key: StageKey) -> bool:
        return key.get("dedupe") == "near"

    def iter_items(self, results: Results) -> Iterator[WorkItem[ImageRecord]]:
        return map(_work_item, results.manifest)

    def stage(self, config: StepConfig, results: Results, reader: ImageReader | None) -> CaptionStage:
        return CaptionStage(
            items=partial(self.iter_items, results),
            track=config.track,
            criterion=config.criterion,
            reader=reader,
            max_image_tokens=config.vlm.max_image_tokens,
            seed=config.seed,
        )

    def combine(self, lanes: Sequence[Lane[ImageRecord]]) -> Sequence[Lane[ImageRecord]]:
        stages = tuple(lane.stage for lane in lanes if isinstance(lane.stage, CaptionStage))
        return [combine_lanes(CombinedCaptionStage(stages), lanes)] if len(stages) > 1 else lanes

    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        answer = {**image_inputs(typical_ad(config.track)), "ui_only": False}
        prompt = config.track.caption.render(criterion=config.criterion)
        return [TypicalRequest(prompt=prompt, answer=orjson.dumps(answer).decode())]

    def export(self, directory: Path, view: View) -> None:
        outcomes = view.results.iter_statuses(self)
        with linking_images(directory / LINKS_FOLDER, view.results.manifest, outcomes):
            super().export(directory, view)

    def check_exports(self, directory: Path, view: View) -> Iterator[Finding]:
        manifest = view.results.manifest
        ads_dir = manifest.key["ads_dir"]
        names = [name for _, name in iter_names(manifest, ads_dir)]
        for status, folder_name in FOLDERS.items():
            folder = directory / LINKS_FOLDER / folder_name
            outcomes = zip(names, view.results.iter_statuses(self), strict=True)
            expected = {name for name, outcome in outcomes if outcome == status and name is not None}
            there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
            if strange := sorted(there - expected):
                problem = f"has {len(strange):,} images that do not belong there ({name_some(strange)})"
                yield Finding("export", folder, problem)
            missing = sorted(expected - there)
            # A file that could not be read may have vanished; and a merge or an import may see none of the images.
            may_be_away = status is Status.BROKEN or "imported" in manifest.key or not Path(ads_dir).is_dir()
            if missing and not may_be_away:
                yield Finding("export", folder, f"lacks {len(missing):,} images ({name_some(missing)})")

    def find_foreign(self, results: Results, key: StageKey) -> Iterable[str]:
        return {*find_replaced(results), *(find_misled(results) if self.compares_looks(key) else ())}


CAPTION = CaptionStep()


def find_replaced(results: Results) -> Iterator[str]:
    """Yield the images, of those that this machine can read, whose record is about another content."""
    key, journal = results.manifest.key, results.journals[CAPTION]
    if "imported" in key:  # its records are about captions, not about images
        return
    for image, content in read_contents(str(key.get("base", key["ads_dir"])), results.manifest):
        is_told = content is not None and not journal.is_about(image.image_id, input_digest=name_digest(image))
        if is_told and image.image_id in journal and not journal.is_about(image.image_id, input_digest=content or ""):
            yield image.image_id


def find_misled(results: Results) -> Iterator[str]:
    """Yield the images whose record was made from another than the first that looks like them."""
    journal = results.journals[CAPTION]
    recorded = [image_id for image_id in results.image_ids if image_id in journal]
    for image_id, source in zip(recorded, lead_all(content_of(journal, one) for one in recorded), strict=True):
        if journal.source(image_id) != source:
            yield image_id


def find_duplicates(results: Results) -> dict[str, str]:
    """Return of each image that is the same as an earlier one the first such."""
    return results.once(_find_duplicates, CAPTION)


def _find_duplicates(results: Results) -> dict[str, str]:
    captions = results.journals.get(CAPTION)
    first: dict[str, str] = {}
    duplicates: dict[str, str] = {}
    if captions is None:
        return duplicates
    for image_id in results.image_ids:
        if image_id in captions and (leader := first.setdefault(captions.source(image_id), image_id)) != image_id:
            duplicates[image_id] = leader
    return duplicates


def caption_of(results: Results, image_id: str) -> Caption:
    """Return the caption of an image that has one."""
    return Caption(image_id=image_id, **results.record(CAPTION, image_id)["data"])


def _work_item(image: ImageRecord) -> WorkItem[ImageRecord]:
    return WorkItem(image.image_id, input_digest=caption_input(image), load=lambda: image)


def caption_input(image: ImageRecord) -> str:
    """Return a digest of what is known, before it is read, of what the caption of `image` is made from.

    Of an address whose content nobody tells of, that is the address: what is behind it is taken as it is.
    """
    return image.version or name_digest(image)


def name_digest(image: ImageRecord) -> str:
    """Return a digest of where an image is and how large, which is all that is said of some."""
    return digest([image.path, image.num_bytes, image.problem])


def caption_outcome(caption: Caption) -> Outcome:
    """Return how an image with this caption leaves Step 1."""
    return Outcome(Status.UI_ONLY if caption.ui_only else Status.DONE, caption_data(caption))


def caption_data(caption: Caption) -> Mapping[str, Any]:
    """Return what the journal keeps of a caption: all of it but the id."""
    return {name: getattr(caption, name) for name in CAPTION_FIELDS}


@dataclass(frozen=True, kw_only=True)
class CaptionStage:
    """Asks for a caption of every image.

    Attributes:
        reader: reads their pixels; None where captions are only looked up.
    """

    items: Callable[[], Iterator[WorkItem[ImageRecord]]]
    track: Track
    criterion: str
    reader: ImageReader | None
    max_image_tokens: int
    seed: int
    name: str = CAPTION.name
    reads_images: bool = True

    def detached(self) -> Self:
        return replace(self, items=no_items)

    def iter_items(self) -> Iterator[WorkItem[ImageRecord]]:
        return self.items()

    async def find_source(self, item: ImageRecord) -> Source | UnreadableImage | None:
        assert self.reader is not None
        return None if item.problem is not None else await self.reader.find_source(item)

    async def build_request(self, item: ImageRecord, attempt: Attempt) -> GenerationRequest | Outcome:
        if item.problem is not None:
            return Outcome(Status.BROKEN, {"reason": item.problem})
        budget = max(MIN_IMAGE_TOKENS, int(self.max_image_tokens * attempt.image_share))
        assert self.reader is not None
        image = await self.reader.decode(item, budget)
        if isinstance(image, BrokenImage):
            return Outcome(Status.BROKEN, {"reason": image.reason})
        if isinstance(image, UnreadableImage):
            return unreadable(image)
        return GenerationRequest(
            request_id=item.image_id,
            task=Task.CAPTION,
            messages=self.track.caption.render(criterion=self.criterion),
            answer=JsonAnswer(self.track.caption.schema),
            sampling=attempt.sampling(max_tokens=MAX_TOKENS, seed=self.seed),
            image=image,
            inputs=inputs_of([self]),
        )

    def parse_answer(self, item: ImageRecord, answer: Answer) -> Outcome:
        return caption_outcome(parse_caption(item.image_id, text=answer.text, model=self.track.caption.answer))


@dataclass(frozen=True)
class CombinedCaptionStage:
    """Asks for the captions of all tracks at once."""

    stages: tuple[CaptionStage, ...]
    name: str = CAPTION.name
    reads_images: bool = True

    @cached_property
    def _prompt(self) -> CombinedCaptions:
        return CombinedCaptions([(stage.track, stage.criterion) for stage in self.stages])

    def detached(self) -> Self:
        return replace(self, stages=tuple(stage.detached() for stage in self.stages))

    def iter_items(self) -> Iterator[WorkItem[ImageRecord]]:
        return self.stages[0].iter_items()

    async def find_source(self, item: ImageRecord) -> Source | UnreadableImage | None:
        return await self.stages[0].find_source(item)

    async def build_request(self, item: ImageRecord, attempt: Attempt) -> GenerationRequest | Outcome:
        request = await self.stages[0].build_request(item, attempt)
        if isinstance(request, Outcome):
            return request
        return replace(
            request,
            messages=self._prompt.render(),
            answer=JsonAnswer(self._prompt.schema),
            sampling=attempt.sampling(max_tokens=MAX_TOKENS * len(self.stages), seed=self.stages[0].seed),
            inputs=inputs_of(self.stages),
        )

    def parse_answer(self, item: ImageRecord, answer: Answer) -> Outcome:
        captions = self._prompt.parse(item.image_id, text=answer.text)
        return Outcome(Status.DONE, {PARTS: [caption_outcome(caption) for caption in captions]})


def inputs_of(stages: Sequence[CaptionStage]) -> dict[str, str]:
    """Return what a prompt is rendered from: the criteria that it names, as no answer may depend on others."""
    criteria = [stage.criterion for stage in stages if stage.track.caption.uses("criterion")]
    return {"criterion": "; ".join(criteria)} if criteria else {}
