"""What is read of an observation's metadata, whatever it holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.dataset.catalog import metadata
from ictc.dataset.catalog.metadata import Metadata, load_metadata, parse_metadata, parse_timestamp

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)
FIELDS = ("observation_id", "timestamp", "uuid", "platform", "ad_format", "observed_on_device_at")


@pytest.mark.parametrize(
    "value",
    [
        1714564800,
        1714564800.9,
        1714564800123,
        "1714564800",
        " 1714564800123 ",
        "2024-05-01T12:00:00Z",
        "2024-05-01 12:00:00",
        "2024-05-01T14:00:00.250+02:00",
    ],
)
def test_timestamp_in_any_spelling(value: object) -> None:
    assert parse_timestamp(value) == "2024-05-01T12:00:00Z"


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -5, "", "soon", "nan", "inf", float("nan"), float("inf"), 1e300, 10**400, [], {}, "2024-13-01"],
)
def test_garbage_is_no_timestamp(value: object) -> None:
    assert parse_timestamp(value) is None


def test_timestamp_falls_back_to_the_next_that_is_usable() -> None:
    observation = {"observed_on_device_at": "garbage", "submitted_from_device_at": 1714564800000}
    assert parse_metadata({"timestamp": None, "observation": observation}).timestamp == "2024-05-01T12:00:00Z"
    assert parse_metadata({"timestamp": 1, "observation": observation}).timestamp == "1970-01-01T00:00:01Z"


@given(
    st.dictionaries(st.sampled_from([*FIELDS, "observation"]), JSON | st.dictionaries(st.sampled_from(FIELDS), JSON))
)
def test_any_json_gives_clean_fields(data: dict[str, Any]) -> None:
    parsed = parse_metadata(data)
    for text in (parsed.observation_id, parsed.platform, parsed.ad_format):
        assert text is None or (text == text.strip() != "" and text.encode())
    assert parsed.timestamp is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", parsed.timestamp)


def test_byte_order_mark_and_nan_are_tolerated(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_bytes(b'\xef\xbb\xbf{"observation_id": "x", "score": NaN}')
    assert load_metadata(tmp_path) == Metadata(observation_id="x")


def test_absurdly_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.json").write_text('{"observation_id": "x"}')
    assert load_metadata(tmp_path) == Metadata(observation_id="x")
    monkeypatch.setattr(metadata, "MAX_METADATA_BYTES", 10)
    assert load_metadata(tmp_path) == Metadata()
