"""What is read of an observation's metadata, whatever it holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.collections import draw_observation

from ictc.dataset.catalog import metadata
from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.dataset.catalog.metadata import Metadata, load_metadata, parse_metadata

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)
FIELDS = ("observation_id", "timestamp", "uuid", "platform", "ad_format", "observed_on_device_at")


def test_timestamp_falls_back_to_the_next_that_is_usable() -> None:
    observation = {"observed_on_device_at": "garbage", "submitted_from_device_at": 1714564800000}
    assert parse_metadata({"timestamp": None, "observation": observation}).timestamp == "2024-05-01T12:00:00Z"
    assert parse_metadata({"timestamp": 1700000000, "observation": observation}).timestamp == "2023-11-14T22:13:20Z"


@given(
    st.dictionaries(st.sampled_from([*FIELDS, "observation"]), JSON | st.dictionaries(st.sampled_from(FIELDS), JSON))
)
def test_any_json_gives_clean_fields(data: dict[str, Any]) -> None:
    parsed = parse_metadata(data)
    for text in (parsed.observation_id, parsed.platform, parsed.ad_format):
        assert text is None or (text == text.strip() != "" and text.encode())
    assert parsed.timestamp is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", parsed.timestamp)


def test_a_time_that_is_not_understood_is_kept_as_it_was_given(tmp_path: Path) -> None:
    draw_observation(tmp_path, "a", timestamp=1714564800)
    draw_observation(tmp_path, "b", timestamp="01/05/2024")
    known, unread = iter_images(list_collection(tmp_path))
    assert (known.timestamp, known.metadata) == ("2024-05-01T12:00:00Z", None)
    assert (unread.timestamp, unread.metadata) == (None, {"timestamp": "01/05/2024"})


@pytest.mark.parametrize(
    ("number", "text"),
    [("7", "7"), ("0", "0"), ("-12.0", "-12"), (str(2**53 + 1), str(2**53 + 1)), ("1" * 40, "1" * 40)],
)
def test_an_integer_is_the_text_of_its_digits(tmp_path: Path, number: str, text: str) -> None:
    kinds = f'"uuid": "u", "platform": {number}, "ad_format": {number}'
    (tmp_path / "data.json").write_text(f'{{"observation_id": {number}, "observation": {{{kinds}}}}}')
    assert load_metadata(tmp_path) == Metadata(observation_id=text, platform=text, ad_format=text)


@pytest.mark.parametrize("value", ["true", "1.5", "1e20", "[1]", "null"])
def test_what_is_neither_text_nor_integer_is_no_id(tmp_path: Path, value: str) -> None:
    (tmp_path / "data.json").write_text(f'{{"observation_id": {value}, "observation": {{"uuid": 12}}}}')
    assert load_metadata(tmp_path) == Metadata(observation_id="12")


def test_byte_order_mark_and_nan_are_tolerated(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_bytes(b'\xef\xbb\xbf{"observation_id": "x", "score": NaN}')
    assert load_metadata(tmp_path) == Metadata(observation_id="x")


def test_absurdly_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.json").write_text('{"observation_id": "x"}')
    assert load_metadata(tmp_path) == Metadata(observation_id="x")
    monkeypatch.setattr(metadata, "MAX_METADATA_BYTES", 10)
    assert load_metadata(tmp_path) == Metadata()
