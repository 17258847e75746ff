"""Counts what the images that are being fetched wait for, so that it can be told what holds the others up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ictc.records import Wait


class Waiting:
    """How many images wait for what."""

    def __init__(self) -> None:
        self._counts: Counter[Wait] = Counter()

    @contextmanager
    def counted(self, wait: Wait) -> Iterator[None]:
        """Count an image until the block ends."""
        self._counts[wait] += 1
        try:
            yield
        finally:
            self._counts[wait] -= 1

    def most(self) -> Wait | None:
        """Return what most of them wait for, None if none does."""
        return max(self._counts, key=self._counts.__getitem__) if self._counts.total() else None
