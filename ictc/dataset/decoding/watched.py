"""Opens a file so that trouble in reading it is told from trouble with its bytes.

A decoder turns any error into one of its own, or into no error at all; so what the file system did is noted here, where
it happens: an error of reading, and how long reading takes, which another process can see while it lasts.
"""

from __future__ import annotations

import io
import mmap
import signal
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ictc.dataset.file_errors import UnusableFile, explain

ResultT = TypeVar("ResultT")

BUFFER_BYTES = 2**16
CHUNK_BYTES = 2**20
"""Read at a time: however large a file is, a disk that lives shows it every so many bytes."""

TIMES = struct.Struct("=dd")


class ReadTimer:
    """Notes how long files are being read, in memory that it may share with another process.

    Args:
        shared: begins with `TIMES`: when the reading began that is under way, 0 if none is, and how many seconds
            earlier readings took. None where nobody looks.
        alarm_s: how long after the last reading the alarm clock of this process is to go off, if it has one.
    """

    def __init__(self, shared: mmap.mmap | None = None, alarm_s: int = 0) -> None:
        self._times = shared if shared is not None else bytearray(TIMES.size)
        self._alarm_s = alarm_s
        self._total_s = self._alarmed_at = 0.0

    def start(self) -> None:
        """Begin with the next image."""
        self._total_s = 0.0
        self._alarmed_at = time.monotonic()
        signal.alarm(self._alarm_s)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Note that the block reads."""
        began = time.monotonic()
        TIMES.pack_into(self._times, 0, began, self._total_s)
        try:
            yield
        finally:
            now = time.monotonic()
            self._total_s += now - began
            TIMES.pack_into(self._times, 0, 0.0, self._total_s)
            if self._alarm_s and now > self._alarmed_at + 1:
                self._alarmed_at = now
                signal.alarm(self._alarm_s)


class WatchedFile(io.FileIO):
    """A file that is read under a timer, and keeps its first error; to be wrapped in a `BufferedReader`."""

    def __init__(self, path: Path, timer: ReadTimer) -> None:
        super().__init__(path)
        self.failure: OSError | None = None
        self._timer = timer

    def readinto(self, buffer: Any) -> int:
        """Read up to `CHUNK_BYTES`."""
        view = memoryview(buffer).cast("B")[:CHUNK_BYTES]
        return self._watch(lambda: super(WatchedFile, self).readinto(view))

    def readall(self) -> bytes:
        """Read all that is left, chunk by chunk."""
        chunks = []
        while chunk := self._watch(lambda: super(WatchedFile, self).read(CHUNK_BYTES)):
            chunks.append(chunk)
        return b"".join(chunks)

    def fileno(self) -> int:
        """Refuse: a decoder that read by itself would be watched by nobody."""
        raise io.UnsupportedOperation("this file is read through its methods")

    def _watch(self, read: Callable[[], ResultT]) -> ResultT:
        try:
            with self._timer.reading():
                return read()
        except OSError as error:
            self.failure = self.failure or error
            raise


@contextmanager
def open_watched(path: Path, timer: ReadTimer) -> Iterator[io.BufferedReader[Any]]:
    """Yield the file; whatever the block makes of an error of reading, that error is what counts.

    Raises:
        UnusableFile: it is gone or no file, while the folder around it is in order.
        UnreadableFile: its bytes can't be had now.
    """
    try:
        with timer.reading():
            _check(path)
            raw = WatchedFile(path, timer)
    except OSError as error:
        raise explain(error, path) from None
    try:
        with io.BufferedReader(raw, BUFFER_BYTES) as file:
            yield file
    finally:
        if raw.failure is not None:
            raise explain(raw.failure, path) from None


def _check(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFile("is not a regular file")
    if status.st_size == 0:
        raise UnusableFile("the file is empty")
