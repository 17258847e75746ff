"""List the image files below a folder: by their names, and by their first bytes where a name says nothing."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ictc.dataset.catalog.tally import Reason, Tally
from ictc.dataset.fetching.content import HEAD_BYTES, is_image_content
from ictc.dataset.fetching.locations import TAR_SUFFIX

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
_HEIF_SUFFIXES = (".avif", ".heic", ".heif")

IMAGE_SUFFIXES = frozenset(
    (*_JPEG_SUFFIXES, *_HEIF_SUFFIXES, ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
)
"""What we take for an image, whether or not it can be decoded: a file that can't be is reported, not skipped."""

_TEXT_SUFFIXES = (".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".htm", ".md", ".log", ".pdf")
_PROGRAM_SUFFIXES = (".py", ".js", ".css", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".db", ".lock")
_ARRAY_SUFFIXES = (".npy", ".npz", ".cls", ".pkl", ".parquet")
_MEDIA_SUFFIXES = (".svg", ".ico", ".mp4", ".mov", ".webm", ".avi", ".mkv", ".mp3", ".wav")
_ARCHIVE_SUFFIXES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_UNFINISHED_SUFFIXES = (".part", ".crdownload", ".tmp")

OTHER_SUFFIXES = frozenset(
    (
        *_TEXT_SUFFIXES,
        *_PROGRAM_SUFFIXES,
        *_ARRAY_SUFFIXES,
        *_MEDIA_SUFFIXES,
        *_ARCHIVE_SUFFIXES,
        *_UNFINISHED_SUFFIXES,
    )
)
"""What is no image, or an unfinished one, and lies beside images by the million: not looked into."""

UNREADABLE_FILE = "Permission denied"

LASTING = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Errors that are about one name; with any other, such as EIO, the disk itself has failed."""


@dataclass(slots=True)
class Listing:
    """What lies in a folder, in no order.

    Attributes:
        images: paths of image files, relative to the folder, with forward slashes.
        folders: names of the folders right below; () if those were searched.
        tars: paths of tar files.
        unknown: paths of files whose names don't say what they are.
        left_out: what there is besides.
        place: what `left_out` has before the paths.
        others: names of files right below that are not counted.
        apart: those of them that are there.
    """

    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    tars: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    left_out: Tally = field(default_factory=Tally)
    place: str = ""
    others: Container[str] = ()
    apart: list[str] = field(default_factory=list)

    def add_file(self, path: str) -> None:
        """Put a file where its name says."""
        suffix = suffix_of(path)
        if suffix in IMAGE_SUFFIXES:
            self.images.append(path)
        elif suffix == TAR_SUFFIX:
            self.tars.append(path)
        elif path in self.others:
            self.apart.append(path)
        elif suffix in OTHER_SUFFIXES:
            self.left_out.add_other(self.place + path, suffix=suffix)
        else:
            self.unknown.append(path)

    def leave_out(self, reason: Reason, path: str) -> None:
        """Count what is no file of a kind that is told by its suffix."""
        self.left_out.add(reason, self.place + path)

    def settle(self, heads: Iterable[tuple[str, bytes | None]]) -> None:
        """Put the unknown files where their first bytes say; None stands for those that nobody may read."""
        for path, head in heads:
            if head is None:
                self.leave_out(Reason.UNREADABLE, f"{path}: {UNREADABLE_FILE}")
            elif is_image_content(head):
                self.images.append(path)
                self.leave_out(Reason.BY_CONTENT, path)
            else:
                self.left_out.add_other(self.place + path, suffix=suffix_of(path))
        self.unknown.clear()


def list_folder(folder: Path) -> Listing:
    """List what lies right below a folder.

    Raises:
        OSError: the folder cannot be read.
    """
    listing = Listing()
    listing.folders = _scan(folder, "", listing)
    listing.settle(_read_heads(folder, listing.unknown))
    return listing


def list_tree(root: Path, tree: Listing | None = None, above: tuple[Path, ...] = ()) -> Listing:
    """List the images at any depth below a folder; links are followed, but not back into a folder above.

    Args:
        tree: an empty listing to fill.
        above: folders that no link may lead back into either.

    Raises:
        OSError: the folder cannot be read, or the disk fails.
    """
    tree = tree or Listing()
    start = _Branch("", (*above, root), below_link=bool(above) and root.is_symlink())
    if start.closes_cycle():
        raise OSError(errno.ELOOP, "a link to a folder above", str(root))
    pending = [start]
    while pending:
        branch = pending.pop()
        children = map(branch.child, _scan_branch(branch, tree))
        pending.extend(child for child in children if not _leads_back(child, tree))
    tree.settle(_read_heads(root, tree.unknown))
    return tree


def _scan(folder: Path, prefix: str, listing: Listing) -> list[str]:
    """Add the files right below a folder to a listing, and return the names of the folders."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                listing.leave_out(Reason.HIDDEN, prefix + name)
            elif _is_folder(entry):
                folders.append(name)
            elif _is_file(entry):
                listing.add_file(prefix + name)
            else:
                _add_odd(entry, prefix + name, listing)
    return folders


def _add_odd(entry: os.DirEntry[str], path: str, listing: Listing) -> None:
    is_link = entry.is_symlink()
    if is_link and is_image_name(path):
        listing.images.append(path)  # decoding says where it leads
    else:
        listing.leave_out(Reason.NOWHERE if is_link else Reason.SPECIAL, path)


def _scan_branch(branch: _Branch, tree: Listing) -> list[str]:
    try:
        return _scan(branch.folders[-1], branch.prefix, tree)
    except OSError as error:
        if not branch.prefix or error.errno not in LASTING:
            raise
        tree.leave_out(Reason.UNREADABLE, f"{branch.prefix.rstrip('/')}: {error.strerror}")
        return []


def _leads_back(branch: _Branch, tree: Listing) -> bool:
    is_cycle = branch.closes_cycle()
    if is_cycle:
        tree.leave_out(Reason.CYCLE, branch.prefix.rstrip("/"))
    return is_cycle


@dataclass(frozen=True, slots=True)
class _Branch:
    """A folder on the way down: its path below the root and all folders from the root to it."""

    prefix: str
    folders: tuple[Path, ...]
    below_link: bool

    def child(self, name: str) -> _Branch:
        folder = self.folders[-1] / name
        return _Branch(f"{self.prefix}{name}/", (*self.folders, folder), self.below_link or folder.is_symlink())

    def closes_cycle(self) -> bool:
        *above, folder = self.folders
        return self.below_link and any(folder.samefile(other) for other in above)


def _read_heads(folder: Path, paths: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    for path in paths:
        try:
            yield path, _read_head(folder / path)
        except OSError as error:
            if error.errno not in LASTING:
                raise
            yield path, None


def _read_head(path: Path) -> bytes:
    # A pipe that has taken the file's place must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)


def suffix_of(path: str) -> str:
    """Return the suffix of a path in lower case, "" if it has none."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - ten times as fast as Path


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its suffix."""
    return suffix_of(name) in IMAGE_SUFFIXES


def is_hidden(path: str) -> bool:
    """Whether a path, or a folder on the way to it, has a name that begins with a dot."""
    return (path.startswith(".") or "/." in path) and any(
        part.startswith(".") and part not in {".", ".."} for part in path.split("/")
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself, say
        if error.errno not in LASTING:
            raise
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # as above
        return False


def without_suffix(path: str) -> str:
    """Return `sub/ad_001` of `sub/ad_001.jpg`."""
    return os.path.splitext(path)[0]  # noqa: PTH122 - ten times as fast as Path


def frame_order(path: str) -> tuple[bool, list[list[str | int]], str]:
    """Return the sort key of an observation's frames: direct ones first, then in natural order, 480 before 1040."""
    parts = PurePosixPath(without_suffix(path)).parts
    return len(parts) > 1, [_natural(part) for part in parts], path


def _natural(text: str) -> list[str | int]:
    # re.split alternates: text at even positions, digits at odd ones.
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if position % 2 else part for position, part in enumerate(parts)]
