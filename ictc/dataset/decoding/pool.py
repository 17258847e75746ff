"""Read images in worker processes, so that a crash or a hang costs one image and no core is idle.

Knows how to start, feed, time and replace the processes of `ictc.dataset.decoding.worker`, and nothing of image
formats. A worker is a fresh interpreter, never a fork: the parent may hold CUDA contexts and threads.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from ictc.dataset.decoding.turns import Spent, Turns
from ictc.dataset.decoding.watched import TIMES
from ictc.errors import StageError
from ictc.records import BrokenImage, DecodedImage, Source, UnreadableImage, Wait

ResultT = TypeVar("ResultT")

DECODE_TIMEOUT_S = 60
"""The largest accepted image takes a few seconds to decode, and a disk that lives gives a megabyte in less: what takes
a minute hangs."""

ATTEMPTS = 2
"""A worker may die for a reason that isn't its image's: an image is broken once it has cost two workers."""

MAX_WORKERS = 16
"""More than feeds the fastest GPU node; each costs about 40 MB, and up to 3.5 GB on the largest images."""

PIXEL_BLOCKS_KEPT = 4
"""Blocks of 16 MB that Pillow keeps for the next image; else the system clears fresh memory for each, and that takes
nearly as long as decoding."""

_EXIT_TIMEOUT_S = 5


class DecodePool:
    """Worker processes that decode images; they start when needed and end with `close` or with the parent.

    Args:
        num_workers: most processes. Unset: one for each core this process may use, up to `MAX_WORKERS`.
        timeout_s: longest time for decoding an image, and for a file to give nothing.
    """

    def __init__(self, num_workers: int | None = None, *, timeout_s: int = DECODE_TIMEOUT_S) -> None:
        self.num_workers = num_workers or min(_num_usable_cores(), MAX_WORKERS)
        self._slots = asyncio.Semaphore(self.num_workers)
        self._timeout_s = timeout_s
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._spent = Spent()
        self._turns = Turns()
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether no worker is to be had."""
        return self._slots.locked()

    def waits_for(self) -> Wait | None:
        """Return what the workers are about, None if they have nothing to do.

        Whether they read or decode is told in turns, so that each is told for as long as it takes of their time: asked
        at the same point of each image, they would always be at the same.
        """
        if not self._busy:
            return Wait.DECODING if self.is_full else None  # they are being started
        spent = sum((worker.spent() for worker in self._busy), self._spent)
        return self._turns.next(spent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the worker processes, the busy ones after their image; may be called twice."""
        self._is_closed = True
        workers, self._idle = self._idle, []
        await asyncio.gather(*(worker.kill() for worker in workers))

    async def decode(self, path: Path, max_image_tokens: int) -> DecodedImage | BrokenImage | UnreadableImage:
        """Decode one image file as `ictc.dataset.decoding.decode.decode_image` does, in a worker process.

        Any number of calls may wait at a time. A cancelled call costs its worker, no other image.

        Raises:
            StageError: the worker processes don't start.
        """
        try:
            return await self._call(lambda worker: worker.decode(path, max_image_tokens))
        except _WorkerLost as error:
            return error.as_result()

    async def find_source(self, path: Path, *, look: bool) -> Source | UnreadableImage | None:
        """Return what tells equal images, as `find_source` of `ictc.dataset.decoding.source`.

        Raises:
            StageError: the worker processes don't start.
        """
        try:
            return await self._call(lambda worker: worker.find_source(path, look=look))
        except _WorkerLost as error:
            result = error.as_result()
            return result if isinstance(result, UnreadableImage) else None

    async def _call(self, work: Callable[[_Worker], Awaitable[ResultT]]) -> ResultT:
        """Let a worker do something.

        Raises:
            StageError: the worker processes don't start.
            _WorkerLost: it cost `ATTEMPTS` workers.
        """
        async with self._slots:
            for _ in range(ATTEMPTS - 1):
                try:
                    return await self._try(work)
                except _WorkerLost as error:
                    if error.in_reading:
                        raise
            return await self._try(work)

    async def _try(self, work: Callable[[_Worker], Awaitable[ResultT]]) -> ResultT:
        worker = self._idle.pop() if self._idle else await _Worker.start(self._timeout_s)
        try:
            with self._busy_with(worker):
                result = await work(worker)
        except BaseException:
            await worker.kill()
            raise
        if self._is_closed:
            await worker.kill()
        else:
            self._idle.append(worker)
        return result

    @contextmanager
    def _busy_with(self, worker: _Worker) -> Iterator[None]:
        self._busy.add(worker)
        try:
            yield
        finally:
            self._busy.discard(worker)
            self._spent += worker.spent()


class _WorkerLost(Exception):
    """A worker ended while it had an image; the message is the reason.

    Attributes:
        in_reading: whether it had no bytes to decode.
        is_bytes_fault: whether what it was decoding may be to blame.
    """

    def __init__(self, reason: str, *, in_reading: bool = False, is_bytes_fault: bool = True) -> None:
        super().__init__(reason)
        self.in_reading = in_reading
        self.is_bytes_fault = is_bytes_fault and not in_reading

    def as_result(self) -> BrokenImage | UnreadableImage:
        """Return what that means for the image."""
        if self.is_bytes_fault:
            return BrokenImage(str(self))
        return UnreadableImage(str(self), of_disk=self.in_reading)


class _Worker:
    """One process and the file by which it shares how long it reads, and its pixels; decodes one image at a time."""

    def __init__(self, process: asyncio.subprocess.Process, shared: IO[bytes], timeout_s: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._replies = process.stdout
        self._shared = shared
        self._times = mmap.mmap(shared.fileno(), TIMES.size)
        self._timeout_s = timeout_s
        self._began = time.monotonic()

    def spent(self) -> Spent:
        """Return how long it has had its image until now."""
        now = time.monotonic()
        return Spent(total_s=now - self._began, reading_s=self._read_s(now))

    def _read_s(self, now: float) -> float:
        """Return how many seconds it has read its image until `now`."""
        times: tuple[float, float] = TIMES.unpack_from(self._times)
        reading_since, read_s = times
        return read_s + (now - reading_since if reading_since else 0.0)

    @classmethod
    async def start(cls, timeout_s: int) -> _Worker:
        """Start a process and wait until it is ready.

        Raises:
            StageError: it does not start.
        """
        try:
            worker = await cls._spawn(timeout_s)
        except OSError as error:
            raise _start_error(error.strerror or str(error)) from None
        try:
            await worker._parse(await worker._replies.readline())
        except _WorkerLost as error:
            await worker.kill()
            raise _start_error(str(error)) from None
        except BaseException:
            await worker.kill()
            raise
        return worker

    @classmethod
    async def _spawn(cls, timeout_s: int) -> _Worker:
        shared = _open_shared_file()
        # The worker's own limit is later than ours: it acts only if we are gone.
        arguments = [str(shared.fileno()), str(2 * timeout_s)]
        try:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-P", "-m", "ictc.dataset.decoding.worker", *arguments],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=[shared.fileno()],
                env={
                    "PILLOW_BLOCKS_MAX": str(PIXEL_BLOCKS_KEPT),
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
                start_new_session=True,
            )
        except BaseException:
            shared.close()
            raise
        return cls(process, shared, timeout_s)

    async def decode(self, path: Path, max_image_tokens: int) -> DecodedImage | BrokenImage | UnreadableImage:
        """Raises _WorkerLost if the process gives no answer."""
        reply = await self._ask({"path": str(path), "max_image_tokens": max_image_tokens})
        if "broken" in reply:
            return BrokenImage(reply["broken"])
        if "unreadable" in reply:
            return UnreadableImage(**reply["unreadable"])
        width, height = reply["width"], reply["height"]
        return DecodedImage(
            width=width, height=height, rgb=os.pread(self._shared.fileno(), width * height * 3, TIMES.size)
        )

    async def find_source(self, path: Path, *, look: bool) -> Source | UnreadableImage | None:
        """Raises _WorkerLost if the process gives no answer."""
        reply = await self._ask({"path": str(path), "look": look})
        if "unreadable" in reply:
            return UnreadableImage(**reply["unreadable"])
        return Source(**reply["source"]) if reply["source"] else None

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        TIMES.pack_into(self._times, 0, 0.0, 0.0)
        self._began = time.monotonic()
        with suppress(ConnectionError):
            self._requests.write(json.dumps(request).encode() + b"\n")
            await self._requests.drain()
        left_s = float(self._timeout_s)
        while True:
            try:
                async with asyncio.timeout(left_s):
                    line = await self._replies.readline()
            except TimeoutError:
                left_s = self._check_time()
            else:
                return await self._parse(line)

    def _check_time(self) -> float:
        """Return how long there may still be no answer, in seconds.

        Raises:
            _WorkerLost: reading has stood still, or decoding has taken, for too long.
        """
        now = time.monotonic()
        times: tuple[float, float] = TIMES.unpack_from(self._times)
        reading_since, read_s = times
        reading_s = now - reading_since if reading_since else 0.0
        decoding_s = now - self._began - read_s - reading_s
        if reading_s >= self._timeout_s:
            raise _WorkerLost(f"nothing came of it for {self._timeout_s} s", in_reading=True)
        if decoding_s >= self._timeout_s:
            raise _WorkerLost(f"decoding took longer than {self._timeout_s} s")
        return self._timeout_s - max(reading_s, decoding_s)

    async def _parse(self, line: bytes) -> dict[str, Any]:
        if not line.endswith(b"\n"):
            raise _describe_exit(await self._process.wait())
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._requests.close()
        # A process in an uninterruptible read of a dead file server doesn't end; waiting for it would hang us too.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _EXIT_TIMEOUT_S)
        self._times.close()
        self._shared.close()


def _start_error(cause: str) -> StageError:
    return StageError(
        f"Image decoding does not start ({cause}); check that `{sys.executable} -c 'import PIL.Image'` works "
        f"and that memory, processes and open files are not exhausted."
    )


def _open_shared_file() -> IO[bytes]:
    """Open an unnamed file, in memory where the system can: one copy of the pixels instead of a pipe's many."""
    descriptor = os.memfd_create("ictc-pixels") if sys.platform == "linux" else _open_unnamed()
    shared = os.fdopen(descriptor, "w+b", buffering=0)
    shared.truncate(TIMES.size)
    return shared


def _open_unnamed() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _describe_exit(return_code: int) -> _WorkerLost:
    if return_code == -signal.SIGKILL:
        reason = "decoding was killed, most often because the memory is full"
        return _WorkerLost(reason, is_bytes_fault=False)
    if return_code < 0:
        return _WorkerLost(f"decoding crashed ({signal.Signals(-return_code).name})")
    return _WorkerLost(f"decoding ended with exit code {return_code}")


def _num_usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
