"""Read what the manifest needs of an observation's metadata file.

Knows the public export's fields and tolerates any of them missing, null or of the wrong type. Takes
nothing of the observer: those fields are sensitive.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ictc.dataset.catalog.listing import LASTING
from ictc.dataset.catalog.tally import Reason, Tally
from ictc.dataset.catalog.times import parse_timestamp

METADATA_NAMES = ("full_data.json", "data.json")
"""Metadata files, best first."""

MAX_METADATA_BYTES = 64 * 2**20
"""A larger file is no observation; it is not read into memory."""

MAX_EXACT = 2**53
"""Up to here every integer is a floating point number, too; of larger ones some digits are lost."""

TIME_COLUMN = "timestamp"
"""Where a time that cannot be read is kept among the user's own columns, as it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is known of an observation; None where it isn't.

    Attributes:
        unread_time: as it was given, where nothing that was given could be read as the timestamp.
    """

    observation_id: str | None = None
    platform: str | None = None
    ad_format: str | None = None
    timestamp: str | None = None
    unread_time: str | None = None


FIELDS = ("observation_id", "observation", "observer", "timestamp", "enrichment", "keyframes")
"""Of an observation's metadata, at its top."""


def load_metadata(
    folder: Path, names: Sequence[str] = METADATA_NAMES, unit: str = "", left_out: Tally | None = None
) -> Metadata:
    """Read the first usable metadata file of a folder; without one, nothing is known.

    Args:
        names: of the files, best first.
        unit: what `left_out` calls the folder.
        left_out: gets the files that are not used.

    Raises:
        OSError: the disk fails.
    """
    return choose_metadata(names, lambda name: _read_or_nothing(folder / name), unit, left_out or Tally())


def choose_metadata(names: Iterable[str], read: Callable[[str], bytes | None], unit: str, left_out: Tally) -> Metadata:
    """Return what the first usable of several metadata files says, and count the others.

    Args:
        read: returns the content of a file, None if it is not there.
    """
    chosen: Metadata | None = None
    for name in names:
        if chosen is not None:
            left_out.add_other(f"{unit}/{name}", suffix=".json")
        elif (content := read(name)) is not None:
            chosen = parse_known(content)
            if chosen is None:
                left_out.add(Reason.METADATA, f"{unit}/{name}")
    return chosen or Metadata()


def read_metadata(path: Path) -> bytes | None:
    """Return the content of a metadata file: None if there is none, b"" if it is too large.

    Raises:
        OSError: nobody may read it, or the disk fails.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            return file.read() if status.st_size <= MAX_METADATA_BYTES else b""
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for a writer


def _read_or_nothing(path: Path) -> bytes | None:
    try:
        return read_metadata(path)
    except OSError as error:
        if error.errno not in LASTING:
            raise
        return b""


def tells_observation(name: str, content: bytes | None) -> bool:
    """Whether a file is the metadata of an observation, and not something else of that name, such as annotations.

    The export's own name says so even of a file that is empty or damaged; a common one does not.
    """
    if content is None:
        return False
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        data = {}
    if data == {}:
        return name == METADATA_NAMES[0]
    return isinstance(data, dict) and any(field in data for field in FIELDS)


def load_json_object(content: bytes) -> dict[str, Any] | None:
    """Return the object that a metadata file holds, None if it holds none."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def parse_known(content: bytes) -> Metadata | None:
    """Return what a metadata file says, None if it has no field that is known."""
    data = load_json_object(content)
    return parse_metadata(data) if data and any(field in data for field in FIELDS) else None


def parse_metadata(data: dict[str, Any]) -> Metadata:
    """Pick the manifest's fields from the content of a metadata file."""
    observation = data.get("observation")
    if not isinstance(observation, dict):
        observation = {}
    times = [data.get("timestamp")]
    times += [observation.get(name) for name in ("observed_on_device_at", "submitted_from_device_at")]
    timestamp = next(filter(None, map(parse_timestamp, times)), None)
    return Metadata(
        observation_id=_name(data.get("observation_id")) or _name(observation.get("uuid")),
        platform=_name(observation.get("platform")),
        ad_format=_name(observation.get("ad_format")),
        timestamp=timestamp,
        unread_time=None if timestamp else next(filter(None, map(_plain, times)), None),
    )


def _plain(value: object) -> str | None:
    return _text(str(value)) if isinstance(value, str | int | float) else None


def _name(value: object) -> str | None:
    """Return a text that isn't blank, or the digits of an integer, unless some were lost before."""
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_EXACT:
        value = int(value)  # a gap in a column makes 12.0 of 12
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _text(value: object) -> str | None:
    """Return a text that isn't blank; half a surrogate pair, which no output could hold, is spelled out."""
    if not isinstance(value, str):
        return None
    return value.strip().encode("utf-8", "backslashreplace").decode() or None
