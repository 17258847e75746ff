"""Where the images of an import lie: paths come from strangers, and lead only below the folder that was named."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

from ictc.dataset.catalog.table_addresses import AddressRules
from ictc.dataset.fetching.data_uris import is_data_uri, shorten
from ictc.dataset.fetching.locations import hide_secrets, is_url
from ictc.stages.outcome import Status
from ictc.steps.caption import LINKS_FOLDER
from ictc.steps.image_links import FOLDERS

SUFFIX_OF_COPIES = ".jpg"
"""The reference gives it to all, whatever they are."""

ELSEWHERE = "file://"
"""What paths begin with that lead out of the folder that was named; no later step opens such a URL."""

MAX_TAIL = 2
"""How much of a path is looked for in another folder: that of an observation, and the image in it."""

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class ImagePaths:
    """Turns the paths of a source into those of a manifest: relative to a folder, or URLs, which no later step opens.

    Args:
        base: the folder.
    """

    def __init__(self, base: Path) -> None:
        self.base = Path(os.path.realpath(base))
        self._rules = AddressRules(str(self.base), frozenset())

    def place(self, given: str) -> str:
        """Return what a manifest says of a path; one that leads elsewhere becomes a URL."""
        if not given or is_data_uri(given):
            return shorten(given) if given else ""
        if is_url(given):
            return hide_secrets(given)
        if _DRIVE.match(given):
            return f"{ELSEWHERE}/" + given.replace("\\", "/")
        path = given.replace("\\", "/")
        if self._rules.find_problem(path) is not None:
            return f"{ELSEWHERE}{os.path.abspath(self.base / path)}"  # noqa: PTH100 - links stay as they are
        return self._relative(path)

    def _relative(self, path: str) -> str:
        if not os.path.isabs(path):  # noqa: PTH117 - there may be millions
            return path
        folder, name = os.path.split(path)
        return os.path.relpath(os.path.join(os.path.realpath(folder), name), self.base)  # noqa: PTH118


class ReferencePaths:
    """Finds the images of a reference: where its paths say, below a folder that they were moved to, or as its copies.

    Args:
        location: of the reference.
        images_dir: folder of the images, None if it is not known; its copies are looked for then.
    """

    def __init__(self, location: Path, *, images_dir: Path | None) -> None:
        self._images_dir = images_dir
        self._location = location
        self._paths = ImagePaths(images_dir or location)
        self.base = self._paths.base

    def place(self, image_id: str, *, given: str, status: Status) -> str:
        """Return what a manifest says of where an image lies."""
        found = (
            self._find_copy(image_id, given=given, status=status)
            if self._images_dir is None
            else self._find_moved(given)
        )
        return self._paths.place(given) if found is None else found

    def _find_moved(self, given: str) -> str | None:
        """Return the end of a path that leads to a file in the folder, None if none does."""
        placed = self._paths.place(given)
        if not given or is_url(given) or (not is_url(placed) and (self.base / placed).is_file()):
            return placed
        parts = given.replace("\\", "/").split("/")
        tails = ("/".join(parts[-length:]) for length in range(min(MAX_TAIL, len(parts)), 0, -1))
        return next(filter(None, map(self._find_tail, tails)), None)

    def _find_tail(self, tail: str) -> str | None:
        placed = self._paths.place(tail)
        return placed if not is_url(placed) and (self.base / placed).is_file() else None

    def _find_copy(self, image_id: str, *, given: str, status: Status) -> str | None:
        folder = FOLDERS.get(status)
        suffixes = dict.fromkeys((os.path.splitext(given)[1], SUFFIX_OF_COPIES))  # noqa: PTH122 - there may be millions
        names = (f"{image_id}{suffix}" for suffix in suffixes if folder is not None)
        name = next((name for name in names if name in self._copies[str(folder)]), None)
        return None if name is None else self._paths.place(f"{LINKS_FOLDER}/{folder}/{name}")

    @cached_property
    def _copies(self) -> dict[str, frozenset[str]]:
        return {folder: frozenset(_names_in(self._location / LINKS_FOLDER / folder)) for folder in FOLDERS.values()}


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names alone
    except OSError:
        return []
