"""`categorized_images/`: the images of a run, sorted into folders for people to look through."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import orjson

from ictc.dataset.fetching.locations import is_url
from ictc.errors import StorageError
from ictc.records import ImageRecord
from ictc.stages.outcome import Status
from ictc.stages.results import Results
from ictc.storage.atomic import storage_errors
from ictc.storage.manifest import iter_manifest

FOLDERS = {Status.DONE: "valid_ads", Status.UI_ONLY: "ui_only", Status.BROKEN: "broken"}
LETTERS: dict[str | None, int] = {Status.DONE: ord("d"), Status.UI_ONLY: ord("u"), Status.BROKEN: ord("b")}
NO_FOLDER = ord("-")
LINKS_WORTH_A_PROCESS = 20_000
SERVE = "from ictc.stages.image_links import serve; serve()"
MAX_NAME_CHARS = 80


@dataclass(frozen=True)
class Places:
    """Where the links go, and where the list of images and the images are."""

    directory: str
    manifest: str
    ads_dir: str


@contextmanager
def linking_images(directory: Path, results: Results, ads_dir: Path | str | None) -> Iterator[None]:
    """Make the folders below `directory` hold exactly the images that Step 1 sorted there, until the block ends.

    Only files of this machine get there: images behind URLs and in tar shards do not.

    Each is a hard link, else a symbolic link, else a copy; what is there already is left alone. Many are made in
    a process of their own, while the block does something else.

    Raises:
        StorageError: the disk refused.
    """
    outcomes = bytes(LETTERS.get(outcome, NO_FOLDER) for outcome in results.iter_outcomes())
    folder = ads_dir or results.manifest.key["ads_dir"]
    places = Places(
        str(directory), str(results.manifest.path), str(folder) if is_url(folder) else os.path.realpath(folder)
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
    with storage_errors(Path(places.directory)):
        folders = {LETTERS[status]: LinkFolder(Path(places.directory, name)) for status, name in FOLDERS.items()}
        for image, outcome in zip(iter_manifest(Path(places.manifest)), outcomes, strict=True):
            if outcome in folders and has_link(image, places.ads_dir):
                folders[outcome].add(link_name(image), os.path.join(places.ads_dir, image.path))  # noqa: PTH118 - millions of them
        for folder in folders.values():
            folder.remove_superfluous()


def has_link(image: ImageRecord, ads_dir: str) -> bool:
    """Whether an image is a file of this machine, so that a link can lead there."""
    return image.problem is None and image.offset is None and not is_url(image.path) and not is_url(ads_dir)


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
    """Link or copy; an image that is not there (any more) is left out, its record says what it was."""
    with suppress(FileNotFoundError):
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, or a file system without links
            symlink_or_copy(source, target)


def symlink_or_copy(source: str, target: str) -> None:
    """Make a symbolic link, or a copy where there are none."""
    try:
        os.symlink(source, target)  # noqa: PTH211 - millions of them
    except OSError:
        shutil.copy2(source, target)
