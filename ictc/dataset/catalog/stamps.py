"""What a file system says of a file, in a few bytes: another stamp means that the file may hold other bytes.

Size, time of change of the content, number of the file, and time of change of whatever is known of it (`ctime`), which
nobody can set. A hard link changes the last one alone, which is therefore kept apart.
"""

from __future__ import annotations

import os
import struct
import time
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

UNSURE = 0
"""The core of a stamp that tells nothing: the file may have been written again within a tick of its clock."""

ABSENT = 1
TICK_NS = 50_000_000
COARSE_TICK_NS = 2_000_000_000
"""Of file systems that know seconds only."""

NAMELESS = ("fuse", "vfat", "exfat", "msdos", "9p")
"""File systems that number files anew whenever they are mounted, and know no time of change of their own."""


class Stamp(NamedTuple):
    """What is said of a file, or of several.

    Attributes:
        core: 64 bits of all that a link to the file does not change.
        changed: when something was changed about the file, a link to it counted, in ns; 0 if that is not known.
    """

    core: int
    changed: int

    @property
    def version(self) -> str:
        """16 hex digits that are others for another stamp; never the same twice if the core tells nothing."""
        return f"{hash_numbers(self.core, self.changed, time.time_ns() if self.core == UNSURE else 0):016x}"


def stamp_file(path: str) -> Stamp:
    """Return the stamp of a file; of one that is not there, one of its own."""
    try:
        status = os.stat(path)  # noqa: PTH116 - millions of them
    except (OSError, ValueError):
        return Stamp(ABSENT, 0)
    if _may_tick_again(status):
        return Stamp(UNSURE, 0)
    if status.st_dev in devices_without_numbers():
        return Stamp(hash_numbers(status.st_size, status.st_mtime_ns, hash_text(path)), 0)
    return Stamp(hash_numbers(status.st_size, status.st_mtime_ns, status.st_ino), status.st_ctime_ns)


def join_stamps(stamps: list[Stamp]) -> Stamp:
    """Return a stamp that is another once one of these is."""
    if any(stamp.core == UNSURE for stamp in stamps):
        return Stamp(UNSURE, 0)
    return Stamp(hash_numbers(*(stamp.core for stamp in stamps)), hash_numbers(*(stamp.changed for stamp in stamps)))


def _may_tick_again(status: os.stat_result) -> bool:
    """Whether a file was written so lately that it may be again without another time (what git calls racy)."""
    is_coarse = not status.st_mtime_ns % 10**9 and not status.st_ctime_ns % 10**9
    return time.time_ns() - status.st_mtime_ns < (COARSE_TICK_NS if is_coarse else TICK_NS)


def hash_numbers(*numbers: int) -> int:
    """Return 64 bits of some numbers of up to 64 bits each, never `UNSURE` or `ABSENT`."""
    packed = struct.pack(f"<{len(numbers)}Q", *(number % 2**64 for number in numbers))
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "big") | 2


def hash_text(text: str) -> int:
    """Return 64 bits of a text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


@cache
def devices_without_numbers() -> frozenset[int]:
    """Return the devices whose files have no lasting numbers, as far as the system tells."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(_device(line) for line in lines if line.partition(" - ")[2].startswith(NAMELESS))


def _device(line: str) -> int:
    major, _, minor = line.split()[2].partition(":")
    return os.makedev(int(major), int(minor))
