"""What it means that a file can't be read: it is wrong in itself, or its bytes can't be had now, whatever they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ictc.records import UnreadableImage

WRONG_NAMES = (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What an entry itself is to blame for."""


class UnusableFile(Exception):
    """The file is no image that we decode; the message is the reason."""


class UnreadableFile(Exception):
    """The bytes of the file can't be had now, whatever they are; the message is the reason.

    Attributes:
        of_disk: whether the disk failed, rather than refused.
    """

    def __init__(self, reason: str, *, of_disk: bool = True) -> None:
        super().__init__(reason)
        self.of_disk = of_disk

    def as_result(self) -> UnreadableImage:
        """Return the same as a result."""
        return UnreadableImage(str(self), of_disk=self.of_disk)


def explain(error: OSError, path: Path) -> UnusableFile | UnreadableFile:
    """Return what an error of opening or reading means: the entry is wrong, or its bytes can't be had now."""
    cause = error.strerror or type(error).__name__
    is_gone = isinstance(error, FileNotFoundError)
    if is_gone and not has_neighbors(path):
        return UnreadableFile(f"{cause}; its folder is gone or empty")
    is_wrong = is_gone or error.errno in WRONG_NAMES
    if is_wrong:
        return UnusableFile(f"the file cannot be read: {cause}")
    return UnreadableFile(cause, of_disk=not isinstance(error, PermissionError))


def has_neighbors(path: Path) -> bool:
    """Whether the folder of a file, of a link's target, holds anything.

    A file may be gone by itself; of a file system that is gone, an empty folder is left, or none.
    """
    try:
        with os.scandir(Path(os.path.realpath(path)).parent) as entries:
            return any(True for _ in entries)
    except OSError:
        return False
