"""A map stage that asks about some of its images, in rounds, and infers the others from what it was answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ictc.stages.outcome import Status
from ictc.stages.survey import Survey
from ictc.stages.work import ItemT, MapStage
from ictc.storage.journal import Journal
from ictc.storage.keys import StageKey


class PartlyAsked(Protocol[ItemT]):
    """Says which images of a step are asked about, and what the others are.

    Answers lie in a journal of their own, which may hold more of them than are asked for, from other times.
    """

    @property
    def key_of_answers(self) -> StageKey:
        """Under which key of the step the answers lie."""
        ...

    def survey(self, journal: Journal | None, *, retry_rejected: bool = False) -> Survey:
        """Return how much of the result is done, as its journal says."""
        ...

    def ask(self, answers: Journal) -> Iterator[MapStage[ItemT]]:
        """Yield what asks about the images of each round; their answers must be there before the next one."""
        ...

    def conclude(self, journal: Journal) -> Iterator[Status]:
        """Write what the rounds came to into the journal of the result, and yield how each new one left.

        Raises:
            StorageError: the disk refused.
        """
        ...
