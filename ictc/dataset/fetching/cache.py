"""Copies of images that lie elsewhere: each content once, under its digest, with an index from addresses to contents.

    CACHE/
    ├── objects/ab/<SHA-256 of the content>
    ├── index/ab/<SHA-256 of the address>    a symbolic link, or a file, that names the digest of the content
    ├── held/<process>/                      names of its own for what a process is using
    └── drafts/                              what is being written

Every name appears at once and complete, so a kill at any time leaves a cache that is in order. Several processes, of
several machines, may share one, on whatever file system: nobody locks anything. Who uses a content gives it a second
name (a hard link), under which it lives on when it is removed to keep the bound.

Limits: the bound is for the contents that may be found; what is in use or being written comes on top, as copies where
there are no hard links. Each of several processes sees the additions of the others when it has added a twentieth of the
bound itself, so they may exceed it by as much each. Nothing is synced: a power failure may damage a content, which is
why each is read through before it is given out, and one that does not fit its name is fetched anew. Leftovers go by
their age by the clock of this machine: where that is a day ahead of the file server's, what another machine is writing
goes too, and its run ends with an error. What is behind an address without a version is never asked for again while it
is here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import uuid4

from ictc.errors import StorageError

SHARE_KEPT = 0.9
"""Of the bound, what a cleaning leaves: so that not every new image starts another."""

SHARE_UNSEEN = 0.05
"""Of the bound, what one process adds before it looks again at what the others did."""

MAX_AGE_S = 86_400
"""An older draft, or what a process was using that made no step for so long, is left from a kill."""


class Held:
    """A content in use: `path` stays valid until `close`.

    Attributes:
        sha256: of the content, in hex.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        self.path = path
        self.sha256 = sha256

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
        with suppress(OSError):
            self.path.unlink()


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
        names = ("objects", "index", "drafts", "held")
        self._objects, self._index, self._drafts, self._all_held = (folder / name for name in names)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            self._drafts.mkdir(parents=True, exist_ok=True)
            for path in (self._objects, self._index):
                path.mkdir(exist_ok=True)
                there = {folder.name for folder in path.iterdir()}
                for name in sorted({f"{number:02x}" for number in range(256)} - there):
                    (path / name).mkdir(exist_ok=True)
            self._remove_leftovers()
            self._num_bytes = sum(size for _, size, _ in self._iter_objects())
        except OSError as error:
            raise StorageError(f"cannot use {folder}: {error.strerror}; choose another --cache_dir") from None
        self._num_unseen = 0

    @cached_property
    def _held(self) -> Path:
        """The folder for what this process is using; where it was away for long, others have removed it."""
        return self._all_held / f"{this_machine()}-{os.getpid()}-{uuid4().hex[:8]}"

    def knows(self, address: str) -> bool:
        """Whether the address was ever added, at next to no cost; its content may be gone."""
        return os.path.lexists(self._index_path(address))

    def find(self, address: str) -> Held | None:
        """Return the content of an address, None if it is not (any more) there."""
        path = self._object_of(address)
        if path is None:
            return None
        with suppress(OSError):
            held = self.hold(path, path.name)
            if _is_whole(held.path, path.name):
                os.utime(path)
                return held
            held.close()
        return None

    def hold(self, path: Path, content: str) -> Held:
        """Return a content once more in use, that is at `path` now.

        Raises:
            OSError: it is not there (any more), or the disk refused.
        """
        held = Held(self._held / uuid4().hex, content)
        self._held.mkdir(parents=True, exist_ok=True)
        _give_name(path, name=held.path)
        return held

    def locate(self, address: str) -> Path | None:
        """Return where the content of an address is now, None if it is not there; a cleaning may remove it."""
        path = self._object_of(address)
        try:
            return path if path is not None and _is_whole(path, path.name) else None
        except OSError:
            return None

    def _object_of(self, address: str) -> Path | None:
        try:
            return self._object_path(_read_entry(self._index_path(address)))
        except OSError:
            return None

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
        content, size = _digest(draft.file), os.fstat(draft.file.fileno()).st_size
        draft.file.close()
        held = self.hold(draft.path, content)
        draft.path.replace(self._object_path(content))
        draft.is_added = True
        self._point(address, content=content)
        self._grow(size)
        return held

    def forget(self, address: str, *, content: str) -> None:
        """Remove a content that is no good, so that whoever asks for it, by whatever address, gets it anew."""
        with suppress(OSError):
            if _read_entry(self._index_path(address)) == content:  # else somebody put another there
                self._index_path(address).unlink()
        with suppress(OSError):
            size = self._object_path(content).stat().st_size
            self._object_path(content).unlink()
            self._grow(-size)

    def _point(self, address: str, *, content: str) -> None:
        entry = self._index_path(address)
        try:
            entry.symlink_to(content)
        except OSError:  # it is there, or the file system has no symbolic links
            temporary = self._drafts / f"{entry.name}-{uuid4().hex}"
            _write_entry(temporary, content)
            temporary.replace(entry)

    def _grow(self, size: int) -> None:
        with self._lock:
            self._num_bytes += size
            self._num_unseen += size
            if self._num_bytes > self._max_bytes or self._num_unseen > SHARE_UNSEEN * self._max_bytes:
                self._clean()

    def _clean(self) -> None:
        """See how much there is; if it is too much, remove what was used least recently, until there is room again."""
        objects = sorted(self._iter_objects())
        self._num_bytes = sum(size for _, size, _ in objects)
        self._num_unseen = 0
        if self._num_bytes <= self._max_bytes:
            return
        kept = {path.name for _, _, path in objects}
        for _, size, path in objects:
            if self._num_bytes <= SHARE_KEPT * self._max_bytes:
                break
            path.unlink(missing_ok=True)
            kept.remove(path.name)
            self._num_bytes -= size
        self._clean_index(kept)

    def _clean_index(self, kept: Set[str]) -> None:
        """Remove the entries of contents that are gone."""
        for folder in self._index.iterdir():
            with os.scandir(folder) as links:
                for link in links:
                    with suppress(FileNotFoundError):
                        content = _read_entry(link.path)
                        if content not in kept and not self._object_path(content).exists():
                            os.unlink(link.path)  # noqa: PTH108

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

    def _remove_leftovers(self) -> None:
        """Remove what processes left that were killed."""
        for path in self._drafts.iterdir():
            with suppress(FileNotFoundError):
                if _age_s(path) > MAX_AGE_S:
                    path.unlink()
        for path in self._all_held.iterdir() if self._all_held.is_dir() else ():
            with suppress(FileNotFoundError):
                if _is_over(path.name) or _age_s(path) > MAX_AGE_S:
                    shutil.rmtree(path, ignore_errors=True)


def _age_s(path: Path) -> float:
    return time.time() - path.lstat().st_mtime


def this_machine() -> str:
    """Return the name of this machine, and of where its process ids mean something: containers may share names."""
    try:
        return f"{socket.gethostname()}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _is_over(owner: str) -> bool:
    """Whether a process of this machine is known to have ended; of another machine's nobody here knows."""
    machine, pid, _ = owner.rsplit("-", 2) if owner.count("-") >= 2 else ("", "", "")
    if machine != this_machine() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _write_entry(path: Path, content: str) -> None:
    """Write an entry of the index: a link, or a file with what would be its target where there are no links."""
    try:
        path.symlink_to(content)
    except OSError:
        path.write_text(content)


def _read_entry(path: str | Path) -> str:
    """Return the digest of the content that an entry of the index is about.

    Raises:
        OSError: there is no such entry.
    """
    try:
        named = os.readlink(path)  # noqa: PTH115 - there may be millions
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        named = Path(path).read_text()
    return named.rpartition("/")[2]  # a name, whatever somebody has put there


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _is_whole(path: Path, sha256: str) -> bool:
    """Whether a file holds what its name says: after a power failure it may not."""
    with path.open("rb", buffering=0) as file:
        return _digest(file) == sha256


def _give_name(path: Path, *, name: Path) -> None:
    """Give a content one more name, where the file system has such; else copy it.

    Raises:
        OSError: it is not there (any more), or the disk refused.
    """
    try:
        os.link(path, name)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(path, name)
