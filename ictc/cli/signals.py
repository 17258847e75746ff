"""SIGTERM and SIGINT: the first asks the run to stop, the second ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Which signal asked for a stop, if any.

    Attributes:
        event: set by the first signal.
    """

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.signal_number: int | None = None

    def receive(self, signal_number: int) -> None:
        """Ask for a stop, or end the process if one was asked for already; the journal has what finished."""
        if self.signal_number is not None:
            os._exit(128 + signal_number)
        self.signal_number = signal_number
        self.event.set()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch the stop signals in the running event loop until the block ends."""
    request = StopRequest()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, request.receive, number)
    try:
        yield request
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
