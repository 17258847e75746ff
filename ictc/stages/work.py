"""What a map stage is, and what goes into it: the contract between the steps and the loop that runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

from ictc.config.engine import Role
from ictc.engines.base import Answer, GenerationRequest, GenerationResult
from ictc.records import BrokenImage, DecodedImage, ImageRecord, Source, UnreadableImage
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

AskAll = Callable[[Sequence[GenerationRequest]], Awaitable[list[GenerationResult]]]
"""Returns the results of requests in their order; their ids are unique among them.

Raises:
    EngineError: the engine cannot go on.
"""


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


@dataclass(frozen=True, slots=True)
class WorkItem(Generic[ItemT]):
    """One image that enters a stage, before anything of it is read.

    Attributes:
        input_digest: digest of everything about this image that its outcome depends on.
        load: reads what the stage needs of the image.
    """

    image_id: str
    _: KW_ONLY
    input_digest: str
    load: Callable[[], ItemT]


def no_items() -> Iterator[WorkItem[ItemT]]:
    """Yield nothing: what enters a stage that was detached from its run."""
    return iter(())


class MapStage(Protocol[ItemT]):
    """What a map step does in one run: treats each image on its own.

    Attributes:
        name: of the step.
        reads_images: whether it asks about pixels; else about what earlier steps made of them.
    """

    @property
    def name(self) -> str: ...

    @property
    def reads_images(self) -> bool: ...

    def detached(self) -> Self:
        """Return the stage without what enters it, to be sent to workers: only the driver has the journals."""
        ...

    def iter_items(self) -> Iterator[WorkItem[ItemT]]:
        """Yield every image that enters the stage, done or not, in the order of the manifest."""
        ...

    async def find_source(self, item: ItemT) -> Source | UnreadableImage | None:
        """Return what tells images apart that would get the same answer; None if their input digests do."""
        ...

    async def build_request(self, item: ItemT, attempt: Attempt) -> GenerationRequest | Outcome:
        """Return what to ask, or the outcome where no model is needed."""
        ...

    def parse_answer(self, item: ItemT, answer: Answer) -> Outcome:
        """Return what the answer means.

        Raises:
            InvalidAnswer: it means nothing.
        """
        ...


class ReduceTask(ABC, Generic[ResultT]):
    """What a reduce step does in one run: asks for something of the whole collection, in one request or many.

    What it asks depends on itself and on earlier answers alone, so that it can be begun again and goes on where it was.

    Attributes:
        announcement: what is about to be made from what, in words; "" if there is nothing to say.
    """

    announcement: str = ""

    @abstractmethod
    async def run(self, ask: AskAll) -> ResultT:
        """Return the result.

        Raises:
            StageError: no attempt gave a valid one.
            EngineError: the engine cannot go on.
        """

    def remark(self, result: ResultT) -> str:
        """Return what there is to say of a result, "" if nothing."""
        return ""


def role_of(stage: MapStage[Any]) -> Role:
    """Return which model answers the requests of a stage."""
    return "vlm" if stage.reads_images else "llm"


async def build_request(
    stage: MapStage[ItemT], item: ItemT, attempt: Attempt, prefix: str
) -> GenerationRequest | Outcome:
    """Return what to ask, under a name that begins with `prefix`, or the outcome where no model is needed."""
    request = await stage.build_request(item, attempt)
    if isinstance(request, Outcome) or not prefix:
        return request
    return replace(request, request_id=prefix + request.request_id)


class StageProgress(Protocol):
    """Told of every image that leaves a stage, for bars and lines; tokens None: unknown."""

    def advance(self, status: Status, tokens: int | None) -> None: ...
