"""Where the time of a step goes: whom its engines wait for at each moment, in seconds that add up to all of it.

The engines are what costs, so each of them is watched, and each has the same weight. An engine's second counts for one
thing only: for the engine itself, if it has all that it may have; else for what keeps the next request from it. While
this process writes records it does nothing else, so that counts as the journal's, whatever the engines had.

That does not tell what an engine does with its time, nor that some engines prepare images in this process: how long its
main thread has computed is kept beside it for that reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ictc.records import Wait


class Timekeeper:
    """Keeps the time of one step, from its making on.

    One thread counts. Others may look at any time; what ends at that moment they may see twice, or not at all.

    Attributes:
        computed_s: how long the main thread has computed, when it was last looked at.
    """

    def __init__(self) -> None:
        self.computed_s = 0.0
        self._seconds = dict.fromkeys(Wait, 0.0)
        self._written_s = 0.0
        self._writing_since: float | None = None
        self._places = [(Wait.MAIN_PROCESS, time.monotonic())]
        self._cpu_at_start_s = time.thread_time()

    def divide(self, num_engines: int, wait: Wait = Wait.MAIN_PROCESS) -> None:
        """Go on with so many engines, all of which wait for the same."""
        for place in range(len(self._places)):
            self._count(place, wait)
        self._places = [(wait, time.monotonic() - self._written_s)] * num_engines

    def wait_for(self, place: int, wait: Wait) -> None:
        """Note what an engine waits for from now on."""
        if self._places[place][0] is not wait:
            self._count(place, wait)

    def now_waits_for(self, place: int) -> Wait:
        """Return what an engine waits for."""
        return self._places[place][0]

    def wrote_since(self, began: float) -> None:
        """Note that records have been written from `began` until now, by the monotonic clock."""
        self._written_s += time.monotonic() - began

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Note that the block writes, which may take so long that others look meanwhile."""
        self._writing_since = began = time.monotonic()
        try:
            yield
        finally:
            self._writing_since = None
            self.wrote_since(began)

    def look_at_cpu(self) -> None:
        """Note how long the thread that made this, and calls it now, has computed."""
        self.computed_s = time.thread_time() - self._cpu_at_start_s

    def seconds(self) -> dict[Wait, float]:
        """Return how long each was waited for; together that is all of the time."""
        seconds, places, written_s = self._seconds.copy(), self._places.copy(), self._written_s
        now, since = time.monotonic(), self._writing_since
        written_s += now - since if since is not None else 0.0
        for wait, began in places:
            seconds[wait] += max(now - written_s - began, 0.0) / len(places)
        seconds[Wait.JOURNAL] = written_s
        return {wait: waited_s for wait, waited_s in seconds.items() if waited_s}

    def _count(self, place: int, following: Wait) -> None:
        """Count what an engine has waited for, by a clock that stands while records are written."""
        now = time.monotonic() - self._written_s
        wait, since = self._places[place]
        self._seconds[wait] += (now - since) / len(self._places)
        self._places[place] = following, now
