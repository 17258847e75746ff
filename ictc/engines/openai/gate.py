"""When a server may be asked: at any time, or, after it asked to wait or went down, by one request at a time.

Knows clocks and counts. Why a gate closes is decided by `failures`, who passes it by the engine.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import KW_ONLY, dataclass, field

MIN_WAIT_S = 0.25
"""Where a server says "at once" and then the same again."""
FIRST_WAIT_S = 1.0
MAX_WAIT_S = 60.0
"""Longest wait between two tries at a server that doesn't say how long to wait."""
CALM_S = 60.0
"""A server that was asked for so long without trouble starts anew: short waits, and news that are told."""


@dataclass(slots=True)
class Gate:
    """The gate of one server. Times are in seconds, of the monotonic clock where they are moments.

    Attributes:
        allowed: most requests in flight: halved when the gate closes, one more with every answer.
        waits: how often in a row it was closed; it decides how long without word from the server.
        closed_at: when it was closed, None while it is open.
        resume_at: when one request may try.
        since: when the trouble began, None if the last request was answered.
        patience_s: how long this trouble may last.
        is_tried: whether a request is on its way to see.
    """

    most: int
    allowed: float = field(init=False)
    _: KW_ONLY
    waits: int = 0
    closed_at: float | None = None
    opened_at: float = -math.inf
    resume_at: float = -math.inf
    since: float | None = None
    patience_s: float = math.inf
    is_tried: bool = False

    def __post_init__(self) -> None:
        self.allowed = self.most

    @property
    def is_open(self) -> bool:
        """Whether requests pass without being a trial."""
        return self.closed_at is None

    @property
    def seconds_left(self) -> float:
        """Seconds until one request may try."""
        return max(self.resume_at - time.monotonic(), 0.0)

    @property
    def has_lasted_too_long(self) -> bool:
        """Whether the trouble has lasted, or by the server's own word will last, longer than there is patience."""
        return self.since is not None and self.resume_at - self.since > self.patience_s

    def admits(self, in_flight: int) -> bool:
        """Whether another request may pass now."""
        if self.is_open:
            return in_flight < self.allowed
        return not self.is_tried and self.seconds_left <= 0

    def enter(self) -> float:
        """Let a request pass; return when it did, for `record_answer` and `close`."""
        self.is_tried = not self.is_open
        return time.monotonic()

    def record_answer(self, entered_at: float) -> None:
        """Open the gate, unless the answer is to a request from before it closed."""
        if self.closed_at is not None and entered_at < self.closed_at:
            return
        self.allowed = min(self.allowed + 1, self.most)
        self.since = None
        if self.closed_at is not None:
            self.closed_at, self.opened_at, self.is_tried = None, time.monotonic(), False
            self.waits = max(self.waits - 2, 0)

    def close(self, entered_at: float, *, wait_s: float | None, patience_s: float) -> bool:
        """Let nobody pass for a while; return whether that is news to a user.

        Args:
            entered_at: of the request that met the trouble; one from before the gate closed met the same.
            wait_s: how long the server asks to wait, None for longer and longer.
        """
        now = time.monotonic()
        if self.closed_at is not None and entered_at < self.closed_at:
            self.resume_at = max(self.resume_at, now + (wait_s or 0.0))
            return False
        is_news = self.is_open and now - self.opened_at > CALM_S
        if is_news:
            self.waits = 0
        if self.is_open:
            self.allowed = max(self.allowed / 2, 1.0)
        self.since = now if self.since is None else self.since
        self.patience_s = patience_s
        self.resume_at = now + (self._next_wait_s() if wait_s is None else max(wait_s, MIN_WAIT_S))
        self.closed_at, self.is_tried = now, False
        self.waits += 1
        return is_news

    def release(self) -> None:
        """Let another request try, where one that tried learned nothing."""
        self.is_tried = False

    def _next_wait_s(self) -> float:
        return min(FIRST_WAIT_S * 2.0**self.waits, MAX_WAIT_S) * random.uniform(0.8, 1.0)
