"""One request an image for several tracks: asked once, recorded in the journal of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ictc.records import ImageRecord
from ictc.stages.lane import Lane, Pending
from ictc.stages.outcome import Outcome, Status
from ictc.stages.work import MapStage, WorkItem

PARTS = "parts"
"""Under this name an outcome holds those of the tracks."""


@dataclass(kw_only=True)
class CombinedLane(Lane[ImageRecord]):
    """A lane that records what it is told in several others."""

    lanes: Sequence[Lane[ImageRecord]] = field(default_factory=tuple)

    def sync(self) -> None:
        """Make all records durable."""
        for lane in self.lanes:
            lane.sync()

    def sync_if_due(self) -> None:
        """Make them durable every few seconds."""
        for lane in self.lanes:
            lane.sync_if_due()

    def iter_todo(self, wants: Callable[[str], bool] = lambda _: True) -> Iterator[Pending[ImageRecord] | None]:
        """Yield for every image what is to do about it, None if nothing; each track may have seen it another time."""
        self.leaders.restart()
        for items in zip(*(lane.stage.iter_items() for lane in self.lanes), strict=True):
            is_asked_for = self.leaders.need_all or (wants(self.prefix + items[0].image_id) and self._are_todo(items))
            yield self._take_all(items) if is_asked_for else None

    def _are_todo(self, items: Sequence[WorkItem[ImageRecord]]) -> bool:
        return any(lane._is_todo(item) for lane, item in zip(self.lanes, items, strict=True))

    def _take_all(self, items: Sequence[WorkItem[ImageRecord]]) -> Pending[ImageRecord]:
        return replace(self._take(items[0]), input_digests=tuple(item.input_digest for item in items))

    def _of_each(self, pending: Pending[ImageRecord]) -> Iterator[tuple[Lane[ImageRecord], Pending[ImageRecord]]]:
        """Yield the lane of each track with what the image is in its list."""
        for lane, input_digest in zip(self.lanes, pending.input_digests, strict=True):
            yield lane, replace(pending, input_digest=input_digest)

    def _is_up_to_date(self, pending: Pending[ImageRecord]) -> bool:
        return all(lane._is_up_to_date(pending) for lane in self.lanes)

    def _keep(self, pending: Pending[ImageRecord]) -> None:
        for lane, own in self._of_each(pending):
            lane._keep(own)

    def _recorded(self, source: str) -> Outcome | None:
        parts = [lane._recorded(source) for lane in self.lanes]
        return None if None in parts else Outcome(Status.DONE, {PARTS: parts})

    def _share(self, follower: Pending[ImageRecord], outcome: Outcome) -> None:
        for lane in self.lanes:
            lane.num_shared += 1
        super()._share(follower, outcome)

    def _record(self, pending: Pending[ImageRecord], outcome: Outcome) -> None:
        self.num_finished += 1
        parts = outcome.data.get(PARTS) or [outcome] * len(self.lanes)
        for (lane, own), part in zip(self._of_each(pending), parts, strict=True):
            lane._record(own, part)


def combine_lanes(stage: MapStage[ImageRecord], lanes: Sequence[Lane[ImageRecord]]) -> CombinedLane:
    """Return one lane for all of `lanes`, whose outcomes are the parts of those of `stage`."""
    first = lanes[0]
    return CombinedLane(
        stage=stage,
        journal=first.journal,
        suspects=first.suspects,
        progress=first.progress,
        leaders=first.leaders,
        tolerance=first.tolerance,
        lanes=lanes,
        times=first.times,
    )
