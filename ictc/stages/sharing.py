"""Which images of a stage get the answer of another one: what is the same is asked once.

The first of equal images leads, in the order of the manifest, and the others follow it: they get its outcome,
whatever that is. Whom an image follows is told by a digest of what leads, never by an id alone: there may be another
image behind that by now. Knows digests and ids, not what they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ictc.records import Source
from ictc.stages.outcome import RETRIED
from ictc.storage.journal import Journal

if TYPE_CHECKING:
    import numpy as np

MAX_LOOK_DISTANCE = 6
"""Images look alike if at most so many of the 256 bits of their looks differ. Copies that were compressed again or
resized differ in 0 to 5, different ads in 23 or more, but ads of one template with other words on it in 1 to 6."""


class Leaders(Protocol):
    """Tells whom an image follows, and where the outcome of that is recorded.

    Attributes:
        share: whether images share outcomes at all.
        need_all: whether whom an image follows depends on all before it, also those that are done.
    """

    share: bool
    need_all: bool

    def restart(self) -> None:
        """Begin again with the first image."""
        ...

    def lead(self, content: Source) -> str:
        """Return the digest of the image whose outcome the next one gets: its own, if it leads."""
        ...

    def find(self, source: str) -> Mapping[str, Any] | None:
        """Return a record that was made from `source`, None if there is none that may be shared."""
        ...

    def note(self, image_id: str, *, source: str) -> None:
        """Hear that `image_id` has a new record, made from `source`."""
        ...


class NoLeaders:
    """Each image is asked by itself."""

    share = False
    need_all = False

    def restart(self) -> None:
        """Do nothing."""

    def lead(self, content: Source) -> str:
        """Return the image itself."""
        return content.digest

    def find(self, source: str) -> None:
        """Return None."""

    def note(self, image_id: str, *, source: str) -> None:
        """Do nothing."""


class EqualSources:
    """Images of the same content share an outcome, also with one that had that content and has another by now.

    Args:
        journal: what is done; its records lead.
        retry_rejected: whether images that were rejected or broken are tried again, so that they can't lead.
    """

    share = True
    need_all = False

    def __init__(self, journal: Journal, *, retry_rejected: bool = False) -> None:
        self._journal = journal
        self._recorded: dict[int, int] = {}  # from sources to where a record of each lies
        for image_id in journal:
            if not (retry_rejected and journal.status(image_id) in RETRIED):
                self._recorded.setdefault(int(journal.source(image_id), 16), journal.locate(image_id))

    def restart(self) -> None:
        """Do nothing: the order is of no account."""

    def lead(self, content: Source) -> str:
        """Return the image itself: one of the same content has the same digest."""
        return content.digest

    def find(self, source: str) -> Mapping[str, Any] | None:
        """Return a record that was made from `source`, None if there is none that may be shared."""
        location = self._recorded.get(int(source, 16))
        return None if location is None else self._journal.read(location)

    def note(self, image_id: str, *, source: str) -> None:
        """Hear that `image_id` has a new record, made from `source`."""
        self._recorded[int(source, 16)] = self._journal.locate(image_id)


class SimilarLooks(EqualSources):
    """Images that look like an earlier one that leads share its outcome.

    Compares each image with all that lead before it, so the time grows with the square of their number: a minute or
    two for 10^5 images.
    """

    need_all = True

    def __init__(self, journal: Journal, *, retry_rejected: bool = False) -> None:
        super().__init__(journal, retry_rejected=retry_rejected)
        self.restart()

    def restart(self) -> None:
        """Forget who leads: whom an image follows depends on all that come before it."""
        self._leading = LeadingLooks()

    def lead(self, content: Source) -> str:
        """Return the digest of the first image before this one that leads and looks like it."""
        return self._leading.lead(content)


class LeadingLooks:
    """The images that lead, as looks: told of all images, in the order of the manifest."""

    def __init__(self) -> None:
        self._looks = Looks()
        self._digests: list[str] = []

    def lead(self, content: Source) -> str:
        """Return the digest of the first image before this one that leads and looks like it, else its own."""
        if not content.look:
            return content.digest
        first = self._looks.find_first(content.look)
        if first is not None:
            return self._digests[first]
        self._looks.add(content.look)
        self._digests.append(content.digest)
        return content.digest


def lead_all(contents: Iterable[Source]) -> Iterator[str]:
    """Yield the digest of the image that each of these follows, in the order of the manifest."""
    return map(LeadingLooks().lead, contents)


class Looks:
    """Looks that can be searched for similar ones."""

    def __init__(self) -> None:
        import numpy as np

        self._rows: np.ndarray = np.empty((1024, 4), dtype=np.uint64)
        self._count = 0

    def add(self, look: str) -> None:
        """Add a look of 64 hex digits."""
        import numpy as np

        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = _words(look)
        self._count += 1

    def find_first(self, look: str) -> int | None:
        """Return the number, in the order of addition, of the first that differs in few bits, None if none does."""
        import numpy as np

        differing = np.bitwise_count(self._rows[: self._count] ^ _words(look)).sum(axis=1)
        similar = np.flatnonzero(differing <= MAX_LOOK_DISTANCE)
        return int(similar[0]) if len(similar) else None


def _words(look: str) -> np.ndarray:
    import numpy as np

    return np.frombuffer(bytes.fromhex(look), dtype=">u8").astype(np.uint64)
