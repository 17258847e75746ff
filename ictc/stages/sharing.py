"""Which images of a stage get the answer of another one: what is the same is asked once.

The first of equal images leads, in the order of the manifest, and the others follow it: they get its outcome,
whatever that is. Knows digests and ids, not what they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from ictc.records import Source
from ictc.stages.outcome import RETRIED
from ictc.storage.journal import Journal

if TYPE_CHECKING:
    import numpy as np

MAX_LOOK_DISTANCE = 6
"""Images look alike if at most so many of the 256 bits of their looks differ. Copies that were compressed again or
resized differ in 0 to 5, different ads in 23 or more, but ads of one template with other words on it in 1 to 6."""


class Leaders(Protocol):
    """Tells whom an image follows."""

    def lead(self, image_id: str, source: Source) -> tuple[str, Source]:
        """Return the id of the image whose outcome this one gets, its own if it leads, and what that is made from."""
        ...


class NoLeaders:
    """Each image is asked by itself."""

    def lead(self, image_id: str, source: Source) -> tuple[str, Source]:
        """Return the image itself."""
        return image_id, source


class EqualSources:
    """Images with the same source share an outcome.

    Args:
        journal: what is done; its records lead.
        retry_rejected: whether images that were rejected or broken are tried again, so that they can't lead.
    """

    def __init__(self, journal: Journal, *, retry_rejected: bool = False) -> None:
        self._journal = journal
        self._leader_of: dict[int, str] = {}
        for image_id in journal:
            if not (retry_rejected and journal.status(image_id) in RETRIED):
                self._leader_of.setdefault(int(journal.source(image_id), 16), image_id)

    def lead(self, image_id: str, source: Source) -> tuple[str, Source]:
        """Return the first image that had this source, unless its record has come to be about another."""
        number = int(source.digest, 16)
        leader = self._leader_of.setdefault(number, image_id)
        if leader in self._journal and self._journal.source(leader) != source.digest:
            self._leader_of[number] = leader = image_id
        return leader, source


class SimilarLooks:
    """Images that look like an earlier one that leads share its outcome.

    Compares each image with all that lead before it, so the time grows with the square of their number: a minute or
    two for 10^5 images.

    Args:
        journal: what is done; its records lead, where they were asked about themselves.
        image_ids: all images, in the order of the manifest.
        retry_rejected: whether images that were rejected or broken are tried again, so that they can't lead.
    """

    def __init__(self, journal: Journal, image_ids: Iterable[str], *, retry_rejected: bool = False) -> None:
        self._equal = EqualSources(journal, retry_rejected=retry_rejected)
        self._looks = Looks()
        self._places: dict[str, int] = {}
        self._sources: dict[str, Source] = {}
        self._numbered: list[str] = []
        seen: set[str] = set()
        for place, image_id in enumerate(image_ids):
            self._places[image_id] = place
            if image_id not in journal or (retry_rejected and journal.status(image_id) in RETRIED):
                continue
            digest, record = journal.source(image_id), journal.get(image_id)
            if digest not in seen and record is not None and record.get("look"):
                seen.add(digest)
                self._add(image_id, Source(digest, record["look"]))

    def lead(self, image_id: str, source: Source) -> tuple[str, Source]:
        """Return the first image before this one that leads and looks like it, and what that is made from."""
        if not source.look:
            return self._equal.lead(image_id, source)
        self._sources.pop(image_id, None)  # what it led with before it was replaced
        place = self._places[image_id]
        similar = {self._numbered[number] for number in self._looks.find(source.look)} & self._sources.keys()
        earlier = [leader for leader in similar if self._places[leader] < place]
        if not earlier:
            self._add(image_id, source)
            return image_id, source
        first = min(earlier, key=self._places.__getitem__)
        return first, Source(self._sources[first].digest, source.look)

    def _add(self, image_id: str, source: Source) -> None:
        self._sources[image_id] = source
        self._numbered.append(image_id)
        self._looks.add(source.look)


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

    def find(self, look: str) -> list[int]:
        """Return the numbers, in the order of their addition, of those that differ in few bits."""
        import numpy as np

        differing = np.bitwise_count(self._rows[: self._count] ^ _words(look)).sum(axis=1)
        return [int(number) for number in np.flatnonzero(differing <= MAX_LOOK_DISTANCE)]


def _words(look: str) -> np.ndarray:
    import numpy as np

    return np.frombuffer(bytes.fromhex(look), dtype=">u8").astype(np.uint64)
