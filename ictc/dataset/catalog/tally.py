"""What of a collection is not taken, and why: counts and a few names, as Step 0 tells them.

Whatever lies where the images are becomes an image, a record with its problem, or a count here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

NUM_EXAMPLES = 2
NUM_SUFFIXES = 4
MAX_SUFFIXES = 100
"""Counted apart; names are foreign text, and a suffix of their own each must not fill the memory."""
MAX_SUFFIX_CHARS = 12
MAX_EXAMPLE_CHARS = 60


class Reason(StrEnum):
    """Why something is no image of its own, in words; `{s}` is where the plural goes."""

    HIDDEN = "hidden name{s}"
    OTHER = "other file{s}"
    UNREADABLE = "folder{s} or file{s} that cannot be read"
    NOWHERE = "link{s} to nowhere"
    CYCLE = "link{s} to a folder above"
    SPECIAL = "name{s} of neither a file nor a folder"
    TARS = "tar file{s} beside images, which --layout tar takes"
    BESIDE_TARS = "image{s} beside the tar shards, which --layout flat takes"
    FRAMES = "further image{s} of a folder or key that has one, which --frames all takes"
    METADATA = "metadata file{s} without a known field"
    REPEATED = "member{s} whose name is repeated later in the shard"
    BY_CONTENT = "image{s} without a known suffix, told by content"
    BY_PATH = "image{s} of a repeated id, named by path"
    NO_TIME = "image{s} whose time can be read in no way, or in several: null, as given in metadata.timestamp"


TAKEN = (Reason.BY_CONTENT, Reason.BY_PATH, Reason.NO_TIME)
"""What is taken all the same, and worth a word."""


class Tally:
    """Counts by reason, each with the first names in order."""

    def __init__(self) -> None:
        self.counts: Counter[Reason] = Counter()
        self.suffixes: Counter[str] = Counter()
        self.examples: dict[Reason, list[str]] = {}

    def add(self, reason: Reason, name: str) -> None:
        """Count one thing by its name."""
        self.counts[reason] += 1
        self._show(reason, name)

    def add_other(self, name: str, *, suffix: str) -> None:
        """Count a file that is no image by its suffix, "" if it has none."""
        self.add(Reason.OTHER, name)
        is_one_more = len(self.suffixes) < MAX_SUFFIXES and len(suffix) <= MAX_SUFFIX_CHARS
        self.suffixes[suffix if is_one_more or suffix in self.suffixes else "…"] += 1

    def update(self, other: Tally, prefix: str = "") -> None:
        """Add what another has counted; its names get a prefix."""
        self.counts.update(other.counts)
        self.suffixes.update(other.suffixes)
        for reason, names in other.examples.items():
            for name in names:
                self._show(reason, prefix + name)

    def _show(self, reason: Reason, name: str) -> None:
        shown = self.examples.setdefault(reason, [])
        if len(shown) < NUM_EXAMPLES or name < shown[-1]:
            shown.append(name.encode("utf-8", "backslashreplace").decode())
            shown.sort()
            del shown[NUM_EXAMPLES:]

    @property
    def num_left_out(self) -> int:
        """How many names are not taken."""
        return sum(count for reason, count in self.counts.items() if reason not in TAKEN)

    def describe(self) -> str:
        """Return all counts in a line, "" if there are none."""
        left_out = [self._describe(reason) for reason in Reason if reason not in TAKEN and self.counts[reason]]
        taken = [self._describe(reason) for reason in TAKEN if self.counts[reason]]
        parts = ("left out: " + ", ".join(left_out) if left_out else "", "taken: " + ", ".join(taken) if taken else "")
        return "; ".join(filter(None, parts))

    def _describe(self, reason: Reason) -> str:
        count, shown = self.counts[reason], self.examples[reason]
        words = reason.format(s="" if count == 1 else "s")
        names = ", ".join(map(quote, shown)) + (", …" if count > len(shown) else "")
        kinds = f"{self._describe_suffixes()}: " if reason is Reason.OTHER else ""
        return f"{count:,} {words} ({kinds}{names})"

    def _describe_suffixes(self) -> str:
        ordered = sorted(self.suffixes.items(), key=lambda item: (-item[1], item[0]))
        named = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in ordered[:NUM_SUFFIXES]]
        return ", ".join([*named, "…"] if len(ordered) > NUM_SUFFIXES else named)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        counts = {reason.name: [count, *self.examples[reason]] for reason, count in self.counts.items()}
        return {"counts": counts, "suffixes": dict(self.suffixes)} if counts else {}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tally:
        """Return what `to_json` was called on."""
        tally = cls()
        for name, (count, *examples) in data.get("counts", {}).items():
            tally.counts[Reason[name]] = count
            tally.examples[Reason[name]] = examples
        tally.suffixes.update(data.get("suffixes", {}))
        return tally


def quote(name: str) -> str:
    """Return a foreign name in quotes, on one line, whatever it holds, and not too long."""
    return repr(name if len(name) <= MAX_EXAMPLE_CHARS else name[: MAX_EXAMPLE_CHARS - 1] + "…")
