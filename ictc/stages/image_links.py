"""`categorized_images/`: the images of a run, sorted into folders for people to look through."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from ictc.records import ImageRecord
from ictc.stages.outcome import Status
from ictc.stages.results import Results
from ictc.storage.atomic import storage_errors

FOLDERS = {Status.DONE: "valid_ads", Status.UI_ONLY: "ui_only", Status.BROKEN: "broken"}
MAX_NAME_CHARS = 80


def link_images(directory: Path, results: Results, ads_dir: Path) -> None:
    """Make the folders below `directory` hold exactly the images that Step 1 sorted there.

    Each is a hard link, else a symbolic link, else a copy; what is there already is left alone.

    Raises:
        StorageError: the disk refused.
    """
    source = os.path.realpath(ads_dir)
    with storage_errors(directory):
        folders = {status: LinkFolder(directory / name) for status, name in FOLDERS.items()}
        for image, status in results.iter_outcomes():
            if status in folders and image.problem is None:
                folders[Status(status)].add(link_name(image), f"{source}/{image.path}")
        for folder in folders.values():
            folder.remove_superfluous()


class LinkFolder:
    """One folder of links. Paths are strings here: there may be millions."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = str(path)
        self._superfluous = {entry.name for entry in os.scandir(path)}

    def add(self, name: str, source: str) -> None:
        """Make sure that `name` is there."""
        if name in self._superfluous:
            self._superfluous.remove(name)
        else:
            link_or_copy(source, f"{self._path}/{name}")

    def remove_superfluous(self) -> None:
        """Remove whatever was there and has not been added."""
        for name in self._superfluous:
            Path(self._path, name).unlink()


def link_name(image: ImageRecord) -> str:
    """Return a file name for the image: its id where that is harmless, and the suffix of its file.

    An id is foreign text: whatever is not a letter, digit, dot, dash or underscore is replaced, and a
    digest of the id keeps the name unique.
    """
    suffix = re.sub(r"[^A-Za-z0-9.]", "", os.path.splitext(image.path)[1])[:12]  # noqa: PTH122 - ten times as fast
    safe = re.sub(r"[^\w.-]", "_", image.image_id).lstrip(".")[:MAX_NAME_CHARS]
    if safe != image.image_id:
        safe += "-" + blake2b(image.image_id.encode(), digest_size=6).hexdigest()
    return safe + suffix


def link_or_copy(source: str, target: str) -> None:
    """Link or copy; an image that has vanished since is left out, its record says what it was."""
    for make in (os.link, os.symlink):
        with suppress(OSError):
            make(source, target)
            return
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)
