"""The journals line by line: damage, torn ends, missing and copied segments.

Knows the form of a segment, and of what its records mean no more than which of them are tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ictc.stages.outcome import RETRIED
from ictc.steps.finding import Finding
from ictc.storage.journal import decode_line, list_segments, segment_order

MOST_LINES_NAMED = 5


def check_segments(directory: Path) -> Iterator[Finding]:
    """Yield what is wrong with the segments of one journal."""
    numbers: set[int] = set()
    seen: set[int] = set()
    latest: dict[int, int] = {}
    for path in list_segments(directory):
        number, writer = segment_order(path)
        if number < 0 or not writer:
            yield Finding("checksum", path, "is no segment of a journal; take it out of this folder")
            continue
        numbers.add(number)
        yield from SegmentCheck(path, seen=seen, latest=latest).findings()
    for absent in sorted(set(range(max(numbers, default=0))) - numbers):
        problem = f"segment {absent:06d} is missing, with all its records"
        yield Finding("checksum", directory, problem, is_lost_record=True)


@dataclass
class SegmentCheck:
    """Reads one segment.

    Attributes:
        seen: hashes of the lines of the journal's segments so far.
        latest: hash of the last of them about each image, by that of its id.
        num_records: how many it holds, but for those of images that are tried again and may come to the same end.
        num_idle: records that are the last about their image already; those of a content that was there once, was
            replaced, and is there again, repeat an earlier one, too.
    """

    path: Path
    _: KW_ONLY
    seen: set[int]
    latest: dict[int, int]
    num_records: int = 0
    num_repeated: int = 0
    num_idle: int = 0
    damaged: list[tuple[int, str]] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with the segment, once it has been read."""
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                problem = self._check_line(number=number, offset=offset, line=line)
                offset += len(line)
                if problem is not None:
                    yield Finding("checksum", self.path, problem)
        for number, where in self.damaged[:MOST_LINES_NAMED]:
            problem = f"{where} is damaged: its checksum does not match"
            yield Finding("checksum", self.path, problem, is_lost_record=number > 1)
        if len(self.damaged) > MOST_LINES_NAMED:
            rest = len(self.damaged) - MOST_LINES_NAMED
            yield Finding("checksum", self.path, f"{rest:,} more lines are damaged", is_lost_record=True)
        if self.num_repeated == self.num_records > 1 and self.num_idle:
            problem = f"repeats {self.num_records:,} records of earlier segments and has no others: a copy?"
            yield Finding("checksum", self.path, problem)

    def _check_line(self, *, number: int, offset: int, line: bytes) -> str | None:
        if not line.endswith(b"\n"):
            return f"ends in a torn line at byte {offset:,}; the next run cuts it off"
        record = decode(line)
        if record is None:
            self.damaged.append((number, f"line {number:,} (byte {offset:,})"))
        elif "id" in record:
            self._count(image=hash(record["id"]), line=hash(line), is_retried=record.get("status") in RETRIED)
            return "does not begin with its header: the beginning is missing" if number == 1 else None
        return None

    def _count(self, *, image: int, line: int, is_retried: bool) -> None:
        if not is_retried:
            self.num_records += 1
            self.num_repeated += line in self.seen
            self.num_idle += self.latest.get(image) == line
        self.seen.add(line)
        self.latest[image] = line


def decode(line: bytes) -> dict[str, Any] | None:
    """Return the record of a journal line, or None if it is damaged in any way."""
    try:
        return decode_line(line)
    except orjson.JSONDecodeError:
        return None
