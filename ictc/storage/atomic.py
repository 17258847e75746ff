"""Files that are either whole or absent, also after a crash and on network file systems.

Whoever opens the path finds the old content or the new one, at any instant and after any crash. The limits of that:

- A path has one writer at a time, which is for the lock of the run directory to see to. A second one removes what the
  first has not finished, and the first then fails with a `StorageError`.
- A new file takes the place of the old one. A symbolic link is replaced and what it pointed to stays; hard links keep
  the old content; mode, owner and extended attributes are those of any new file. Permission to write the folder is all
  that it takes, so a file that is read-only is replaced too.
- Who has the old file open reads the old content to its end; on NFS that may end in an error (ESTALE; not tried).
- A killed writer leaves `.<name>.<process>.tmp`. The next writer of the same path removes it, and nobody else.
- `fsync` is as good as the file system and the disk. Where folders can't be synced, a new name may be lost with the
  machine. An error may come after the file was replaced: then the new content is there, though the writer failed.
- It costs two syncs, and a listing of the folder: 0.8 s where that has 100,000 files.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import takewhile
from pathlib import Path
from typing import IO

from ictc.errors import StorageError

MAX_STEM_BYTES = 120
"""A name has 255 bytes at most, and 143 in an encrypted home folder."""

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; choose another --output_dir or remount it",
    errno.EACCES: "permission denied; choose another --output_dir or change its owner",
    errno.EIO: "the disk reports an error; check it, then run the same command again",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` while writing `path` into a `StorageError` that says what to do."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"cannot write {path}: {remedy}") from error


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` as a whole when the block ends, and leaves it alone if the block raises.

    Raises:
        StorageError: the disk refused.
    """
    temporary = path.with_name(f".{temporary_stem(path)}.{os.getpid()}.tmp")
    with storage_errors(path):
        make_directory(path.parent)
        remove_leftovers(path)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            fsync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def temporary_stem(path: Path) -> str:
    """Return what names of unfinished files at `path` begin with: its own, where that leaves room for more."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= MAX_STEM_BYTES else blake2b(name, digest_size=8).hexdigest()


def remove_leftovers(path: Path) -> None:
    """Delete what killed writers of `path` left unfinished; as a file has one writer, none of them lives."""
    leftover = re.compile(rf"\.{re.escape(temporary_stem(path))}\.\d+\.tmp")
    for sibling in path.parent.iterdir():
        if leftover.fullmatch(sibling.name):
            sibling.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace the content of `path` at once.

    Raises:
        StorageError: the disk refused.
    """
    with atomic_writer(path) as file:
        file.write(content)


def make_directory(directory: Path) -> None:
    """Make a folder and all above it that are missing, and their names durable.

    Raises:
        OSError: the disk refused.
    """
    missing = list(takewhile(lambda one: not one.is_dir(), (directory, *directory.parents)))
    directory.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        fsync_directory(made.parent)


def fsync_directory(directory: Path) -> None:
    """Make the names in `directory` durable, where the file system lets directories be synced."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
