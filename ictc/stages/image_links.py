"""`categorized_images/`: the images of a run, sorted into folders for people to look through."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
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
    for status, folder in FOLDERS.items():
        images = (image for image in results.iter_images(status) if image.problem is None)
        with storage_errors(directory / folder):
            _fill(directory / folder, images, ads_dir)


def link_name(image: ImageRecord) -> str:
    """Return a file name for the image: its id where that is harmless, and the suffix of its file.

    An id is foreign text: whatever is not a letter, digit, dot, dash or underscore is replaced, and a
    digest of the id keeps the name unique.
    """
    suffix = re.sub(r"[^A-Za-z0-9.]", "", Path(image.path).suffix)[:12]
    safe = re.sub(r"[^\w.-]", "_", image.image_id).lstrip(".")[:MAX_NAME_CHARS]
    if safe != image.image_id:
        safe += "-" + blake2b(image.image_id.encode(), digest_size=6).hexdigest()
    return safe + suffix


def _fill(folder: Path, images: Iterable[ImageRecord], ads_dir: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    superfluous = {entry.name for entry in os.scandir(folder)}
    for image in images:
        name = link_name(image)
        if name in superfluous:
            superfluous.remove(name)
        else:
            _link((ads_dir / image.path).resolve(), folder / name)
    for name in superfluous:
        (folder / name).unlink()


def _link(source: Path, target: Path) -> None:
    """Link or copy; an image that has vanished since is left out, its record says what it was."""
    for make in (os.link, os.symlink):
        with suppress(OSError):
            make(source, target)
            return
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)
