"""One stage under way: which of its images are still to do, which of them share an answer, and their records.

Knows the journal of its stage and nothing of engines; `ictc.stages.runner` feeds one lane, or several side by side.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic

from ictc.errors import StageError
from ictc.records import DecodedImage, Source
from ictc.stages.outcome import Outcome, Status, from_record, needs_work, rejected, to_record
from ictc.stages.retry import FIRST, Attempt
from ictc.stages.sharing import Leaders
from ictc.stages.suspects import Suspects
from ictc.stages.work import ItemT, MapStage, StageProgress, WorkItem
from ictc.storage.journal import Journal

logger = logging.getLogger(__name__)

MIN_IMAGES_TO_JUDGE = 200
"""Before so many images, a share of rejected ones says little."""


@dataclass
class Pending(Generic[ItemT]):
    """An image on its way through a stage.

    Attributes:
        image: its pixels while they may be asked about again.
        tokens: spent on it so far, None if that can't be told.
    """

    lane: Lane[ItemT]
    item: ItemT
    image_id: str
    input_digest: str
    source: Source
    attempt: Attempt = FIRST
    image: DecodedImage | None = None
    tokens: int | None = 0

    @property
    def request_id(self) -> str:
        """What its requests are called: unique among all lanes."""
        return self.lane.prefix + self.image_id


@dataclass
class Lane(Generic[ItemT]):
    """A map stage, its journal, and who is told what.

    Attributes:
        journal: gets exactly one record for each image that finishes, and none for the others.
        suspects: told what is in flight.
        leaders: says whose answer an image gets.
        max_rejected: share of rejected images, in [0, 1], beyond which the run is going wrong.
        retry_rejected: whether images that were rejected earlier are tried again.
        prefix: tells its requests from those of the lanes beside it.
        num_finished: images written to the journal by this lane.
        num_shared: those of them that got the answer of another image.
    """

    stage: MapStage[ItemT]
    journal: Journal
    suspects: Suspects
    progress: StageProgress
    leaders: Leaders
    max_rejected: float = 1.0
    retry_rejected: bool = False
    prefix: str = ""
    num_finished: int = 0
    num_shared: int = 0
    _num_rejected: int = 0
    _followers: dict[str, list[Pending[ItemT]]] = field(default_factory=dict)

    def iter_todo(self, wants: Callable[[str], bool] = lambda _: True) -> Iterator[Pending[ItemT] | None]:
        """Yield for every image of the stage what is to do about it, None if nothing.

        Args:
            wants: tells by the id of its requests whether an image is asked for.
        """
        for item in self.stage.iter_items():
            yield self._take(item) if wants(self.prefix + item.image_id) and self._wants(item) else None

    def _wants(self, item: WorkItem[ItemT]) -> bool:
        return needs_work(self.journal, item.image_id, item.input_digest, retry_rejected=self.retry_rejected)

    def _take(self, item: WorkItem[ItemT]) -> Pending[ItemT]:
        return Pending(self, item.load(), item.image_id, item.input_digest, Source(item.input_digest))

    def lead_or_follow(self, pending: Pending[ItemT]) -> bool:
        """Return whether an image is to be asked about; if not, it gets the outcome of the one it follows."""
        leader, pending.source = self.leaders.lead(pending.image_id, pending.source)
        is_leader = leader == pending.image_id
        if not is_leader and leader in self._followers:
            self._followers[leader].append(pending)
        elif not is_leader and (outcome := self._recorded(leader)) is not None:
            self._share(pending, outcome)
        else:  # also where the leader has lost its engine and is not yet asked again
            self._followers[pending.image_id] = []
            return True
        return False

    def quarantine(self, pending: Pending[ItemT]) -> Outcome | None:
        """Return the outcome of an image that has cost too many engines, None for any other."""
        verdict = self.suspects.verdict(pending.image_id)
        return rejected(f"quarantined: {verdict}") if verdict is not None else None

    def finish(self, pending: Pending[ItemT], outcome: Outcome) -> None:
        """Record the outcome of an image, and of all that follow it.

        Raises:
            StageError: too many images are rejected.
            StorageError: the disk refused.
        """
        self._record(pending, outcome)
        self.suspects.end(pending.image_id)
        for follower in self._followers.pop(pending.image_id, ()):
            self._share(follower, outcome)

    def sync(self) -> None:
        """Make all records durable."""
        self.journal.sync()

    def sync_if_due(self) -> None:
        """Make them durable every few seconds."""
        self.journal.sync_if_due()

    def _recorded(self, image_id: str) -> Outcome | None:
        record = self.journal.get(image_id)
        return from_record(record) if record is not None else None

    def _share(self, follower: Pending[ItemT], outcome: Outcome) -> None:
        self.num_shared += 1
        self._record(follower, outcome)
        self.suspects.end(follower.image_id)

    def _record(self, pending: Pending[ItemT], outcome: Outcome) -> None:
        self.journal.append(to_record(pending.image_id, pending.input_digest, pending.source, outcome))
        self.progress.advance(outcome.status, pending.tokens)
        self.num_finished += 1
        if outcome.status is Status.REJECTED:
            self._num_rejected += 1
            self._check_rejections(outcome)
            logger.info("%s %r rejected: %s", self.stage.name, pending.image_id, outcome.data["reason"])
        elif logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %r %s, %s tokens", self.stage.name, pending.image_id, outcome.status, pending.tokens)

    def _check_rejections(self, outcome: Outcome) -> None:
        share = self._num_rejected / self.num_finished
        if self.num_finished >= MIN_IMAGES_TO_JUDGE and share > self.max_rejected:
            raise StageError(
                f"{self.stage.name}: {self._num_rejected} of {self.num_finished} images are rejected, more than "
                f"--max_rejected {self.max_rejected}; what is done is kept. The last: {outcome.data['reason']}"
            )
