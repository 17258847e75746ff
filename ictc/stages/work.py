"""What a map stage is, and what goes into it: the contract between the steps and the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from ictc.engines.base import Answer, GenerationRequest
from ictc.records import Source, StageName, UnreadableImage
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class WorkItem(Generic[ItemT]):
    """One image that enters a stage, before anything of it is read.

    Attributes:
        input_digest: digest of everything about this image that its outcome depends on.
        load: reads what the stage needs of the image.
    """

    image_id: str
    input_digest: str
    load: Callable[[], ItemT]


class MapStage(Protocol[ItemT]):
    """A step that treats each image on its own."""

    @property
    def name(self) -> StageName: ...

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
