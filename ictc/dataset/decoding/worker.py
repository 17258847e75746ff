"""One reading process: `python -m ictc.dataset.decoding.worker PIXELS_FD TIME_LIMIT_S`, started by `.pool` beside it.

Reads requests from stdin and writes replies to stdout, one JSON object a line; the pixels go into the
file PIXELS_FD, which is shared with the parent. Imports nothing but Pillow. Ends when stdin ends, so
when the parent dies, and ends itself when an image takes longer than the time limit, wherever it hangs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ictc.dataset.decoding.decode import decode_image
from ictc.dataset.decoding.source import find_source
from ictc.records import BrokenImage


def main() -> None:
    """Serve until stdin ends."""
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_IGN)
    pixels_fd, time_limit_s = int(sys.argv[1]), int(sys.argv[2])
    replies = _take_stdout()
    _send(replies, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.alarm(time_limit_s)
        reply = _answer(request, pixels_fd)
        signal.alarm(0)
        _send(replies, reply)


def _take_stdout() -> IO[str]:
    """Keep stdout for the replies alone: what a C library prints goes to stderr."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


def _answer(request: dict[str, Any], pixels_fd: int) -> dict[str, object]:
    path = Path(request["path"])
    if "look" in request:
        source = find_source(path, look=request["look"])
        return {"source": asdict(source) if source else None}
    decoded = decode_image(path, request["max_image_tokens"])
    if isinstance(decoded, BrokenImage):
        return {"reason": decoded.reason}
    os.pwrite(pixels_fd, decoded.rgb, 0)
    return {"width": decoded.width, "height": decoded.height}


def _send(replies: IO[str], reply: dict[str, object]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
