"""How much of a map stage is done: one pass over what enters it, without reading a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ictc.errors import StageError
from ictc.stages.outcome import content_of, needs_work
from ictc.stages.sharing import LeadingLooks
from ictc.stages.work import MapStage
from ictc.storage.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a stage has done of what enters it.

    Attributes:
        total: images that enter the stage.
        todo: those without an up-to-date record.
        stale: those of `todo` that have a record, which is about another input or rejected and to be tried again.
    """

    total: int
    todo: int
    stale: int = 0

    @property
    def done(self) -> int:
        return self.total - self.todo


def survey(
    stage: MapStage[Any], journal: Journal | None, *, retry_rejected: bool = False, near: bool = False
) -> Survey:
    """Return how much of `stage` is done, as `journal` says.

    Args:
        near: images get the outcome of one that looks like them; who that is depends on all images before.
    """
    total = todo = stale = 0
    leading = LeadingLooks() if near else None
    for item in stage.iter_items():
        total += 1
        if journal is None or needs_work(
            journal, item.image_id, input_digest=item.input_digest, retry_rejected=retry_rejected
        ):
            is_todo = True
        else:
            is_todo = leading is not None and _is_misled(journal, item.image_id, leading)
        todo += is_todo
        stale += is_todo and journal is not None and item.image_id in journal
    return Survey(total=total, todo=todo, stale=stale)


def _is_misled(journal: Journal, image_id: str, leading: LeadingLooks) -> bool:
    """Whether a record was made from another image than it would be made from now, as far as they are known."""
    return journal.source(image_id) != leading.lead(content_of(journal, image_id))


def check_accounting(stage: MapStage[Any], journal: Journal) -> None:
    """Check that every image that entered the stage left it (invariant 1).

    Raises:
        StageError: some did not, which is a fault of this program.
    """
    missing = survey(stage, journal).todo
    if missing:
        raise StageError(f"the {stage.name} step: {missing} images are unaccounted for; please report this")
