"""One stage under way: which of its images are still to do, which of them share an answer, and their records.

Knows the journal of its stage and nothing of engines; `ictc.stages.runner` feeds one lane, or several side by side.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Generic

from ictc.records import DecodedImage, Source
from ictc.stages.brake import LENIENT, Brake, Tolerance
from ictc.stages.outcome import (
    RETRIED,
    Origin,
    Outcome,
    Status,
    content_of,
    from_record,
    needs_work,
    rejected,
    to_record,
)
from ictc.stages.retry import FIRST, Attempt
from ictc.stages.sharing import Leaders
from ictc.stages.suspects import Suspects
from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import ItemT, MapStage, StageProgress, WorkItem
from ictc.storage.journal import Journal

logger = logging.getLogger(__name__)


@dataclass
class Pending(Generic[ItemT]):
    """An image on its way through a stage.

    Attributes:
        input_digest: what is known of its input before that is read.
        input_digests: the same by the lists of several tracks, in their order, where one request is for all of them.
        content: its input, None before that was read.
        source: digest of the input that its outcome is made from: its own, or that of the image which it follows.
        image: its pixels while they may be asked about again.
        tokens: spent on it so far, None if that can't be told.
    """

    lane: Lane[ItemT]
    item: ItemT
    _: KW_ONLY
    image_id: str
    input_digest: str
    input_digests: tuple[str, ...] = ()
    content: Source | None = None
    source: str = ""
    attempt: Attempt = FIRST
    image: DecodedImage | None = None
    tokens: int | None = 0

    @property
    def request_id(self) -> str:
        """What its requests are called: unique among all lanes."""
        return self.lane.prefix + self.image_id

    @property
    def origin(self) -> Origin:
        """What its record says of where the outcome comes from."""
        assert self.content is not None
        return Origin(seen=self.input_digest, content=self.content, source=self.source)


@dataclass(kw_only=True)
class Lane(Generic[ItemT]):
    """A map stage, its journal, and who is told what.

    Attributes:
        journal: gets exactly one record for each image that finishes, and none for the others.
        suspects: told what is in flight.
        leaders: says whose answer an image gets.
        tolerance: how many bad images the user puts up with.
        times: where the time goes, of all lanes over the same images together.
        retry_rejected: whether images that were rejected earlier are tried again.
        prefix: tells its requests from those of the lanes beside it.
        num_finished: images written to the journal by this lane.
        num_shared: those of them that got the answer of another image.
        num_left: images that have no record, as they could not be read, or follow one that couldn't.
        gives_up: whether an image that can't be read is to be recorded all the same.
    """

    stage: MapStage[ItemT]
    journal: Journal
    suspects: Suspects
    progress: StageProgress
    leaders: Leaders
    tolerance: Tolerance = LENIENT
    retry_rejected: bool = False
    prefix: str = ""
    num_finished: int = 0
    num_shared: int = 0
    num_left: int = 0
    gives_up: bool = False
    times: Timekeeper = field(default_factory=Timekeeper)
    _followers: dict[str, list[Pending[ItemT]]] = field(default_factory=dict)  # by the source that they follow
    _retried: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._brake = Brake(f"the {self.stage.name} step", self.tolerance)

    def iter_todo(self, wants: Callable[[str], bool] = lambda _: True) -> Iterator[Pending[ItemT] | None]:
        """Yield for every image of the stage what is to do about it, None if nothing.

        Args:
            wants: tells by the id of its requests whether an image is asked for; where whom an image follows depends on
                all before it, they all are.
        """
        self.leaders.restart()
        for item in self.stage.iter_items():
            is_asked_for = self.leaders.need_all or (wants(self.prefix + item.image_id) and self._is_todo(item))
            yield self._take(item) if is_asked_for else None

    def _is_todo(self, item: WorkItem[ItemT]) -> bool:
        return needs_work(
            self.journal, item.image_id, input_digest=item.input_digest, retry_rejected=self._retries(item.image_id)
        )

    def _retries(self, image_id: str) -> bool:
        return self.retry_rejected and image_id not in self._retried

    def _take(self, item: WorkItem[ItemT]) -> Pending[ItemT]:
        return Pending(
            self, item.load(), image_id=item.image_id, input_digest=item.input_digest, content=self._known(item)
        )

    def _known(self, item: WorkItem[ItemT]) -> Source | None:
        """Return the content of an image that has a record about it as it is now."""
        if not self.journal.is_about(item.image_id, input_digest=item.input_digest):
            return None
        return content_of(self.journal, item.image_id)

    def lead_or_follow(self, pending: Pending[ItemT]) -> bool:
        """Return whether an image, whose content is known by now, is to be asked about.

        If not, it has its outcome already, or gets that of the one which it follows.
        """
        if pending.content is None:  # nothing tells it from others but what was seen of it
            pending.content = Source(pending.input_digest)
        pending.source = self.leaders.lead(pending.content)
        if self._is_up_to_date(pending):
            self._keep(pending)
        elif self.leaders.share and pending.source in self._followers:
            self._followers[pending.source].append(pending)
        elif (outcome := self._recorded(pending.source)) is not None:
            self._share(pending, outcome)
        else:  # also where the leader has lost its engine and is not yet asked again
            self._followers[pending.source] = []
            return True
        return False

    def _is_up_to_date(self, pending: Pending[ItemT]) -> bool:
        """Whether there is a record about this very content, made from what it would be made from now."""
        journal, image_id, content = self.journal, pending.image_id, pending.content
        if content is None or image_id not in journal or not journal.is_about(image_id, input_digest=content.digest):
            return False
        if self._retries(image_id) and journal.status(image_id) in RETRIED:
            return False
        return journal.source(image_id) == pending.source

    def _keep(self, pending: Pending[ItemT]) -> None:
        """Note that a record is about an image as it is seen now, so that it need not be read again."""
        if not self.journal.is_about(pending.image_id, input_digest=pending.input_digest):
            record = self.journal.get(pending.image_id)
            assert record is not None
            self._put_down(pending, from_record(record))
        else:
            self.suspects.end(pending.image_id)

    def quarantine(self, pending: Pending[ItemT]) -> Outcome | None:
        """Return the outcome of an image that has cost too many engines, None for any other."""
        verdict = self.suspects.verdict(pending.image_id)
        return rejected(f"quarantined: {verdict}") if verdict is not None else None

    def finish(self, pending: Pending[ItemT], outcome: Outcome) -> None:
        """Record the outcome of an image, and of all that follow it; leave what could not be read to be tried again.

        Raises:
            StageError: too many images are bad.
            StorageError: the disk refused.
        """
        followers = self._followers.pop(pending.source, [])
        if outcome.is_of_access:
            self._leave(followers if self.gives_up else [pending, *followers])
            # What it holds is not known to be what others hold, so nobody follows it.
            pending.content, pending.source, followers = Source(pending.input_digest), pending.input_digest, []
        if not outcome.is_of_access or self.gives_up:
            self._put_down(pending, outcome)
            self._brake.count(outcome)
        for follower in followers:
            self._share(follower, outcome)
            if outcome.status is not Status.REJECTED:
                self._brake.count(outcome)

    def _leave(self, pendings: Sequence[Pending[ItemT]]) -> None:
        self.num_left += len(pendings)
        for pending in pendings:
            self.suspects.end(pending.image_id)

    def begin_round(self, *, gives_up: bool) -> None:
        """Forget what the last round left, as another one begins."""
        self.num_left, self.gives_up = 0, gives_up
        self._followers.clear()

    def sync(self) -> None:
        """Make all records durable."""
        with self.times.writing():
            self.journal.sync()

    def sync_if_due(self) -> None:
        """Make them durable every few seconds."""
        with self.times.writing():
            self.journal.sync_if_due()

    def _recorded(self, source: str) -> Outcome | None:
        """Return the outcome of an image that was made from `source`, if it is recorded."""
        record = self.leaders.find(source)
        return None if record is None else from_record(record)

    def _share(self, follower: Pending[ItemT], outcome: Outcome) -> None:
        self.num_shared += 1
        self._put_down(follower, outcome)

    def _put_down(self, pending: Pending[ItemT], outcome: Outcome) -> None:
        """Record an outcome, and that nothing is in flight any more."""
        began = time.monotonic()
        self._record(pending, outcome)
        self.suspects.end(pending.image_id)
        self.times.wrote_since(began)

    def _record(self, pending: Pending[ItemT], outcome: Outcome) -> None:
        self.journal.append(to_record(pending.image_id, pending.origin, outcome))
        self.leaders.note(pending.image_id, source=pending.source)
        self.progress.advance(outcome.status, pending.tokens)
        self.num_finished += 1
        if self.retry_rejected and outcome.status in RETRIED:
            self._retried.add(pending.image_id)
        if outcome.status is Status.REJECTED:
            logger.info("%s %r rejected: %s", self.stage.name, pending.image_id, outcome.data["reason"])
        elif logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %r %s, %s tokens", self.stage.name, pending.image_id, outcome.status, pending.tokens)
