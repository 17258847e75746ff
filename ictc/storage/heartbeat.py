"""A thread that does small things every few seconds for as long as the process lives, whatever else it is busy with.

A thread and not a task of the event loop: reading a long journal or writing exports keeps the loop busy for
minutes, and in that time the process must not seem dead.

Limits: code that keeps the interpreter's lock, as a library in C may, keeps the thread from its turn. The end of the
block waits for a beat that is under way, with a file server that does not answer for as long as that does not. A beat
that hangs holds up the others of its block, and not those of other blocks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ictc.errors import StorageError

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0


@contextmanager
def heartbeat(beats: Sequence[Callable[[], None]], interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Call all `beats` every `interval_s` seconds until the block ends, also those that failed the time before."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(interval_s):
            for beat in beats:
                try:
                    beat()
                except (OSError, StorageError) as error:
                    logger.warning("heartbeat: %s; trying again in %.0f s", error, interval_s)
                except Exception:  # ours to mend, but no reason to seem dead
                    logger.exception("heartbeat: trying again in %.0f s", interval_s)

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
