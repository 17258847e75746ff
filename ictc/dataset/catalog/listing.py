"""List the image files below a folder. Knows file names and nothing of what is in the files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ictc.dataset.fetching.locations import TAR_SUFFIX

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
_HEIF_SUFFIXES = (".avif", ".heic", ".heif")

IMAGE_SUFFIXES = frozenset(
    (*_JPEG_SUFFIXES, *_HEIF_SUFFIXES, ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
)
"""What we take for an image, whether or not it can be decoded: a file that can't be is reported, not skipped."""


@dataclass(slots=True)
class Listing:
    """What lies in a folder, in no order; names beginning with "." are left out.

    Attributes:
        images: paths of image files, relative to the folder, with forward slashes.
        folders: names of the folders right below; () if those were searched.
        tars: paths of tar files.
        num_other_files: how many files there are besides.
    """

    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    tars: list[str] = field(default_factory=list)
    num_other_files: int = 0

    def add_file(self, path: str) -> None:
        """Count a file as what its name says."""
        if is_image_name(path):
            self.images.append(path)
        elif path.lower().endswith(TAR_SUFFIX):
            self.tars.append(path)
        else:
            self.num_other_files += 1


def list_folder(folder: Path) -> Listing:
    """List what lies right below a folder.

    Raises:
        OSError: the folder cannot be read.
    """
    listing = Listing()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                listing.folders.append(entry.name)
            else:
                listing.add_file(entry.name)
    return listing


def list_tree(root: Path) -> Listing:
    """List the images at any depth below a folder; links are followed, but not back into a folder above.

    Raises:
        OSError: a folder cannot be read.
    """
    tree = Listing()
    pending = [_Branch("", (root,), below_link=False)]
    while pending:
        branch = pending.pop()
        listing = list_folder(branch.folders[-1])
        tree.images.extend(branch.prefix + name for name in listing.images)
        tree.tars.extend(branch.prefix + name for name in listing.tars)
        tree.num_other_files += listing.num_other_files
        children = (branch.child(name) for name in listing.folders)
        pending.extend(child for child in children if not child.closes_cycle())
    return tree


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


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its suffix."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - ten times as fast as Path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
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
