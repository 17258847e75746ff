"""One process a run directory, also on NFS, where locks of the kernel can't be relied on.

The lock is the file `lock-<n>.json` with the highest n. Making the next one, which a file system lets one
process do, takes the lock over: from an owner that released it, or that is dead. The numbers only grow, so
a process that looked long ago can't take what has changed hands since.

An owner on this machine is dead if its process is gone. An owner elsewhere shows that it lives by touching
its file; that is judged by the clock of the file server alone. This module knows nothing of runs.

Limits:

- The lock keeps out who asks for it, and stops nobody's writes. An owner elsewhere that was suspended for longer than
  `SILENT_AFTER_S` learns at its next touch that it has lost the lock. Until then, seconds, both write: records into
  segments of their own and whole files, so nothing is torn, but a file may be that of the loser. On this machine a
  suspended owner keeps its lock.
- Machines may list a folder as it was a while ago: NFS by default up to a minute. That is why locks are looked at by
  opening them, and why the silence that counts is twice as long. A lock that is listed and gone is an error after
  `MAX_LOOKS`, and a heartbeat tries again.
- Of two who take it at once, the file system lets one make the name: by a hard link, or by exclusive creation where
  there are none (not on NFS before version 3).
- Who can't be looked at counts as elsewhere: a process in another container, or of another user where /proc shows
  everybody their own (hidepid), and all of them where there is no /proc.
- Who only looks, as `ictc status` does, compares with the clock of its own machine: if that is two minutes fast, it
  shows a run elsewhere as silent. Nothing else comes of it.
- A process killed while it takes the lock leaves a `.lock.<token>.tmp`; who takes it two minutes later removes that.
"""

from __future__ import annotations

import errno
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import orjson

from ictc.errors import StorageError
from ictc.storage.atomic import storage_errors, write_atomic

SILENT_AFTER_S = 120.0
"""After so many seconds without a touch, an owner on another machine counts as dead."""

MAX_LOOKS = 10
SECONDS_BETWEEN_LOOKS = 0.05
"""How often it is looked for the newest lock, where the one that is listed as such is gone."""

_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

Liveness = Literal["released", "dead", "silent", "alive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Which process took a lock.

    Attributes:
        machine: the running kernel and the process namespace in which `pid` means something, "" if unknown.
        process_start: clock ticks from boot to the start of the process: a process id is used again, this is not.
        started_at: when it took the lock, ISO 8601 in UTC.
        token: differs between any two takings.
    """

    host: str
    machine: str
    pid: int
    process_start: str
    started_at: str
    token: str
    released: bool = False

    @classmethod
    def of_this_process(cls) -> Self:
        """Describe this process, taking a lock now."""
        return cls(
            host=platform.node(),
            machine=this_machine(),
            pid=os.getpid(),
            process_start=process_start(os.getpid()) or "",
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            token=secrets.token_hex(8),
        )

    @property
    def is_visible(self) -> bool:
        """Whether this process can see whether the owner runs."""
        is_here = bool(self.machine) and (self.host, self.machine) == (platform.node(), this_machine())
        return is_here and not is_hidden(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.started_at}"


@dataclass(frozen=True, slots=True)
class LockFile:
    """A lock as it was found.

    Attributes:
        owner: None if the file can't be read: its maker died at it, or is about to finish it.
        touched_at: the owner's last sign of life, by the clock of the file server, in seconds.
    """

    path: Path
    owner: Owner | None
    touched_at: float

    def liveness(self, now: float) -> Liveness:
        """Return whether its owner holds it still; `now` is by the clock of the file server, in seconds."""
        if self.owner is not None and self.owner.released:
            return "released"
        if self.owner is not None and self.owner.is_visible:
            return "alive" if process_start(self.owner.pid) == self.owner.process_start else "dead"
        return "silent" if now - self.touched_at > SILENT_AFTER_S else "alive"

    @property
    def is_local(self) -> bool:
        """Whether its liveness is certain, as the owner is on this machine and can be seen."""
        return self.owner is not None and self.owner.is_visible

    def __str__(self) -> str:
        return str(self.owner or "a process that left no name")


class RunLock:
    """The lock of the run directory whose state lies in `directory`, as one process takes it.

    Attributes:
        taken_from: the lock of the dead owner that this one replaced, None if there was none.
    """

    def __init__(self, directory: Path) -> None:
        self.taken_from: LockFile | None = None
        self._directory = directory
        self._owner = Owner.of_this_process()
        self._path: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def try_acquire(self) -> LockFile | None:
        """Take the lock and return None, or return the lock of the live owner that has it.

        Raises:
            StorageError: the disk refused.
        """
        with storage_errors(self._directory), self._draft() as (draft, now):
            found = find_lock(self._directory)
            while found is None or found.liveness(now) != "alive":
                path = self._directory / f"lock-{number_of(found.path) + 1 if found else 1:06d}.json"
                if self._create(draft, path=path):
                    self._remove_earlier(path, now)
                    self.taken_from = None if found is None or found.liveness(now) == "released" else found
                    return None
                found = read_lock(path) or find_lock(self._directory)  # by name, as on NFS a listing may be old
            return found

    def _create(self, draft: Path, *, path: Path) -> bool:
        """Make the lock at `path`; return False if another process was faster."""
        if not create_once(draft, path=path):
            return False
        if not self.is_held():  # since `path` was chosen it has been made, released, and followed by others
            path.unlink(missing_ok=True)
            return False
        self._path = path
        return True

    def is_held(self) -> bool:
        """Whether this process has the lock: nobody took it over or deleted it."""
        lock = find_lock(self._directory)
        return lock is not None and lock.owner is not None and lock.owner.token == self._owner.token

    def touch(self) -> bool:
        """Show that the owner lives; return False if it has lost the lock.

        Raises:
            OSError, StorageError: the file system does not answer as it should; the next touch may go well.
        """
        if self._path is None or not self.is_held():
            return False
        os.utime(self._path)
        return True

    def release(self) -> None:
        """Give the lock back, if this process has it; where the disk refuses, its end gives it back."""
        with suppress(OSError, StorageError):
            if self._path is not None and self.is_held():
                write_atomic(self._path, orjson.dumps(asdict(replace(self._owner, released=True))))
        self._path = None

    @contextmanager
    def _draft(self) -> Iterator[tuple[Path, float]]:
        """Write what the lock will say, and yield the file with the file server's time."""
        self._directory.mkdir(parents=True, exist_ok=True)
        draft = self._directory / f".lock.{self._owner.token}.tmp"
        try:
            with draft.open("wb") as file:
                file.write(orjson.dumps(asdict(self._owner)))
                file.flush()
                os.fsync(file.fileno())
            yield draft, draft.stat().st_mtime
        finally:
            draft.unlink(missing_ok=True)

    def _remove_earlier(self, own: Path, now: float) -> None:
        """Remove the locks of owners before, and the drafts that killed processes left; `now` as in `liveness`."""
        for path in self._directory.glob("lock-*.json"):
            if number_of(path) < number_of(own):
                path.unlink(missing_ok=True)
        for path in self._directory.glob(".lock.*.tmp"):
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > SILENT_AFTER_S:
                    path.unlink()


def find_lock(directory: Path) -> LockFile | None:
    """Return the lock of a state directory, None if there never was one. Writes nothing.

    Raises:
        OSError: the file system does not answer as it should.
        StorageError: what is listed as the newest lock is not there.
    """
    for _ in range(MAX_LOOKS):
        newest = max(directory.glob("lock-*.json"), key=number_of, default=None)
        if newest is None:
            return None
        lock = read_lock(newest)
        if lock is not None:
            return lock
        time.sleep(SECONDS_BETWEEN_LOOKS)  # it has been followed by another, which this machine does not list yet
    raise StorageError(f"{newest} is listed, but cannot be opened; if no run is at work there, delete it")


def read_lock(path: Path) -> LockFile | None:
    """Return the lock at `path`, None if it is not there."""
    try:
        with path.open("rb") as file:  # opening asks the file server for the newest state
            return LockFile(path, parse_owner(file.read()), os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None


def parse_owner(content: bytes) -> Owner | None:
    """Return the owner that a lock names, None if it is unreadable."""
    try:
        return Owner(**orjson.loads(content))
    except (orjson.JSONDecodeError, TypeError):
        return None


def number_of(path: Path) -> int:
    """Return the n of `lock-<n>.json`, 0 for a name that is none."""
    number = path.stem.removeprefix("lock-")
    return int(number) if number.isdecimal() else 0


def create_once(draft: Path, *, path: Path) -> bool:
    """Make `path` with the content of `draft`; return False if it is there already."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return draft.stat().st_nlink > 1  # NFS repeats a request whose reply was lost
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _create_exclusively(draft.read_bytes(), path)
    return True


def _create_exclusively(content: bytes, path: Path) -> bool:
    """Do the same where there are no hard links; a reader may find the file empty for a moment."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return True


def refusal(directory: Path, lock: LockFile) -> StorageError:
    """Return the error of the second process on one run directory."""
    return StorageError(
        f"{directory} is in use by {lock}; wait for it or stop it. If it is dead for certain, delete {lock.path}"
    )


def this_machine() -> str:
    """Return what tells this running system and process namespace from all others, "" where nothing does."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot_id} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def is_hidden(pid: int) -> bool:
    """Whether only that a process is there can be seen: another user's, where /proc shows everybody their own alone."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return process_start(pid) is None
    except OSError:
        return False
    return False


def process_start(pid: int) -> str | None:
    """Return the clock ticks from boot to the start of a process of this machine, None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, start = fields[0], fields[19]
    return None if state in "ZX" else start
