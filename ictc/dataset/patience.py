"""How long reading waits for images that can't be read now: all of them, or one by itself.

If nothing else can be read either, it is an outage: it is waited for, told, and after a bounded time the run ends. An
image that can't be read while others can is handed back at once. Knows records and times, and nothing of how images are
read. That an image was handed back in error, as an outage had just begun, costs nothing: it has no record yet.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ictc.errors import AccessError
from ictc.records import BrokenImage, ImageRecord, UnreadableImage

ResultT = TypeVar("ResultT")
Reading = tuple[ResultT | UnreadableImage, bool]

FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 30.0
SECONDS_BETWEEN_NOTES = 60.0

MAX_WITNESSES = 8
"""Places of which an image is asked for again, when another place gives nothing."""

MAX_DISK_ERRORS_IN_A_ROW = 16
"""So many different files that fail, none between them that doesn't, are a disk that fails: what was read before may
only still be in this machine's memory."""


class Patience:
    """Waits for images of one collection that are read by the same means.

    Args:
        timeout_s: how long an outage may last.
        note: tells the user one line.
        place_of: names what fails together with an image, such as its server.
        answers: whether an image that was read before can be read now, no copy of ours answering.
    """

    def __init__(
        self,
        timeout_s: float,
        note: Callable[[str], None],
        *,
        place_of: Callable[[ImageRecord], str],
        answers: Callable[[ImageRecord], Awaitable[bool]],
    ) -> None:
        self._timeout_s = timeout_s
        self._note = note
        self._place_of = place_of
        self._answers = answers
        self._witnesses: OrderedDict[str, ImageRecord] = OrderedDict()
        self._turn = asyncio.Lock()
        self._outage: _Outage | None = None
        self._over_at = self._answered_at = self._read_at = -1.0
        self._num_in_a_row = 0
        self._alone: set[str] = set()

    @property
    def is_waiting(self) -> bool:
        """Whether no image can be read now."""
        return self._outage is not None

    def remember(self, image: ImageRecord) -> None:
        """Note an image that could be read."""
        place = self._place_of(image)
        self._witnesses[place] = image
        self._witnesses.move_to_end(place)
        if len(self._witnesses) > MAX_WITNESSES:
            self._witnesses.popitem(last=False)

    async def read(
        self, image: ImageRecord, attempt: Callable[[], Awaitable[Reading[ResultT]]]
    ) -> ResultT | UnreadableImage:
        """Return what an attempt at an image gives, after the end of an outage if there is one; or that it alone fails.

        Args:
            attempt: gives also whether that is a sign of life from where the image is, and no copy.

        Raises:
            AccessError: the outage lasts too long.
        """
        began = time.monotonic()
        result, is_sign = await attempt()
        if not isinstance(result, UnreadableImage):
            self._keep_as_witness(image, result)
            if is_sign:
                self._succeed(began)
            return result
        failed_at = time.monotonic()
        async with self._turn:  # one asks for all, the others wait
            if self._over_at < failed_at:
                return await self._insist(image, attempt, result, failed_at)
        return await self.read(image, attempt)

    async def _insist(
        self,
        image: ImageRecord,
        attempt: Callable[[], Awaitable[Reading[ResultT]]],
        failure: UnreadableImage,
        failed_at: float,
    ) -> ResultT | UnreadableImage:
        pause_s = FIRST_PAUSE_S
        while not await self._is_alone(image, failure, failed_at):
            self._outage = self._outage or _Outage(image, failure, failed_at)
            self._outage.tell(self._note, self._timeout_s)
            left_s = self._outage.since + self._timeout_s - time.monotonic()
            if left_s <= 0:
                raise AccessError(self._outage.describe_end())
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
            began = time.monotonic()
            result, _ = await attempt()
            if not isinstance(result, UnreadableImage):
                self._keep_as_witness(image, result)
                self._succeed(began)
                return result
            failure, failed_at = result, time.monotonic()
        return failure

    def _keep_as_witness(self, image: ImageRecord, result: object) -> None:
        """Remember a good image, also one read from a copy: that is no sign of life, but it can be asked for."""
        if result is not None and not isinstance(result, BrokenImage):
            self.remember(image)

    def _succeed(self, began: float) -> None:
        self._read_at = max(self._read_at, began)
        self._num_in_a_row = 0
        if self._outage is not None and began >= self._outage.since:  # else it was asked for before
            self._end_outage()

    def _end_outage(self) -> None:
        assert self._outage is not None
        self._note(self._outage.describe_over())
        self._outage, self._over_at = None, time.monotonic()

    async def _is_alone(self, image: ImageRecord, failure: UnreadableImage, failed_at: float) -> bool:
        """Whether others could be read since an image failed."""
        if self._read_at < failed_at and not self._may_ask_witnesses(image, failure):
            return False
        if max(self._read_at, self._answered_at) < failed_at and not await self._some_witness_answers():
            return False
        if self._outage is not None:
            self._end_outage()
        self._num_in_a_row += image.path not in self._alone
        self._alone.add(image.path)
        return True

    def _may_ask_witnesses(self, image: ImageRecord, failure: UnreadableImage) -> bool:
        return not failure.of_disk or image.path in self._alone or self._num_in_a_row < MAX_DISK_ERRORS_IN_A_ROW

    async def _some_witness_answers(self) -> bool:
        for witness in reversed(list(self._witnesses.values())):
            began = time.monotonic()
            if await self._answers(witness):
                self._answered_at = began
                return True
        return False


class _Outage:
    """A time in which nothing can be read.

    Attributes:
        since: when it was noticed.
    """

    def __init__(self, image: ImageRecord, failure: UnreadableImage, since: float) -> None:
        self.since = since
        self._what = f"{image.path}: {failure.reason}"
        self._clock = time.strftime("%H:%M:%S")
        self._told_at: float | None = None

    @property
    def _seconds(self) -> int:
        return round(time.monotonic() - self.since)

    def tell(self, note: Callable[[str], None], timeout_s: float) -> None:
        """Tell of it, once at the beginning and regularly while it lasts."""
        now = time.monotonic()
        if self._told_at is None:
            note(f"images cannot be read since {self._clock} ({self._what}); waiting, for {timeout_s:.0f} s at most")
            self._told_at = now
        elif now - self._told_at >= SECONDS_BETWEEN_NOTES:
            note(f"images still cannot be read, since {self._clock}, for {self._seconds} s ({self._what})")
            self._told_at = now

    def describe_over(self) -> str:
        """Return that it is over."""
        return f"images can be read again, after {self._seconds} s"

    def describe_end(self) -> str:
        """Return why the run ends."""
        return (
            f"images cannot be read since {self._clock}, for {self._seconds} s ({self._what}); what is done is kept. "
            "Make them readable again, then the same command goes on; --access_timeout_s says how long it waits"
        )
