"""Read what the manifest needs of an observation's metadata file.

Knows the public export's fields and tolerates any of them missing, null or of the wrong type. Takes
nothing of the observer: those fields are sensitive.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ictc.dataset.catalog.times import parse_timestamp

METADATA_NAMES = ("full_data.json", "data.json")
"""Metadata files, best first."""

MAX_METADATA_BYTES = 64 * 2**20
"""A larger file is no observation; it is not read into memory."""


TIME_COLUMN = "timestamp"
"""Where a time that cannot be read is kept among the user's own columns, as it was given."""


@dataclass(frozen=True, slots=True)
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


def load_metadata(folder: Path) -> Metadata:
    """Read the first usable metadata file of a folder; without one, nothing is known."""
    for name in METADATA_NAMES:
        data = _load_object(folder / name)
        if data is not None:
            return parse_metadata(data)
    return Metadata()


def _load_object(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_METADATA_BYTES:
                return None
            return load_json_object(file.read())
    except OSError:
        return None


def load_json_object(content: bytes) -> dict[str, Any] | None:
    """Return the object that a metadata file holds, None if it holds none."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def parse_metadata(data: dict[str, Any]) -> Metadata:
    """Pick the manifest's fields from the content of a metadata file."""
    observation = data.get("observation")
    if not isinstance(observation, dict):
        observation = {}
    times = [data.get("timestamp")]
    times += [observation.get(name) for name in ("observed_on_device_at", "submitted_from_device_at")]
    timestamp = next(filter(None, map(parse_timestamp, times)), None)
    return Metadata(
        observation_id=_text(data.get("observation_id")) or _text(observation.get("uuid")),
        platform=_text(observation.get("platform")),
        ad_format=_text(observation.get("ad_format")),
        timestamp=timestamp,
        unread_time=None if timestamp else next(filter(None, map(_plain, times)), None),
    )


def _plain(value: object) -> str | None:
    return _text(str(value)) if isinstance(value, str | int | float) else None


def _text(value: object) -> str | None:
    """Return a text that isn't blank; half a surrogate pair, which no output could hold, is spelled out."""
    if not isinstance(value, str):
        return None
    return value.strip().encode("utf-8", "backslashreplace").decode() or None
