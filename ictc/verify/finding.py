"""One thing that is wrong in a run directory, or worth knowing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Check = Literal["checksum", "accounting", "key", "export"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        path: the file or folder that it is about.
        problem: what is wrong, in one line.
        is_note: it changes no result; a directory with notes alone is in order.
    """

    check: Check
    path: Path
    problem: str
    is_note: bool = False

    def __str__(self) -> str:
        return f"{'note: ' if self.is_note else ''}{self.path}: {self.problem}"


def name_some(names: Iterable[str], most: int = 3) -> str:
    """Return how many names there are, and the first few of them.

    >>> name_some(["a", "b", "c", "d"])
    "4: 'a', 'b', 'c', …"
    """
    listed = list(names)
    return f"{len(listed):,}: {', '.join(map(repr, listed[:most]))}{', …' if len(listed) > most else ''}"
