"""One thing that is wrong in a run directory, or worth knowing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from itertools import islice
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
        is_lost_record: records are gone, which matters only if they were not made again.
    """

    check: Check
    path: Path
    problem: str
    _: KW_ONLY
    is_note: bool = False
    is_lost_record: bool = False

    def __str__(self) -> str:
        return f"{'note: ' if self.is_note else ''}{self.path}: {self.problem}"


def name_some(names: Iterable[str], most: int = 3) -> str:
    """Return the first few names.

    >>> name_some(["a", "b", "c", "d"])
    "'a', 'b', 'c', …"
    """
    first = list(islice(names, most + 1))
    return ", ".join(map(repr, first[:most])) + (", …" if len(first) > most else "")
