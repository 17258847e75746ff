"""Read what the manifest needs of an observation's metadata file.

Knows the public export's fields and tolerates any of them missing, null or of the wrong type. Takes
nothing of the observer: those fields are sensitive.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

METADATA_NAMES = ("full_data.json", "data.json")
"""Metadata files, best first."""

MAX_METADATA_BYTES = 64 * 2**20
"""A larger file is no observation; it is not read into memory."""

_FIRST_MILLISECONDS = 1e11
"""Larger timestamps are in milliseconds: as seconds they would lie beyond the year 5000."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known of an observation; None where it isn't."""

    observation_id: str | None = None
    platform: str | None = None
    ad_format: str | None = None
    timestamp: str | None = None


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
    return Metadata(
        observation_id=_text(data.get("observation_id")) or _text(observation.get("uuid")),
        platform=_text(observation.get("platform")),
        ad_format=_text(observation.get("ad_format")),
        timestamp=next(filter(None, map(parse_timestamp, times)), None),
    )


def _text(value: object) -> str | None:
    """Return a text that isn't blank; half a surrogate pair, which no output could hold, is spelled out."""
    if not isinstance(value, str):
        return None
    return value.strip().encode("utf-8", "backslashreplace").decode() or None


def parse_timestamp(value: object) -> str | None:
    """Return a time as ISO 8601 in UTC, to the second, such as "2024-05-01T12:00:00Z".

    Args:
        value: seconds or milliseconds since 1970, as a number or in digits, or an ISO 8601 text (in UTC
            where it doesn't name its zone); anything else is None.
    """
    try:
        time = _parse_time(value)
        return None if time is None else time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def _parse_time(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            time = datetime.fromisoformat(str(value).strip())
            return time if time.tzinfo else time.replace(tzinfo=UTC)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return datetime.fromtimestamp(value / 1000 if value >= _FIRST_MILLISECONDS else value, UTC)
