"""A disk that fails on demand: it kills this process at a chosen write of `ictc`, or refuses that write.

Stands at the boundary to the operating system, at the calls that change what lies below one folder. Each call is a
point with a name, such as "caption journal: write record". Knows how the files of a run directory are called, and
nothing of the code that writes them. Does not see log files, `shutil.rmtree`, and other processes. Needs Linux.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

Call = Callable[..., Any]
When = Literal["before", "midway", "after"]

ANY = "any"

PATH_CALLS = {
    "link": ("create", 1),
    "mkdir": ("create", 0),
    "replace": ("replace", 1),
    "symlink": ("create", 1),
    "truncate": ("cut", 0),
    "unlink": ("delete", 0),
}
"""From functions of `os` to the name of what they do and the place of the path that they change."""

DESCRIPTOR_CALLS = {"fsync": "sync", "ftruncate": "cut"}


@dataclass(frozen=True)
class Fault:
    """What happens at one point.

    Attributes:
        point: its name, or `ANY`.
        effect: "kill", "stop" for a SIGTERM besides which all goes well, "short" for a write that takes half of the
            bytes and says so, or an errno such as "ENOSPC".
        when: midway is for writes: after half of the bytes.
        nth: at which passing of the point, from 1.
        is_lasting: whether every later point fails with the same errno.
    """

    point: str
    effect: str = "kill"
    when: When = "before"
    nth: int = 1
    is_lasting: bool = False


class FaultyDisk:
    """The disk below `root`, as this process sees it once `install` was called; that can't be undone.

    Attributes:
        points: the names of all points passed so far.
    """

    def __init__(self, root: Path, fault: Fault | None = None) -> None:
        self.points: list[str] = []
        self._root = root.resolve()
        self._fault = fault
        self._has_struck = False

    def install(self) -> None:
        """Replace the functions of `os` that change files, and `io.open`, by which `Path.open` opens them."""
        for name, (operation, place) in PATH_CALLS.items():
            setattr(os, name, partial(self._call_on_path, getattr(os, name), operation, place))
        for name, operation in DESCRIPTOR_CALLS.items():
            setattr(os, name, partial(self._call_on_descriptor, getattr(os, name), operation))
        os.open = partial(self._open, os.open)
        os.write = partial(self._write, os.write)
        io.open = partial(self._open_file, io.open)  # type: ignore[assignment]

    def write(self, path: Path, function: Callable[[memoryview], int], content: Any) -> Any:
        """Write `content`, or what the fault leaves of it, and return how many bytes were taken."""
        view = memoryview(content).cast("B")
        half = view[: max(1, len(view) // 2)]
        return self._pass(path, what_is_written(path, view), partial(function, view), partial(function, half))

    def _call_on_path(self, function: Call, operation: str, place: int, *arguments: Any, **named: Any) -> Any:
        path, call = Path(arguments[place]).absolute(), partial(function, *arguments, **named)
        return call() if "dir_fd" in named or is_in_vain(path, operation) else self._pass(path, operation, call)

    def _call_on_descriptor(self, function: Call, operation: str, descriptor: int, *arguments: Any) -> Any:
        path, call = path_of(descriptor), partial(function, descriptor, *arguments)
        return self._pass(path, operation, do_nothing if operation == "sync" and self._has(path) else call)

    def _open(self, function: Call, path: Any, flags: int, *arguments: Any, **named: Any) -> Any:
        call = partial(function, path, flags, *arguments, **named)
        return self._pass(Path(path).absolute(), what_opening_does(path), call) if flags & os.O_CREAT else call()

    def _open_file(self, function: Call, file: Any, mode: str = "r", *rest: Any) -> IO[Any]:
        if mode != "wb" or isinstance(file, int) or not self._has(path := Path(file).absolute()):
            opened: IO[Any] = function(file, mode, *rest)
            return opened
        return io.BufferedWriter(self._pass(path, what_opening_does(path), partial(FaultyFile, self, path)))

    def _write(self, function: Call, descriptor: int, content: Any) -> Any:
        return self.write(path_of(descriptor), partial(function, descriptor), content)

    def _has(self, path: Path) -> bool:
        return path.is_relative_to(self._root)

    def _pass(self, path: Path, operation: str, call: Call, half: Call | None = None) -> Any:
        """Make a call, with the fault if it is its turn; `half` makes it with half of the bytes."""
        if not self._has(path):
            return call()
        self.points.append(f"{describe(path.relative_to(self._root), is_folder=is_folder(path))}: {operation}")
        fault = self._fault
        if fault is None or not self._is_turn_of(fault):
            return call()
        if fault.effect == "stop":
            self._has_struck = True
            os.kill(os.getpid(), signal.SIGTERM)
            return call()
        if not self._has_struck and fault.when != "before":
            result = half() if half is not None and fault.when == "midway" else call()
            if fault.effect == "short":
                return result
        return self._strike(fault.effect)

    def _is_turn_of(self, fault: Fault) -> bool:
        if self._has_struck:
            return fault.is_lasting
        if fault.point == ANY:
            return len(self.points) == fault.nth
        return self.points[-1] == fault.point and self.points.count(fault.point) == fault.nth

    def _strike(self, effect: str) -> NoReturn:
        self._has_struck = True
        if effect == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        code = getattr(errno, effect)
        raise OSError(code, os.strerror(code))


class FaultyFile(io.FileIO):
    """A file of a faulty disk, open for writing."""

    def __init__(self, disk: FaultyDisk, path: Path) -> None:
        super().__init__(path, "wb")
        self._disk = disk
        self._path = path

    def write(self, content: Any) -> Any:
        """Write bytes and return how many were taken."""
        return self._disk.write(self._path, super().write, content)


def do_nothing(*_: object) -> None:
    """Sync in no time: the death of a process loses nothing that it has written."""


def path_of(descriptor: int) -> Path:
    """Return the path of an open file."""
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder, or will be one as its name has no suffix."""
    return path.is_dir() or not path.suffix


def is_in_vain(path: Path, operation: str) -> bool:
    """Return whether an operation can't change anything, as what it makes is there or what it needs is not."""
    if operation == "create":
        return os.path.lexists(path) or not path.parent.is_dir()
    return operation == "delete" and not os.path.lexists(path)


def what_opening_does(path: Any) -> str:
    """Return what opening `path` for writing does."""
    return "open" if Path(path).exists() else "create"


def what_is_written(path: Path, content: memoryview) -> str:
    """Return what a write does; segments, the only JSON Lines that are written in place, have headers and records."""
    if path.suffix != ".jsonl":
        return "write"
    return "write header" if b'{"journal"' in bytes(content[:20]) else "write record"


def describe(path: Path, *, is_folder: bool) -> str:
    """Return what a file or folder of a run directory is.

    >>> describe(Path("state/caption/0123/0-000000.jsonl"), is_folder=False)
    'caption journal'
    >>> describe(Path("state/label/.current.json.17.tmp"), is_folder=False)
    'label current.json'
    """
    if path.parts[:1] == ("categorized_images",):
        return "categorized_images"
    of_step = path.parts[:1] == ("state",) and (len(path.parts) > 2 or (path.parts[1:2] and not path.suffix))
    stage = f"{path.parts[1]} " if of_step else ""
    if is_folder:
        return stage + "folder" if stage else f"{path.name or 'run'} folder"
    if stage and path.suffix == ".jsonl":
        return f"{stage}journal"
    name = re.sub(r"^\.(.+)\.[0-9a-f]+\.tmp$", r"\1", path.name)
    return "lock" if name.startswith("lock") else stage + name
