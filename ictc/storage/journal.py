"""Append-only records of one stage: what makes a run of days safe to kill at any instruction.

A journal is a folder of segments, named `<writer>-<number>.jsonl`. A segment has one writer and one record a line, each
with a checksum; a new one gets a higher number than all that are there. On reading, all segments are united in the
order of their numbers, and the last record of an id counts. A record is
handed to the operating system when it is appended, so it survives the death of the process; it is
synced to the disk every few hundred records or seconds, so that a crash of the machine costs no more.

The journal knows of a record its "id", its "status" and three digests: of its "input"; of what was "seen" of that
before it was read; and of the "source", the input that its outcome was made from. Both are the same as the input unless
the record says otherwise. It keeps them in memory with a fingerprint of the outcome: enough to tell what is done, what
is out of date and what was made from the same, without reading a record again.

Limits:

- A writer's name belongs to one live process; the lock of the run directory sees to that. Two never append to one
  segment, but one that opens the journal while the other writes a line would take that for torn, and cut it.
- A torn write costs its record. Damage inside costs the lines that it touches, so two where it took the end of one. A
  checksum of 32 bits lets one damaged line in 4·10^9 pass, and does not protect from anybody who writes on purpose.
- The death of the machine costs what was not synced, and `sync_if_due` syncs nothing unless it is called. After an
  error of a sync the run has to end: what the disk did not take may look well until the machine is started anew.
- Readers see what was there when they opened; to see more they open again. They may do so while others write, with
  `read_only`: the last line may be unfinished, and counts as not there.
- A record is JSON as orjson writes it: integers of 64 bits, no half surrogates; not a number becomes null. It may be of
  any size. A journal has 2^24 segments at most, of which 64 are open for reading at a time.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from ictc.errors import StorageError
from ictc.storage.atomic import fsync_directory, make_directory, storage_errors

FORMAT_VERSION = 1
MAX_SEGMENT_BYTES = 256 * 2**20
_CHECKSUM_CHARS = 8
_OFFSET_BITS = 40
_MAX_OPEN = 64
"""Segments that are open for reading at a time: a merge of many shards has more than a process may open files."""


def encode_line(record: dict[str, Any]) -> bytes:
    """Return `record` as one journal line: CRC-32 in hex, a space, JSON, a newline."""
    payload = orjson.dumps(record)
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """Return the record of a journal line, or None if the line is torn or damaged."""
    checksum, payload = line[:_CHECKSUM_CHARS], line[_CHECKSUM_CHARS + 1 : -1]
    if not line.endswith(b"\n") or not payload or checksum != b"%08x" % zlib.crc32(payload):
        return None
    record: dict[str, Any] = orjson.loads(payload)
    return record


class Journal:
    """The records of one stage, by id.

    Memory grows with the ids only, about 400 bytes each; the records stay on the disk.

    Attributes:
        num_damaged: lines inside a segment whose checksum failed; their records count as never made.
    """

    def __init__(
        self,
        directory: Path,
        *,
        writer: str = "0",
        sync_records: int = 1000,
        sync_seconds: float = 5.0,
        read_only: bool = False,
    ):
        """Open the journal in `directory` and cut this writer's torn tail.

        Args:
            directory: one folder a journal; made with the first record.
            writer: names the segments that this process appends to; no two live processes share one.
            sync_records: records after which the disk is synced.
            sync_seconds: seconds after which the disk is synced if there is anything new.
            read_only: leave the disk as it is: cut nothing.

        Raises:
            StorageError: the disk refused, or a newer version of ictc wrote the journal.
        """
        self.directory = directory
        self.num_damaged = 0
        self._writer = writer
        self._read_only = read_only
        self._sync_records = sync_records
        self._sync_seconds = sync_seconds
        self._numbers: dict[str, int] = {}  # id -> place in the arrays: half the memory of a dict of pairs
        self._locations = array("Q")
        self._inputs = array("Q")
        self._seen = array("Q")
        self._sources = array("Q")
        self._fingerprints = array("Q")
        self._statuses = bytearray()  # places in the list of their names
        self._status_names: list[str] = []
        self._segments: list[Path] = []
        self._readers: dict[int, BinaryIO] = {}
        self._unsynced = 0
        self._last_sync = time.monotonic()
        self._output: int | None = None
        self._end = 0
        with storage_errors(directory):
            for path in list_segments(directory):
                self._index(path)

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, record_id: str) -> dict[str, Any] | None:
        """Return the last record of `record_id`, or None if there is none.

        Raises:
            StorageError: the record was damaged after the journal was opened.
        """
        place = self._numbers.get(record_id)
        return None if place is None else self.read(self._locations[place])

    def locate(self, record_id: str) -> int:
        """Return where the last record of `record_id` lies, for `read`: it stays there when there is a later one.

        Raises:
            KeyError: there is no such record.
        """
        return self._locations[self._numbers[record_id]]

    def read(self, location: int) -> dict[str, Any]:
        """Return the record at a place.

        Raises:
            StorageError: the record was damaged after the journal was opened.
        """
        number, offset = location >> _OFFSET_BITS, location & ((1 << _OFFSET_BITS) - 1)
        reader = self._readers.get(number) or self._open_reader(number)
        reader.seek(offset)
        record = decode_line(reader.readline())
        if record is None:
            raise StorageError(
                f"{self._segments[number]}: the record at byte {offset:,} is damaged; run again to redo it"
            )
        return record

    def _open_reader(self, number: int) -> BinaryIO:
        """Open a segment, and close the one that has been open longest where there are many."""
        if len(self._readers) == _MAX_OPEN:
            self._readers.pop(next(iter(self._readers))).close()
        reader = self._readers[number] = self._segments[number].open("rb")
        return reader

    def is_about(self, record_id: str, *, input_digest: str) -> bool:
        """Return whether the last record of `record_id` is about this input, or about what was seen of it like this."""
        place = self._numbers.get(record_id)
        return place is not None and int(input_digest, 16) in (self._seen[place], self._inputs[place])

    def input(self, record_id: str) -> str:
        """Return the digest of the input that the last record of `record_id` is about.

        Raises:
            KeyError: there is no such record.
        """
        return f"{self._inputs[self._numbers[record_id]]:016x}"

    def status(self, record_id: str) -> str | None:
        """Return the status of the last record of `record_id`, None if there is none."""
        place = self._numbers.get(record_id)
        return None if place is None else self._status_names[self._statuses[place]]

    def fingerprint(self, record_id: str) -> str:
        """Return 16 hex digits that are equal for equal outcomes only: status and data, whatever id they belong to.

        Raises:
            KeyError: there is no such record.
        """
        return f"{self._fingerprints[self._numbers[record_id]]:016x}"

    def source(self, record_id: str) -> str:
        """Return the digest of the input that the outcome of the last record of `record_id` was made from.

        Raises:
            KeyError: there is no such record.
        """
        return f"{self._sources[self._numbers[record_id]]:016x}"

    @property
    def end(self) -> tuple[int, int]:
        """Where the next record goes: another place after each one."""
        return len(self._segments), self._end

    def append(self, record: dict[str, Any]) -> None:
        """Add a record: "id", "status", "input" (16 hex digits) and whatever else, such as "seen", "source" and "data".

        Raises:
            StorageError: the disk refused; everything before this record is intact.
        """
        line = encode_line(record)
        if self._output is None or self._end + len(line) > MAX_SEGMENT_BYTES:
            self._open_segment()
        location = (len(self._segments) - 1) << _OFFSET_BITS | self._end
        self._write(line)
        self._remember(record, location)
        self._unsynced += 1
        if self._unsynced >= self._sync_records:
            self.sync()

    def sync(self) -> None:
        """Make all records durable.

        Raises:
            StorageError: the disk refused.
        """
        if self._output is not None and self._unsynced:
            with storage_errors(self._segments[-1]):
                os.fsync(self._output)
        self._unsynced = 0
        self._last_sync = time.monotonic()

    def sync_if_due(self) -> None:
        """Sync if `sync_seconds` have passed since the last time."""
        if time.monotonic() - self._last_sync >= self._sync_seconds:
            self.sync()

    def close(self) -> None:
        """Sync and close; the journal can't be used afterwards."""
        self.sync()
        if self._output is not None:
            os.close(self._output)
            self._output = None
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _index(self, path: Path) -> None:
        """Read one segment, remember where its records lie, and cut the torn tail if it is this writer's."""
        number = len(self._segments)
        self._segments.append(path)
        offset = end_of_valid = damaged = 0
        with path.open("rb") as file:
            for line in file:
                record = decode_line(line)
                if record is None:
                    damaged += 1
                else:
                    if "id" in record:
                        self._remember(record, number << _OFFSET_BITS | offset)
                    else:
                        check_header(path, record)
                    self.num_damaged += damaged
                    damaged = 0
                    end_of_valid = offset + len(line)
                offset += len(line)
        if end_of_valid < offset and self._is_own(path) and not self._read_only:
            os.truncate(path, end_of_valid)

    def _remember(self, record: dict[str, Any], location: int) -> None:
        place = self._numbers.setdefault(sys.intern(record["id"]), len(self._locations))
        if place == len(self._locations):
            for column in (self._locations, *self._digests, self._fingerprints, self._statuses):
                column.append(0)
        self._locations[place] = location
        for column, digest in zip(self._digests, digests_of(record), strict=True):
            column[place] = int(digest, 16)
        self._fingerprints[place] = outcome_fingerprint(record)
        self._statuses[place] = self._status_code(record["status"])

    @property
    def _digests(self) -> tuple[array[int], array[int], array[int]]:
        return self._inputs, self._seen, self._sources

    def _status_code(self, status: str) -> int:
        if status not in self._status_names:
            self._status_names.append(status)
        return self._status_names.index(status)

    def _is_own(self, path: Path) -> bool:
        return path.name.rpartition("-")[0] == self._writer

    def _open_segment(self) -> None:
        """Start this writer's next segment; segments of earlier runs are never appended to."""
        if self._output is not None:
            self.sync()
            os.close(self._output)
            self._output = None
        number = 1 + max((segment_order(path)[0] for path in self._segments), default=-1)
        path = self.directory / f"{self._writer}-{number:06d}.jsonl"
        with storage_errors(path):
            make_directory(self.directory)
            self._output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            self._segments.append(path)
            self._end = 0
            self._write(encode_line({"journal": FORMAT_VERSION}))
            fsync_directory(self.directory)

    def _write(self, line: bytes) -> None:
        """Write the whole line, or leave the segment as it was."""
        assert self._output is not None
        path = self._segments[-1]
        with storage_errors(path):
            written = 0
            try:
                while written < len(line):
                    written += os.write(self._output, line[written:])
            except OSError:
                os.ftruncate(self._output, self._end)
                raise
        self._end += len(line)


def digests_of(record: dict[str, Any]) -> tuple[str, str, str]:
    """Return the digests of a record's input, of what was seen of it, and of what its outcome was made from.

    Where earlier versions compared files, a record's source is the digest of its file, and its input that of a name and
    a size, which is what was seen.
    """
    about: str = record["input"]
    source: str = record.get("source", about)
    if "source" in record and "seen" not in record:
        return source, about, source
    return about, record.get("seen", about), source


def outcome_fingerprint(record: dict[str, Any]) -> int:
    """Return 64 bits that are equal for equal outcomes only."""
    content = orjson.dumps([record["status"], record.get("data")])
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")


def list_segments(directory: Path) -> list[Path]:
    """Return the segments of a journal in the order in which they count, later ones over earlier ones."""
    return sorted(directory.glob("*.jsonl"), key=segment_order)


def segment_order(path: Path) -> tuple[int, str]:
    """Return the sort key of a segment: its number, then its writer; -1 for a file that has no number."""
    writer, _, number = path.stem.rpartition("-")
    return int(number) if number.isdecimal() else -1, writer


def check_header(path: Path, header: dict[str, Any]) -> None:
    """Refuse a segment that a newer version wrote.

    Raises:
        StorageError: its format is newer than `FORMAT_VERSION`.
    """
    version = header.get("journal")
    if version != FORMAT_VERSION:
        raise StorageError(f"{path}: journal format {version}, this ictc reads {FORMAT_VERSION}; use the newer ictc")
