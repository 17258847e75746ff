"""Which images were in flight when an engine died: the suspects, kept on the disk so that a crash can't hide them.

An engine that dies names no culprit: every image in flight is a suspect. Suspects are asked again in two groups, each
at an engine of its own; a group that is answered is acquitted, and one of which the engine dies is halved. An image
that was there at two deaths and alone at the last of them is quarantined. The death of this whole process is no proof,
as it may have been killed for reasons of its own: only what was in flight at two such deaths becomes suspect, and only
a process that dies with an image alone three times over counts against it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import orjson

from ictc.storage.atomic import storage_errors, write_atomic

T = TypeVar("T")

DEATHS_TO_QUARANTINE = 2
LONELY_PROCESS_DEATHS_TO_QUARANTINE = 3

KILLS_ENGINES = f"the engine died {DEATHS_TO_QUARANTINE} times with this image, the last time with it alone"
"""It may have been more often; that depends on what was beside it, and equal runs are to give equal records."""


class Suspects:
    """What one stage has in flight, and what was in flight at past deaths.

    The file gets a line when a request starts and one when it ends, not synced: it must survive this
    process, not the machine.

    Attributes:
        groups: ids of the suspects that are to be asked together, apart from all others.
    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier process left, and judge what it had in flight."""
        self.groups: list[list[str]] = []
        self._path = path
        self._in_flight: dict[str, None] = {}
        self._seen: dict[str, None] = {}
        self._deaths: Counter[str] = Counter()
        self._process_deaths: Counter[str] = Counter()
        self._alone: set[str] = set()
        self._load()
        self._output = self._open()

    @property
    def in_flight(self) -> list[str]:
        """Ids whose requests the engines have."""
        return list(self._in_flight)

    def __len__(self) -> int:
        """How many images are suspect."""
        return sum(map(len, self.groups))

    def __contains__(self, image_id: str) -> bool:
        """Whether this image is suspect."""
        return any(image_id in group for group in self.groups)

    def verdict(self, image_id: str) -> str | None:
        """Return why this image is quarantined, None if it is not."""
        if image_id in self._alone and self._deaths[image_id] >= DEATHS_TO_QUARANTINE:
            return KILLS_ENGINES
        if self._process_deaths[image_id] >= LONELY_PROCESS_DEATHS_TO_QUARANTINE:
            return f"the program died {self._process_deaths[image_id]} times with this image alone in flight"
        return None

    def start(self, image_id: str) -> None:
        """Note that an engine has a request of this image."""
        self._in_flight[image_id] = None
        self._write(sign="+", image_id=image_id)

    def end(self, image_id: str) -> None:
        """Note that this image has left the stage: nothing is held against it any more."""
        if self._forget(image_id):
            self._write(sign="-", image_id=image_id)

    def acquit(self) -> None:
        """Clear all suspects: each has finished without a death, or is gone."""
        for image_id in [*chain(*self.groups), *self._seen]:
            self.end(image_id)

    def release(self) -> None:
        """Forget what is in flight without suspecting it: the engines were stopped on purpose."""
        if self._in_flight:
            self._in_flight.clear()
            self._replace()

    def blame(self, groups: Iterable[Sequence[str]], *, alone: bool) -> None:
        """Suspect what a dead engine had in flight of its death.

        Args:
            groups: how it is to be asked again.
            alone: whether that was one image, of all stages.
        """
        for group in groups:
            for image_id in group:
                self._deaths[image_id] += 1
                self._in_flight.pop(image_id, None)
                self._seen.pop(image_id, None)
                self._leave_group(image_id)
                if alone:
                    self._alone.add(image_id)
            if group:
                self.groups.append(list(group))
        self._replace()

    def close(self) -> None:
        """Close the file, and delete it if it tells nothing."""
        os.close(self._output)
        if not (self._in_flight or self.groups or self._seen or self._deaths or self._process_deaths):
            with suppress(OSError):
                self._path.unlink()

    def _forget(self, image_id: str) -> bool:
        """Drop all that is known of an image; return whether there was anything."""
        was_suspect = self._leave_group(image_id)
        known = was_suspect or image_id in self._in_flight or image_id in self._seen
        books: tuple[dict[str, Any], ...] = (self._in_flight, self._seen, self._deaths, self._process_deaths)
        for book in books:
            book.pop(image_id, None)
        return known

    def _leave_group(self, image_id: str) -> bool:
        for group in self.groups:
            if image_id in group:
                group.remove(image_id)
                self.groups = [one for one in self.groups if one]
                return True
        return False

    def _open(self) -> int:
        with storage_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def _write(self, *, sign: str, image_id: str) -> None:
        line = sign.encode() + orjson.dumps(image_id) + b"\n"
        with storage_errors(self._path):
            while line:
                line = line[os.write(self._output, line) :]

    def _load(self) -> None:
        """Read the file of a dead process, leaving out torn lines."""
        try:
            *lines, torn = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        if lines and lines[0].startswith(b"{"):
            self._load_summary(orjson.loads(lines.pop(0)))
        for line in lines:
            try:
                image_id = orjson.loads(line[1:])
            except orjson.JSONDecodeError:
                continue  # glued to one that a full disk tore
            if line.startswith(b"+"):
                self._in_flight[image_id] = None
            else:
                self._forget(image_id)
        if lines or torn:  # nothing may be appended to a torn line
            self._judge_process_death()
            self._save()

    def _load_summary(self, saved: Mapping[str, Any]) -> None:
        """Read the first line; earlier versions listed suspects one by one."""
        self._deaths.update(saved["deaths"])
        self._process_deaths.update(saved["process_deaths"])
        self._seen = dict.fromkeys(saved.get("seen", ()))
        one_by_one = [suspect for suspect in saved["suspects"] if isinstance(suspect, str)]
        self.groups = [suspect for suspect in saved["suspects"] if not isinstance(suspect, str)]
        self.groups += [one_by_one] if one_by_one else []

    def _judge_process_death(self) -> None:
        """Halve the groups of suspects that were in flight; what was so at another such death is suspect now."""
        again = [image_id for image_id in self._in_flight if image_id in self._seen]
        groups = [*self.groups, again]
        suspected = set(chain(*groups))
        if len(self._in_flight) == 1:
            self._process_deaths.update(suspected & self._in_flight.keys())
        self.groups = [part for group in groups for part in self._split(group)]
        for image_id in again:
            del self._seen[image_id]
        self._seen |= {image_id: None for image_id in self._in_flight if image_id not in suspected}
        self._in_flight.clear()

    def _split(self, group: Sequence[str]) -> list[list[str]]:
        """Return a group without what was in flight, and that in halves."""
        had = [image_id for image_id in group if image_id in self._in_flight]
        rest = [image_id for image_id in group if image_id not in self._in_flight]
        return [list(part) for part in (*halve(had), rest) if part]

    def _replace(self) -> None:
        """Write the file anew, and go on with that."""
        self._save()
        os.close(self._output)
        self._output = self._open()

    def _save(self) -> None:
        """Replace the file by one that says the same in few lines."""
        summary = {
            "deaths": self._deaths,
            "process_deaths": self._process_deaths,
            "suspects": self.groups,
            "seen": list(self._seen),
        }
        lines = [orjson.dumps(summary), *(b"+" + orjson.dumps(image_id) for image_id in self._in_flight)]
        write_atomic(self._path, b"\n".join(lines) + b"\n")


def halve(group: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Return both halves of a group; of a single one, that and nothing."""
    middle = (len(group) + 1) // 2
    return group[:middle], group[middle:]
