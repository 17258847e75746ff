"""Read images in worker processes, so that a crash or a hang costs one image and no core is idle.

Knows how to start, feed, time and replace the processes of `ictc.dataset.decoding.worker`, and nothing of image
formats. A worker is a fresh interpreter, never a fork: the parent may hold CUDA contexts and threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from ictc.errors import StageError
from ictc.records import BrokenImage, DecodedImage, Source

ResultT = TypeVar("ResultT")

DECODE_TIMEOUT_S = 60
"""The largest accepted image takes a few seconds; what takes a minute hangs."""

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
        timeout_s: longest time for one image.
    """

    def __init__(self, num_workers: int | None = None, *, timeout_s: int = DECODE_TIMEOUT_S) -> None:
        self.num_workers = num_workers or min(_num_usable_cores(), MAX_WORKERS)
        self._slots = asyncio.Semaphore(self.num_workers)
        self._timeout_s = timeout_s
        self._idle: list[_Worker] = []
        self._is_closed = False

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

    async def decode(self, path: Path, max_image_tokens: int) -> DecodedImage | BrokenImage:
        """Decode one image file as `ictc.dataset.decoding.decode.decode_image` does, in a worker process.

        Any number of calls may wait at a time. A cancelled call costs its worker, no other image.

        Raises:
            StageError: the worker processes don't start.
        """
        try:
            return await self._call(lambda worker: worker.decode(path, max_image_tokens))
        except _WorkerLost as error:
            return BrokenImage(str(error))

    async def find_source(self, path: Path, *, look: bool) -> Source | None:
        """Return what tells equal images, as `find_source` of `ictc.dataset.decoding.source`; None if unreadable.

        Raises:
            StageError: the worker processes don't start.
        """
        try:
            return await self._call(lambda worker: worker.find_source(path, look=look))
        except _WorkerLost:
            return None

    async def _call(self, work: Callable[[_Worker], Awaitable[ResultT]]) -> ResultT:
        """Let a worker do something.

        Raises:
            StageError: the worker processes don't start.
            _WorkerLost: it cost `ATTEMPTS` workers.
        """
        async with self._slots:
            for _ in range(ATTEMPTS - 1):
                with suppress(_WorkerLost):
                    return await self._try(work)
            return await self._try(work)

    async def _try(self, work: Callable[[_Worker], Awaitable[ResultT]]) -> ResultT:
        worker = self._idle.pop() if self._idle else await _Worker.start(self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await work(worker)
        except TimeoutError:
            await worker.kill()
            raise _WorkerLost(f"decoding took longer than {self._timeout_s} s") from None
        except BaseException:
            await worker.kill()
            raise
        if self._is_closed:
            await worker.kill()
        else:
            self._idle.append(worker)
        return result


class _WorkerLost(Exception):
    """A worker ended while it had an image; the message is the reason."""


class _Worker:
    """One process and the file that it shares its pixels by; decodes one image at a time."""

    def __init__(self, process: asyncio.subprocess.Process, pixels: IO[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._replies = process.stdout
        self._pixels = pixels

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
            await worker._receive()
        except _WorkerLost as error:
            await worker.kill()
            raise _start_error(str(error)) from None
        except BaseException:
            await worker.kill()
            raise
        return worker

    @classmethod
    async def _spawn(cls, timeout_s: int) -> _Worker:
        pixels = _open_shared_file()
        # The worker's own limit is later than ours: it acts only if we are gone.
        arguments = [str(pixels.fileno()), str(2 * timeout_s)]
        try:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-P", "-m", "ictc.dataset.decoding.worker", *arguments],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=[pixels.fileno()],
                env={
                    "PILLOW_BLOCKS_MAX": str(PIXEL_BLOCKS_KEPT),
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
                start_new_session=True,
            )
        except BaseException:
            pixels.close()
            raise
        return cls(process, pixels)

    async def decode(self, path: Path, max_image_tokens: int) -> DecodedImage | BrokenImage:
        """Raises _WorkerLost if the process ends instead of answering."""
        reply = await self._ask({"path": str(path), "max_image_tokens": max_image_tokens})
        if "reason" in reply:
            return BrokenImage(reply["reason"])
        width, height = reply["width"], reply["height"]
        return DecodedImage(width, height, os.pread(self._pixels.fileno(), width * height * 3, 0))

    async def find_source(self, path: Path, *, look: bool) -> Source | None:
        """Raises _WorkerLost if the process ends instead of answering."""
        reply = await self._ask({"path": str(path), "look": look})
        return Source(**reply["source"]) if reply["source"] else None

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with suppress(ConnectionError):
            self._requests.write(json.dumps(request).encode() + b"\n")
            await self._requests.drain()
        return await self._receive()

    async def _receive(self) -> dict[str, Any]:
        line = await self._replies.readline()
        if not line.endswith(b"\n"):
            raise _WorkerLost(_describe_exit(await self._process.wait()))
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._requests.close()
        # A process in an uninterruptible read of a dead file server doesn't end; waiting for it would hang us too.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _EXIT_TIMEOUT_S)
        self._pixels.close()


def _start_error(cause: str) -> StageError:
    return StageError(
        f"Image decoding does not start ({cause}); check that `{sys.executable} -c 'import PIL.Image'` works "
        f"and that memory, processes and open files are not exhausted."
    )


def _open_shared_file() -> IO[bytes]:
    """Open an unnamed file, in memory where the system can: one copy of the pixels instead of a pipe's many."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("ictc-pixels"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _describe_exit(return_code: int) -> str:
    if return_code == -signal.SIGKILL:
        return "decoding was killed, most often because the memory is full"
    if return_code < 0:
        return f"decoding crashed ({signal.Signals(-return_code).name})"
    return f"decoding ended with exit code {return_code}"


def _num_usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
