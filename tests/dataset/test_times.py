"""Times in metadata: read where there is one reading, unknown where there are two or none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.dataset.catalog.times import parse_timestamp

TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2029, 12, 31)).map(lambda time: time.replace(tzinfo=UTC))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    "value",
    [
        1714564800,
        1714564800.9,
        1714564800123,
        1714564800123456,
        1714564800123456789,
        1.714564800123e12,
        "1714564800",
        " 1714564800123 ",
        "1714564800.0",
        "2024-05-01T12:00:00Z",
        "2024-05-01 12:00:00",
        "2024-05-01 12:00:00 UTC",
        "2024-05-01 12:00",
        "2024-05-01T14:00:00.250+02:00",
        "2024-05-01T14:00:00.123456789 +0200",
        "2024/05/01 12:00:00",
        "2024:05:01 12:00:00",
        "20240501T120000Z",
        "20240501120000",
        20240501120000,
        "202405011200",
        "Wed, 01 May 2024 12:00:00 GMT",
        "Wed, 01 May 2024 05:00:00 -0700",
    ],
)
def test_a_time_in_any_spelling(value: object) -> None:
    assert parse_timestamp(value) == "2024-05-01T12:00:00Z"


@pytest.mark.parametrize("value", ["20240501", 20240501, 20240501.0, "2024-05-01", "2024.5.1", "2024/5/1"])
def test_a_day_without_a_time_begins_at_midnight(value: object) -> None:
    assert parse_timestamp(value) == "2024-05-01T00:00:00Z"


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -5, "", "soon", "nan", "inf", float("nan"), float("inf"), 1e300, 10**400, [], {}],
)
def test_garbage_is_no_time(value: object) -> None:
    assert parse_timestamp(value) is None


def test_a_number_too_long_to_print_is_no_time() -> None:
    assert parse_timestamp(10**5000) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("01/05/2024 10:00", "the day first, or the month"),
        ("25/12/2024", "as its neighbors have the day or the month first, so has it"),
        ("05-01-24", "two digits of a year"),
        ("2024", "a year is no day"),
        ("202405", "a month is no day"),
        ("240501", "two digits of a year, or a number"),
        (45413, "days of a spreadsheet, or seconds"),
        (45413.4375, "days of a spreadsheet, or seconds"),
        (1_000, "any small number"),
        (2024050112, "an hour of 2024, or seconds of 2034"),
        ("2024-13-01", "no such month"),
        ("20241301", "no such month"),
        ("2024-05-01-05:00", "a zone, or a time"),
        ("2024-05-01 10:00:00 IST", "India, Israel or Ireland"),
        ("1_714_564_800", "no number as data holds them"),
        ("1.71456E+12", "digits are lost"),
        ("2024-05-01T25:00:00", "no such hour"),
    ],
)
def test_what_can_be_read_in_two_ways_or_none_is_unknown(value: object, why: str) -> None:
    assert parse_timestamp(value) is None, why


@given(TIMES, ZONES)
def test_every_form_gives_the_same_second(time: datetime, zone: timezone) -> None:
    local, seconds = time.astimezone(zone), int(time.timestamp())
    microseconds = seconds * 10**6 + time.microsecond
    forms = [microseconds, microseconds // 1000, microseconds * 1000, str(microseconds), seconds]
    forms += [local.isoformat(), str(local), format_datetime(local), format(time, "%Y%m%d%H%M%S")]
    expected = format(time.replace(microsecond=0), "%Y-%m-%dT%H:%M:%SZ")
    assert {parse_timestamp(form) for form in forms} == {expected}


@given(st.integers(-(10**20), 10**20) | st.text(max_size=20) | st.floats())
def test_no_time_is_made_up(value: float | str) -> None:
    """A number gives a time within our century, as every other unit and form would lie far off."""
    time = parse_timestamp(value)
    assert time is None or isinstance(value, str) or "1900" <= time < "2100"
