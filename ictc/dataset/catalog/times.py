"""Read the times of metadata: what can be read in one way only, and nothing else.

Formats overlap: 20240501 is a day, and as seconds since 1970 another; 01/05/2024 is two days. A reading counts where
every other is impossible; where two are left, or none, the time is unknown.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache

_FIRST_S = 315_532_800
"""1980. Smaller numbers are no seconds since 1970, but the digits of something else: a day, a year, a spreadsheet's
count of days."""

_LAST_S = 4_102_444_800
"""2100."""

_UNITS_PER_S = {9: 1, 10: 1, 12: 10**3, 13: 10**3, 15: 10**6, 16: 10**6, 18: 10**9, 19: 10**9}
"""Times between 1980 and 2100 are counted in seconds, milli-, micro- or nanoseconds: their digits tell which."""

_NUMBER = re.compile(r"([0-9]{1,20})(?:\.([0-9]*))?")

_DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Times without separators, by their number of digits."""

_YEARS = range(1900, 2100)
"""Of times without separators: other digits are no years."""

_ISO = re.compile(
    r"([0-9]{4})([-/.:]?)([0-9]{1,2})\2([0-9]{1,2})"
    r"(?:(?:[Tt]|\s+)([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:[.,][0-9]+)?)?)?\s?(Z|z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
"""ISO 8601 with or without separators; with slashes, dots or colons (EXIF) too, the year first."""

_MAIL = re.compile(
    r"(?:[A-Z][a-z]{2},\s)?([0-9]{1,2})[\s-]([A-Z][a-z]{2})[\s-]([0-9]{4})"
    r"\s([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?\s(UTC|GMT|[+-][0-9]{4})"
)
"""As in mail and HTTP: Wed, 01 May 2024 10:00:00 GMT."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parse_timestamp(value: object) -> str | None:
    """Return a time as ISO 8601 in UTC, to the second, such as "2024-05-01T12:00:00Z".

    Args:
        value: seconds, milli-, micro- or nanoseconds since 1970, as a number or in digits; a day or time without
            separators, such as 20240501; an ISO 8601 text, or one as in mail, in UTC where it doesn't name its zone.
            Anything else, and what can be read in two ways, is None.
    """
    is_time = isinstance(value, int | float | Decimal | str) and not isinstance(value, bool)
    return _parse(value) if is_time else None


@lru_cache(2**14, typed=True)  # ads of a day, or of a moment, share theirs
def _parse(value: float | Decimal | str) -> str | None:
    with suppress(ValueError, OverflowError):
        text = format(value, "f") if isinstance(value, float | Decimal) else str(value).strip()
        number = _NUMBER.fullmatch(text)
        time = _parse_number(number[1], fraction=number[2] or "") if number else _parse_words(text)
        if time is not None:
            return time.astimezone(UTC).isoformat()[:19] + "Z"
    return None


def _parse_number(digits: str, *, fraction: str) -> datetime | None:
    """Return the time if there is one reading only."""
    written = None if fraction.strip("0") else _written_out(digits)
    counted = _counted(digits.lstrip("0"))
    return (written or counted) if written is None or counted is None else None


def _counted(digits: str) -> datetime | None:
    """Return the time that a count since 1970 means, in whatever unit."""
    seconds = int(digits or 0) // _UNITS_PER_S.get(len(digits), 1)
    return datetime.fromtimestamp(seconds, UTC) if _FIRST_S <= seconds < _LAST_S else None


def _written_out(digits: str) -> datetime | None:
    """Return the time that digits without separators write out, None if they are no time."""
    form = _DIGITS.get(len(digits))
    if form is None or int(digits[:4]) not in _YEARS:
        return None
    with suppress(ValueError):
        return datetime.strptime(digits, form).replace(tzinfo=UTC)
    return None


def _parse_words(text: str) -> datetime | None:
    """Raises ValueError where a field is out of its range."""
    if match := _ISO.fullmatch(text):
        year, separator, month, day, *clock, zone = match.groups()
        if not separator and len(month + day) < 4:
            return None
        return _make_time(int(year), int(month), int(day), clock=clock, zone=zone)
    if match := _MAIL.fullmatch(text):
        day, name, year, *clock, zone = match.groups()
        return _make_time(int(year), _MONTHS.index(name) + 1, int(day), clock=clock, zone=zone)
    return None


def _make_time(year: int, month: int, day: int, *, clock: list[str | None], zone: str | None) -> datetime:
    hour, minute, second = (int(part or 0) for part in clock)
    return datetime(year, month, day, hour, minute, second, tzinfo=_parse_zone(zone))


def _parse_zone(zone: str | None) -> timezone:
    if zone is None or zone[0] not in "+-":
        return UTC
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if zone[0] == "-" else offset)
