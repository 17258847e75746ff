"""Step 1: the vision-language model describes each image and sets interface screens apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ictc.engines.base import Answer, GenerationRequest, JsonAnswer, Task
from ictc.records import BrokenImage, Caption, DecodedImage, ImageRecord, Source, StageName, UnreadableImage
from ictc.stages.outcome import Outcome, Status, unreadable
from ictc.stages.retry import Attempt
from ictc.stages.work import WorkItem
from ictc.storage.keys import digest
from ictc.tracks.base import Track, parse_caption

MAX_TOKENS = 1024
MIN_IMAGE_TOKENS = 64


class ImageReader(Protocol):
    """Reads the pixels of an image, and what tells it from others."""

    def remember(self, images: Iterable[ImageRecord]) -> None:
        """Note images that earlier runs could read."""
        ...

    async def find_source(self, image: ImageRecord) -> Source | UnreadableImage | None:
        """Return what equal images share, None if there are no bytes to compare."""
        ...

    async def decode(self, image: ImageRecord, max_image_tokens: int) -> DecodedImage | BrokenImage | UnreadableImage:
        """Return the pixels, within the budget, or why there are none."""
        ...


@dataclass(frozen=True)
class CaptionStage:
    """Ask for a caption of every image.

    Attributes:
        images: the manifest, iterable more than once.
        reader: reads their pixels; None where captions are only looked up.
    """

    images: Iterable[ImageRecord]
    track: Track
    criterion: str
    reader: ImageReader | None
    max_image_tokens: int
    seed: int
    name: StageName = "caption"

    def iter_items(self) -> Iterator[WorkItem[ImageRecord]]:
        return map(_work_item, self.images)

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
            sampling=attempt.sampling(MAX_TOKENS, self.seed),
            image=image,
            inputs={"criterion": self.criterion} if self.track.caption.uses("criterion") else {},
        )

    def parse_answer(self, item: ImageRecord, answer: Answer) -> Outcome:
        return caption_outcome(parse_caption(item.image_id, answer.text, self.track.caption.answer))


def _work_item(image: ImageRecord) -> WorkItem[ImageRecord]:
    return WorkItem(image.image_id, caption_input(image), lambda: image)


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


def caption_data(caption: Caption) -> dict[str, Any]:
    """Return what the journal keeps of a caption: all of it but the id."""
    data = asdict(caption)
    del data["image_id"]
    return data


def load_caption(record: dict[str, Any]) -> Caption:
    """Return the caption of a journal record."""
    return Caption(image_id=record["id"], **record["data"])
