"""One reading process: `python -m ictc.dataset.decoding.worker SHARED_FD TIME_LIMIT_S`, started by `.pool` beside it.

Reads requests from stdin and writes replies to stdout, one JSON object a line. The file SHARED_FD is shared with the
parent: how long reading takes, then the pixels. Imports nothing but Pillow. Ends when stdin ends, so when the parent
dies, and ends itself when decoding an image takes longer than the time limit, wherever it hangs.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ictc.dataset.decoding.decode import decode_image
from ictc.dataset.decoding.source import find_source
from ictc.dataset.decoding.watched import TIMES, ReadTimer
from ictc.records import BrokenImage, Source, UnreadableImage


def main() -> None:
    """Serve until stdin ends."""
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_IGN)
    shared_fd, time_limit_s = int(sys.argv[1]), int(sys.argv[2])
    replies = _take_stdout()
    timer = ReadTimer(mmap.mmap(shared_fd, TIMES.size), time_limit_s)
    _send(replies, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        timer.start()
        reply = _answer(request, shared_fd, timer)
        signal.alarm(0)
        _send(replies, reply)


def _take_stdout() -> IO[str]:
    """Keep stdout for the replies alone: what a C library prints goes to stderr."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


def _answer(request: dict[str, Any], shared_fd: int, timer: ReadTimer) -> dict[str, object]:
    path = Path(request["path"])
    if "look" in request:
        found = find_source(path, look=request["look"], timer=timer)
        return {"source": asdict(found)} if isinstance(found, Source) else _describe(found)
    decoded = decode_image(path, request["max_image_tokens"], timer)
    if isinstance(decoded, BrokenImage | UnreadableImage):
        return _describe(decoded)
    os.pwrite(shared_fd, decoded.rgb, TIMES.size)
    return {"width": decoded.width, "height": decoded.height}


def _describe(failure: BrokenImage | UnreadableImage | None) -> dict[str, object]:
    match failure:
        case UnreadableImage():
            return {"unreadable": asdict(failure)}
        case BrokenImage():
            return {"broken": failure.reason}
    return {"source": None}


def _send(replies: IO[str], reply: dict[str, object]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
