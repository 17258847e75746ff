"""Keeps every other process out of the run directories that this one works in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from ictc.errors import StorageError
from ictc.runs.reporter import Reporter
from ictc.runs.stopping import Interrupted, raise_if_stopped
from ictc.storage.heartbeat import heartbeat
from ictc.storage.lock import RunLock, refusal
from ictc.storage.rundir import RunDirectory

LOCK_POLL_S = 2.0


@asynccontextmanager
async def hold_locks(
    directories: Sequence[RunDirectory], reporter: Reporter, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Keep every other process out of the run directories until the block ends.

    Raises:
        StorageError: another process has one of them, or took one over because this process seemed dead.
    """
    loop = asyncio.get_running_loop()
    lost: list[Path] = []

    def touch(directory: RunDirectory, lock: RunLock) -> None:
        if not lost and not lock.touch():
            lost.append(directory.path)
            loop.call_soon_threadsafe(stop.set)

    with ExitStack() as stack:
        locks = [(one, stack.enter_context(await take_lock(one, reporter, stop))) for one in directories]
        stack.enter_context(heartbeat([partial(touch, *one) for one in locks]))
        try:
            yield
        except Interrupted:
            if lost:
                raise StorageError(f"{lost[0]} was taken over by another process, as this one seemed dead") from None
            raise


async def take_lock(directory: RunDirectory, reporter: Reporter, stop: asyncio.Event) -> RunLock:
    """Take the lock of a run directory; an owner on another machine gets time to show whether it lives.

    Raises:
        StorageError: its owner lives.
    """
    lock = RunLock(directory.path / "state")
    owned = lock.try_acquire()
    first_seen = owned and (owned.path, owned.touched_at)
    if owned is not None and not owned.is_local:
        reporter.note(f"{directory.path} is in use by {owned}; looking whether that is still alive")
    while owned is not None:
        if owned.is_local or (owned.path, owned.touched_at) != first_seen:
            raise refusal(directory.path, owned)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOCK_POLL_S)
        raise_if_stopped(stop)
        owned = lock.try_acquire()
    if lock.taken_from is not None:
        reporter.note(f"{directory.path}: resuming after {lock.taken_from}, which is dead")
    return lock
