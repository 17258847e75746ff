"""`categorized_images/`: the images of a run, sorted into folders for people to look through."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from unicodedata import normalize

import orjson

from ictc.dataset.fetching.locations import is_url
from ictc.errors import StorageError
from ictc.records import ImageRecord
from ictc.stages.outcome import Status
from ictc.storage.atomic import storage_errors
from ictc.storage.manifest import Manifest, iter_manifest

FOLDERS = {Status.DONE: "valid_ads", Status.UI_ONLY: "ui_only", Status.BROKEN: "broken"}
LETTERS: dict[str | None, int] = {Status.DONE: ord("d"), Status.UI_ONLY: ord("u"), Status.BROKEN: ord("b")}
NO_FOLDER = ord("-")
LINKS_WORTH_A_PROCESS = 20_000
SERVE = "from ictc.steps.image_links import serve; serve()"
MAX_NAME_CHARS = 80
MAX_NAME_BYTES = 110
"""With digest and suffix below 143, the most that an encrypted home folder may allow; elsewhere it is 255."""

SYMLINK = -1
"""Stands for the inode of a symbolic link."""

TEMPORARY = ".link.tmp"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the links go, and where the list of images and the images are."""

    directory: str
    manifest: str
    ads_dir: str


@contextmanager
def linking_images(directory: Path, manifest: Manifest, statuses: Iterable[str | None]) -> Iterator[None]:
    """Make the folders below `directory` hold exactly the images that Step 1 sorted there, until the block ends.

    Only files of this machine get there: images behind URLs and in tar shards do not.

    Each is a hard link, else a symbolic link, else a copy, of the file as it is now. Many are made in a process of
    their own, while the block does something else.

    Args:
        statuses: how each image left Step 1, in the order of the manifest.

    Raises:
        StorageError: the disk refused.
    """
    outcomes = bytes(LETTERS.get(status, NO_FOLDER) for status in statuses)
    folder = manifest.key["ads_dir"]
    places = Places(
        directory=str(directory),
        manifest=str(manifest.path),
        ads_dir=str(folder) if is_url(folder) else os.path.realpath(folder),
    )
    if len(outcomes) < LINKS_WORTH_A_PROCESS:
        make_links(places, outcomes)
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # its exit code tells more
                process.stdin.write(orjson.dumps(places) + b"\n" + outcomes)
                process.stdin.close()
            yield
        except BaseException:
            process.kill()
            raise
        assert process.stdout is not None
        problem = process.stdout.read().decode()
    if problem or process.returncode:
        raise StorageError(problem or f"cannot link images into {directory}: that process ended unexpectedly")


def serve() -> None:
    """Make the links that standard input tells of; a problem is told on standard output, in one line."""
    places = Places(**orjson.loads(sys.stdin.buffer.readline()))
    try:
        make_links(places, sys.stdin.buffer.read())
    except StorageError as error:
        sys.stdout.buffer.write(str(error).encode())


def make_links(places: Places, outcomes: bytes) -> None:
    """Make the links of every image of a manifest.

    Args:
        outcomes: how each image left Step 1, one of `LETTERS`, in the order of the manifest.

    Raises:
        StorageError: the disk refused.
    """
    ads_dir = Path(places.ads_dir)
    with storage_errors(Path(places.directory)):
        folders = {LETTERS[status]: LinkFolder(Path(places.directory, name)) for status, name in FOLDERS.items()}
        names = iter_names(iter_manifest(Path(places.manifest)), places.ads_dir)
        for (image, name), outcome in zip(names, outcomes, strict=True):
            if outcome in folders and name is not None:
                source = str(ads_dir / image.path)  # as it was read: without a slash at its end
                folders[outcome].add(name, source=source)
        for folder in folders.values():
            folder.remove_superfluous()


def iter_names(images: Iterable[ImageRecord], ads_dir: str) -> Iterator[tuple[ImageRecord, str | None]]:
    """Yield every image of a manifest with the name of its link, None if it can have none."""
    names = LinkNames()
    for image in images:
        yield image, names.name(image) if has_link(image, ads_dir) else None


def has_link(image: ImageRecord, ads_dir: str) -> bool:
    """Whether an image is a file of this machine, so that a link can lead there."""
    is_file = bool(image.path) and image.offset is None and not is_url(image.path) and not is_url(ads_dir)
    return is_file and image.problem is None


class LinkFolder:
    """One folder of links. Paths are strings here: there may be millions."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = str(path)
        self._device = path.stat().st_dev
        entries = (entry for entry in os.scandir(path) if not entry.is_dir(follow_symlinks=False))
        self._superfluous = {entry.name: SYMLINK if entry.is_symlink() else entry.inode() for entry in entries}

    def add(self, name: str, *, source: str) -> None:
        """Make sure that `name` is there and leads to `source` as it is now, or is not if nothing can lead there."""
        status = find_file(source)
        if status is not None and (
            self._leads_to(name, source=source, status=status) or link_or_copy(source, self._target(name))
        ):
            self._superfluous.pop(name, None)

    def _leads_to(self, name: str, *, source: str, status: os.stat_result) -> bool:
        """Whether a link leads to `source`; a copy never does."""
        inode = self._superfluous.get(name)
        if inode == SYMLINK:
            return os.readlink(self._target(name)) == source  # noqa: PTH115 - millions of them
        return (status.st_ino, status.st_dev) == (inode, self._device)

    def _target(self, name: str) -> str:
        return f"{self._path}/{name}"

    def remove_superfluous(self) -> None:
        """Remove whatever was there and has not been added, but for folders."""
        for name in self._superfluous:
            _remove(self._target(name))  # what a crash left under the temporary name may be gone already


class LinkNames:
    """Gives every image of a collection a file name of its own, also to file systems that ignore case or Unicode forms.

    That is its id where it is harmless and not too long, with the suffix of its file. An id is foreign text: whatever
    is not a letter, digit, dot, dash or underscore is replaced, and a digest of the id tells the name from others. Of
    two names that are the same to some file system, the later one in the order of the images gets a digest, too.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, image: ImageRecord) -> str:
        """Return the name of the next image."""
        image_id = image.image_id
        suffix = re.sub(r"[^A-Za-z0-9.]", "", os.path.splitext(image.path)[1])[:12].rstrip(".")  # noqa: PTH122 - ten times as fast
        allowed = r"[^\w.-]" if suffix else r"[^\w-]"  # a dot would begin a suffix
        safe = cut_text(re.sub(allowed, "_", image_id).lstrip(".")[:MAX_NAME_CHARS], MAX_NAME_BYTES)
        stem, number = safe, 0
        while (number == 0 and stem != image_id) or fold_name(stem) in self._taken:
            key = image_id if number == 0 else f"{number}:{image_id}"
            stem, number = f"{safe}-{blake2b(key.encode(), digest_size=6).hexdigest()}", number + 1
        self._taken.add(fold_name(stem))
        return stem + suffix


def fold_name(name: str) -> str:
    """Return the same text for names that are the same to a file system that ignores case or Unicode forms."""
    return name.lower() if name.isascii() else normalize("NFKC", normalize("NFKC", name).casefold())


def cut_text(text: str, max_bytes: int) -> str:
    """Return as much of the beginning of `text` as its UTF-8 form has room for, in whole characters.

    >>> cut_text("夏季新品", 7)
    '夏季'
    """
    return text.encode()[:max_bytes].decode(errors="ignore")


def find_file(path: str) -> os.stat_result | None:
    """Return the status of a regular file, None if there is none or none that can be found.

    Foreign text may be no path at all, and something else under the name, such as a folder, is no image.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - millions of them
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def link_or_copy(source: str, target: str, *, symlinks: bool = True) -> bool:
    """Make `target` a hard link, else a symbolic link, else a copy of the file `source`, and return whether it is one.

    What is there under the name of `target` is replaced and never written to: it may be another name of an original.
    An image that is not there (any more) or not to be read is left out, its record says what it was.

    Args:
        symlinks: whether a symbolic link will do.
    """
    with suppress(FileNotFoundError):
        with suppress(FileExistsError):
            if _link(source, target, symlinks=symlinks):
                return True
        return _replace(source, target, symlinks=symlinks)
    return False


def _replace(source: str, target: str, *, symlinks: bool) -> bool:
    """Link or copy under a name of this moment, put that in the place of `target`, and return whether it could be."""
    temporary = os.path.join(os.path.dirname(target), TEMPORARY)  # noqa: PTH118, PTH120 - millions of them
    _remove(temporary)
    if not _link(source, temporary, symlinks=symlinks):
        if not os.access(source, os.R_OK):
            return False
        if _is_copy(source, target):
            return True
        shutil.copy2(source, temporary)
    os.replace(temporary, target)  # noqa: PTH105 - millions of them
    _remove(temporary)  # still there where both names were of one file
    return True


def _link(source: str, target: str, *, symlinks: bool) -> bool:
    """Make a link of some kind where that is possible, and return whether it was."""
    for make in (hard_link, os.symlink) if symlinks else (hard_link,):
        try:
            make(source, target)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:  # another disk, or a file system without such links
            continue
        return True
    return False


def hard_link(source: str, target: str) -> None:
    """Make a hard link to a file, also where `source` is a symbolic link, which might lead nowhere from elsewhere."""
    # `link` would take a symbolic link for the file; with a descriptor, whatever it is of, Python calls `linkat`.
    os.link(source, target, src_dir_fd=_any_descriptor())


@cache
def _any_descriptor() -> int:
    return os.open("/", os.O_RDONLY)


def _is_copy(source: str, target: str) -> bool:
    """Whether a file was copied from `source` as it is now."""
    with suppress(OSError):  # an old link may lead anywhere
        ours, theirs = os.stat(target), os.stat(source)  # noqa: PTH116
        return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
    return False


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108
