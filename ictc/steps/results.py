"""What steps have made, read together: how an image passes from step to step, and nothing of what a step says of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from ictc.records import ImageRecord, Rejection
from ictc.stages.outcome import Status
from ictc.stages.work import ResultT
from ictc.storage.journal import Journal
from ictc.storage.manifest import Manifest

MadeT = TypeVar("MadeT")


class Mapped:
    """A map step, as far as its records are found by it.

    Attributes:
        name: of the step.
        follows: the step that an image must have left as done to enter this one; None if every image enters.
    """

    name: ClassVar[str]
    follows: ClassVar[Mapped | None] = None


class Reduced(Generic[ResultT]):
    """A reduce step, as far as its result is found by it."""


@dataclass
class Results:
    """The manifest, and what is in use of each step; a step that has not run has nothing.

    Attributes:
        journals: of the map steps, in their order.
        reduced: results of the reduce steps.
    """

    manifest: Manifest
    journals: dict[Mapped, Journal] = field(default_factory=dict)
    reduced: dict[Reduced[Any], Any] = field(default_factory=dict)
    _made: dict[Callable[[Results], Any], tuple[Any, Any]] = field(default_factory=dict)

    @cached_property
    def image_ids(self) -> list[str]:
        """The ids of all images, in the order of the manifest."""
        return [sys.intern(image.image_id) for image in self.manifest]

    def close(self) -> None:
        """Close the journals."""
        for journal in self.journals.values():
            journal.close()

    def once(self, make: Callable[[Results], MadeT], *steps: Mapped) -> MadeT:
        """Return what `make` makes of these results, which is made again only when records of `steps` are added.

        Several files and keys say the same of all images, and to find that out every record may have to be read.
        """
        journals = (self.journals.get(step) for step in steps)
        state = [journal and (journal.directory, journal.end) for journal in journals]
        held = self._made.get(make)
        if held is None or held[0] != state:
            held = self._made[make] = state, make(self)
        made: MadeT = held[1]
        return made

    def has(self, step: object) -> bool:
        """Whether there is anything of a step."""
        return step in self.journals or step in self.reduced

    def find(self, step: Reduced[ResultT]) -> ResultT | None:
        """Return the result of a reduce step, None if there is none."""
        return self.reduced.get(step)

    def iter_statuses(self, step: Mapped) -> Iterator[str | None]:
        """Yield how each image left a step; None if it has not, or did not enter it, whatever it once did."""
        journal = self.journals.get(step)
        if journal is None:
            return iter([None] * len(self.image_ids))
        statuses = map(journal.status, self.image_ids)
        if step.follows is None:
            return statuses
        entered = (status == Status.DONE for status in self.iter_statuses(step.follows))
        return (status if enters else None for status, enters in zip(statuses, entered, strict=True))

    def iter_ids(self, step: Mapped, *ways: Status) -> Iterator[str]:
        """Yield the ids of the images that left a step in one of these ways, in the order of the manifest."""
        statuses = zip(self.image_ids, self.iter_statuses(step), strict=True)
        return (image_id for image_id, left in statuses if left in ways)

    def iter_images(self, step: Mapped, *ways: Status) -> Iterator[ImageRecord]:
        """Yield the images that left a step in one of these ways."""
        pairs = zip(self.manifest, self.iter_statuses(step), strict=True)
        return (image for image, left in pairs if left in ways)

    def iter_data(self, step: Mapped, *ways: Status) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield id and data of the images that left a step in one of these ways, in the order of the manifest."""
        for image_id in self.iter_ids(step, *ways):
            yield image_id, self.record(step, image_id)["data"]

    def count_statuses(self, step: Mapped) -> Counter[str]:
        """Return how many images of the manifest left a step in which way."""
        return Counter(status for status in self.iter_statuses(step) if status is not None)

    def describe_statuses(self, step: Mapped) -> dict[str, int]:
        """Return the same by name, in a fixed order, those that are done also if there are none."""
        counts = self.count_statuses(step)
        return {status.value: counts[status] for status in Status if counts[status] or status is Status.DONE}

    def iter_rejections(self) -> Iterator[Rejection]:
        """Yield what each step gave up on, step by step."""
        for step in self.journals:
            for image_id, data in self.iter_data(step, Status.REJECTED):
                yield Rejection(image_id, stage=step.name, **data)

    def record(self, step: Mapped, image_id: str) -> dict[str, Any]:
        """Return the record of an image that has left a step."""
        record = self.journals[step].get(image_id)
        assert record is not None, f"{image_id!r} has no record in {step.name}"
        return record

    def fingerprint(self, step: Mapped, image_id: str) -> str:
        """Return a digest of the outcome of an image that has left a step."""
        return self.journals[step].fingerprint(image_id)

    def is_about(self, step: Mapped, image_id: str, *, input_digest: str) -> bool:
        """Whether an image left a step as done, with this very input."""
        journal = self.journals.get(step)
        return (
            journal is not None
            and journal.status(image_id) == Status.DONE
            and journal.is_about(image_id, input_digest=input_digest)
        )
