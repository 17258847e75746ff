"""Copies of a run's exports at the URL that `--output_dir` gave, where it gave one.

The run itself lies in a folder of this machine: a journal needs appends, renames and locks, which object storage has
not. What is published follows that folder: what is new or changed there is copied, what is deleted there is deleted.

Limits: an object is replaced whole, the set of them is not, so who reads while a run publishes may find files of two
states. Files are compared by size and time. Files alone are published: no folders, and no names that begin with a dot.
What others change or delete at the URL is not noticed; two runs that publish at one URL overwrite each other, as nobody
locks it. If the service refuses, the run fails after its work is done, and the same command goes on with what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ictc.dataset.fetching.locations import join
from ictc.dataset.fetching.remote import describe, open_filesystem
from ictc.errors import IctcError, StorageError
from ictc.storage.atomic import write_atomic

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PROBE = ".ictc_can_write"
"""Written and removed at the beginning of a run."""

MAX_LEVELS = 2
"""A run directory lies at most so far below the folder of the command: a shard, and a track in it."""


def publish_to(root: Path, url: str) -> None:
    """Remember where everything below `root` is published, and check that it can be, before there is anything to lose.

    Raises:
        ConfigError: nothing can write to such a URL.
        StorageError: the service refused.
    """
    try:
        files, folder = open_folder(url)
        files.pipe_file(join(folder, PROBE), b"ok")
        files.rm_file(join(folder, PROBE))
    except IctcError:
        raise
    except Exception as error:  # each service has its own
        raise StorageError(f"cannot write to {url}: {describe(error)}; check the address and access") from error
    write_atomic(_target_path(root), orjson.dumps({"url": url}))


def publish(directory: Path) -> None:
    """Make what is published of a run directory equal to its files; does nothing where nothing is published.

    Raises:
        StorageError: the service refused.
    """
    url = find_target(directory)
    if url is None:
        return
    done_path = directory / "state" / "published.json"
    done = _load(done_path)
    there = {path.name: _version(path) for path in directory.iterdir() if path.is_file() and path.name[0] != "."}
    if there == done:
        return
    # First the names: what is copied before a crash, and is gone here before the next time, is to be deleted there.
    write_atomic(done_path, orjson.dumps({**dict.fromkeys(there), **done}))
    try:
        _copy_changes(directory, url, there=there, done=done)
    except Exception as error:  # each service has its own
        raise StorageError(f"cannot write to {url}: {describe(error)}; run the same command again") from error
    write_atomic(done_path, orjson.dumps(there))


def _copy_changes(directory: Path, url: str, *, there: Mapping[str, Any], done: Mapping[str, Any]) -> None:
    files, folder = open_folder(url)
    for name in done.keys() - there.keys():
        if files.exists(join(folder, name)):
            files.rm_file(join(folder, name))
    for name, version in there.items():
        if done.get(name) != version:
            files.put_file(str(directory / name), join(folder, name))


def open_folder(url: str) -> tuple[AbstractFileSystem, str]:
    """Return what writes to a URL, and the URL's path there, as a folder that exists.

    Raises:
        ConfigError: a package is missing, or nothing can write to such a URL.
    """
    files, folder = open_filesystem(url)
    if folder.startswith("/"):  # else it starts with a bucket, which would be made, too
        files.makedirs(folder, exist_ok=True)
    return files, folder


def find_target(directory: Path) -> str | None:
    """Return the URL that a run directory is published at, None if it isn't."""
    for root in (directory, *directory.parents[:MAX_LEVELS]):
        url = _load(_target_path(root)).get("url")
        if url is not None:
            below = directory.relative_to(root).as_posix()
            return url if below == "." else join(url, below)
    return None


def _target_path(root: Path) -> Path:
    return root / "state" / "publish_to.json"


def _version(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _load(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}
