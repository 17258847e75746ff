"""Which images were in flight when an engine died: the suspects, kept on the disk so that a crash can't hide them.

An engine that dies names no culprit: every image in flight is a suspect. Suspects run one at a time,
so the next death has one suspect only; an image that was there at two deaths and alone at the last of
them is quarantined. The death of this whole process makes suspects too, but counts as no proof: it may
have been killed for reasons of its own, so only a process that dies with an image alone three times
over counts against it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import orjson

from ictc.storage.atomic import storage_errors, write_atomic

DEATHS_TO_QUARANTINE = 2
LONELY_PROCESS_DEATHS_TO_QUARANTINE = 3


class Suspects:
    """What one stage has in flight, and what was in flight at past deaths.

    The file gets a line when a request starts and one when it ends, not synced: it must survive this
    process, not the machine.
    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier process left; what it had in flight becomes suspect."""
        self._path = path
        self._in_flight: dict[str, None] = {}
        self._deaths: Counter[str] = Counter()
        self._process_deaths: Counter[str] = Counter()
        self._suspects: dict[str, None] = {}
        self._load()
        self._output = self._open()

    @property
    def in_flight(self) -> list[str]:
        """Ids whose requests the engine has."""
        return list(self._in_flight)

    def __len__(self) -> int:
        """How many images must run alone."""
        return len(self._suspects)

    def __contains__(self, image_id: str) -> bool:
        """Whether this image must run alone."""
        return image_id in self._suspects

    def verdict(self, image_id: str) -> str | None:
        """Return why this image is quarantined, None if it is not."""
        if self._deaths[image_id] >= DEATHS_TO_QUARANTINE:
            return f"the engine died {self._deaths[image_id]} times with this image, the last time with it alone"
        if self._process_deaths[image_id] >= LONELY_PROCESS_DEATHS_TO_QUARANTINE:
            return f"the program died {self._process_deaths[image_id]} times with this image alone in flight"
        return None

    def start(self, image_id: str) -> None:
        """Note that the engine has a request of this image."""
        self._in_flight[image_id] = None
        self._write("+", image_id)

    def end(self, image_id: str) -> None:
        """Note that this image has left the stage, or goes back to wait."""
        if image_id in self._in_flight or image_id in self._suspects:
            self._in_flight.pop(image_id, None)
            self._suspects.pop(image_id, None)
            self._write("-", image_id)

    def acquit(self) -> None:
        """Clear all suspects: each has finished, alone, without a death."""
        for image_id in list(self._suspects):
            self.end(image_id)

    def release(self) -> None:
        """Forget what is in flight without suspecting it: the engine was stopped on purpose."""
        for image_id in self.in_flight:
            self.end(image_id)

    def blame(self, had: Collection[str] | None = None) -> list[str]:
        """Suspect what a dead engine had in flight of its death, and return it; the rest goes back to wait.

        Args:
            had: what that engine had, None for everything in flight.
        """
        blamed = [image_id for image_id in self.in_flight if had is None or image_id in had]
        for image_id in blamed:
            self._deaths[image_id] += 1
            self._suspects[image_id] = None
        self._in_flight.clear()
        self._save()
        os.close(self._output)  # the file has been replaced
        self._output = self._open()
        return blamed

    def close(self) -> None:
        """Close the file, and delete it if it tells nothing."""
        os.close(self._output)
        if not (self._in_flight or self._suspects or self._deaths or self._process_deaths):
            with suppress(OSError):
                self._path.unlink()

    def _open(self) -> int:
        with storage_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def _write(self, sign: str, image_id: str) -> None:
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
            saved = orjson.loads(lines.pop(0))
            self._deaths.update(saved["deaths"])
            self._process_deaths.update(saved["process_deaths"])
            self._suspects = dict.fromkeys(saved["suspects"])
        left: dict[str, None] = {}
        for line in lines:
            try:
                image_id = orjson.loads(line[1:])
            except orjson.JSONDecodeError:
                continue  # glued to one that a full disk tore
            if line.startswith(b"+"):
                left[image_id] = None
            else:
                left.pop(image_id, None)
                self._suspects.pop(image_id, None)
        alone = len(left) == 1
        for image_id in left:
            if alone and image_id in self._suspects:
                self._process_deaths[image_id] += 1
            self._suspects[image_id] = None
        if lines or torn:  # nothing may be appended to a torn line
            self._save()

    def _save(self) -> None:
        """Replace the file by one line that says the same."""
        content = {"deaths": self._deaths, "process_deaths": self._process_deaths, "suspects": list(self._suspects)}
        write_atomic(self._path, orjson.dumps(content) + b"\n")
