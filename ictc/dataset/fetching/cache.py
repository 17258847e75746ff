"""Copies of images that lie elsewhere: each content once, under its digest, with an index from addresses to contents.

    CACHE/
    ├── objects/ab/<SHA-256 of the content>
    ├── index/ab/<SHA-256 of the address>    a symbolic link whose target is the digest of the content
    └── drafts/                              what is being written

Every name appears at once and complete, so a kill at any time leaves a cache that is in order. Several processes may
share one: a content is locked while it is in use, and only what nobody holds is removed to keep the bound.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import uuid4

from ictc.errors import StorageError

SHARE_KEPT = 0.9
"""Of the bound, what a cleaning leaves: so that not every new image starts another."""

MAX_DRAFT_AGE_S = 86_400
"""An older draft belongs to a process that was killed."""


class Held:
    """A content in use: `path` stays valid until `close`."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file

    @property
    def sha256(self) -> str:
        """Of the content, in hex."""
        return self.path.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:  # a caller that was cancelled never saw it
        self.close()

    def close(self) -> None:
        """Let the content go; may be called twice."""
        self._file.close()


@dataclass
class Draft:
    """A content that is being written, into `file` or to `path`."""

    path: Path
    file: IO[bytes]
    is_added: bool = False


class ContentCache:
    """A cache in a folder, which is made if missing. Methods block, on the disk only.

    Args:
        max_bytes: bound on the contents; what was used least recently goes first, but never what is in use.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._objects, self._index, self._drafts = (folder / name for name in ("objects", "index", "drafts"))
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            self._drafts.mkdir(parents=True, exist_ok=True)
            for path in (self._objects, self._index):
                path.mkdir(exist_ok=True)
                there = {folder.name for folder in path.iterdir()}
                for name in sorted({f"{number:02x}" for number in range(256)} - there):
                    (path / name).mkdir(exist_ok=True)
            self._remove_old_drafts()
            self._num_bytes = sum(size for _, size, _ in self._iter_objects())
        except OSError as error:
            raise StorageError(f"cannot use {folder}: {error.strerror}; choose another --cache_dir") from None
        self._clean_above = max_bytes

    def knows(self, address: str) -> bool:
        """Whether the address was ever added, at next to no cost; its content may be gone."""
        return self._index_path(address).is_symlink()

    def find(self, address: str) -> Held | None:
        """Return the content of an address, None if it is not (any more) there."""
        try:
            content = self._index_path(address).readlink().name
            path = self._object_path(content)
            file = path.open("rb", buffering=0)
        except OSError:
            return None
        held = Held(path, file)
        # After a power failure, a file may not hold what its name says.
        if not _lock_shared(file, path) or _digest(file) != content:
            held.close()
            return None
        with suppress(OSError):
            os.utime(path)
        return held

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """Yield a new file to write a content into; what is not added is removed.

        Raises:
            StorageError: the disk refused.
        """
        path = self._drafts / f"{os.getpid()}-{uuid4().hex}"
        draft = None
        try:
            draft = Draft(path, path.open("x+b", buffering=2**16))
            yield draft
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; choose another --cache_dir") from error
        finally:
            if draft is not None and not draft.is_added:
                draft.file.close()
                path.unlink(missing_ok=True)

    def add(self, address: str, draft: Draft) -> Held:
        """Make a finished draft the content of an address, and return it in use."""
        _lock(draft.file, fcntl.LOCK_SH)
        content, size = _digest(draft.file), os.fstat(draft.file.fileno()).st_size
        path = self._object_path(content)
        draft.path.replace(path)  # an equal one that was there lives on for those who hold it
        draft.is_added = True
        self._point(address, content)
        self._grow(size)
        return Held(path, draft.file)

    def _point(self, address: str, content: str) -> None:
        link = self._index_path(address)
        try:
            link.symlink_to(content)
        except FileExistsError:
            temporary = self._drafts / f"{link.name}-{uuid4().hex}"
            temporary.symlink_to(content)
            temporary.replace(link)

    def _grow(self, size: int) -> None:
        with self._lock:
            self._num_bytes += size
            if self._num_bytes > self._clean_above:
                self._clean()

    def _clean(self) -> None:
        """Remove what was used least recently, until the rest is below the bound again."""
        objects = sorted(self._iter_objects())
        self._num_bytes = sum(size for _, size, _ in objects)
        for _, size, path in objects:
            if self._num_bytes <= SHARE_KEPT * self._max_bytes:
                break
            if _remove_unused(path):
                self._num_bytes -= size
        # Where everything is in use, the next cleaning waits until there is something to gain.
        self._clean_above = max(self._max_bytes, self._num_bytes + int((1 - SHARE_KEPT) * self._max_bytes))

    def _iter_objects(self) -> Iterator[tuple[float, int, Path]]:
        """Yield when each content was last used, its size and its path."""
        for folder in self._objects.iterdir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        status = entry.stat()
                        yield status.st_mtime, status.st_size, Path(entry.path)

    def _object_path(self, content: str) -> Path:
        return self._objects / content[:2] / content

    def _index_path(self, address: str) -> Path:
        name = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()
        return self._index / name[:2] / name

    def _remove_old_drafts(self) -> None:
        for path in self._drafts.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.lstat().st_mtime > MAX_DRAFT_AGE_S:
                    path.unlink()


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _lock_shared(file: IO[bytes], path: Path) -> bool:
    """Hold an open content; return whether it is still there, and not being removed."""
    if not _lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB):
        return False
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[bytes], operation: int) -> bool:
    """Lock an open file; return False if another has it. Where the file system knows no locks, nobody has any."""
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        return False
    except OSError:
        return operation & fcntl.LOCK_SH != 0
    return True


def _remove_unused(path: Path) -> bool:
    """Remove a content unless somebody holds it; where nobody could tell, it stays."""
    try:
        with path.open("rb", buffering=0) as file:
            if not _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return False
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return True
