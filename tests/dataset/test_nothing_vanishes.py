"""Whatever lies in a source becomes an image, a record with its problem, or a count that Step 0 tells.

`ICTC_SOURCES=10000` sets how many sources are drawn, of all kinds together.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sources import KINDS, Kind, Laid

from ictc.dataset.catalog.collection import Collection
from ictc.dataset.catalog.discover import iter_images, list_collection
from ictc.dataset.catalog.table import TableCollection
from ictc.dataset.catalog.tally import Tally
from ictc.dataset.fetching.data_uris import decode_data_uri, is_data_uri
from ictc.dataset.fetching.files import copy_bytes
from ictc.dataset.fetching.places import ImagePlaces
from ictc.errors import InputError
from ictc.records import ImageRecord

NUM_SOURCES = int(os.environ.get("ICTC_SOURCES", "200"))
SOURCES = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), kind.descriptions))


@pytest.mark.timeout(300 + NUM_SOURCES)
@given(source=SOURCES, frames=st.sampled_from(["first", "all"]), cuts=st.lists(st.integers(0, 12), max_size=2))
@settings(max_examples=NUM_SOURCES)
def test_all_that_lies_in_a_source_is_accounted_for(source: tuple[Kind, Any], frames: Any, cuts: list[int]) -> None:
    kind, description = source
    with tempfile.TemporaryDirectory() as folder:
        laid = kind.lay(description, Path(folder))
        try:
            collection = list_collection(**laid.arguments)
        except InputError as error:
            check_refusal(str(error), laid)
        else:
            check_law(collection, laid, frames)
            check_slices(collection, frames, sorted(cuts))


def check_refusal(said: str, laid: Laid) -> None:
    """A source without an image says what it holds instead."""
    number = re.search(r"only ([\d,]+) other files", said)
    assert (int(number[1]) if number else 0) == laid.num_things, said


def check_law(collection: Collection, laid: Laid, frames: Any) -> None:
    left_out = Tally()
    records = list(iter_images(collection, frames=frames, left_out=left_out))
    left_out.update(collection.left_out)
    assert count_told(left_out) == left_out.num_left_out
    images = [record for record in records if record.path not in laid.places]
    used = {record.platform for record in records} - {None}
    assert len(images) + len(used) + left_out.num_left_out == laid.num_things, (records, left_out.describe())
    assert len({record.image_id for record in records}) == len(records)
    assert {read(collection, record) for record in images} - {None} <= laid.pictures


def count_told(left_out: Tally) -> int:
    """Return the sum of what a person reads."""
    told = left_out.describe().partition("taken: ")[0]
    return sum(map(int, re.findall(r"(?:left out: |\), )(\d+) (?=[a-z])", told)))


def check_slices(collection: Collection, frames: Any, cuts: Sequence[int]) -> None:
    """An image is the same in whatever part of the collection."""
    whole = list(iter_images(collection, frames=frames))
    bounds = [0, *cuts, len(collection)]
    slices = [iter_images(collection, start=start, end=end, frames=frames) for start, end in pairwise(bounds)]
    parts = [record for part in slices for record in part]
    assert [(record.path, record.offset) for record in parts] == [(record.path, record.offset) for record in whole]
    if collection.layout != "tar":
        assert parts == whole


def read(collection: Collection, record: ImageRecord) -> bytes | None:
    """Return the bytes that a record leads to, None if it says itself that there are none."""
    if record.problem is not None:
        return None
    addresses = collection.addresses if isinstance(collection, TableCollection) else {}
    place = ImagePlaces(collection.location, addresses=addresses).find(record)
    if is_data_uri(place.url):
        return decode_data_uri(place.url)
    if place.is_file:
        path = Path(place.url)
        return path.read_bytes() if path.exists() or not path.is_symlink() else None  # a link to nowhere
    with tempfile.NamedTemporaryFile() as file:
        copy_bytes(place, Path(file.name))
        return file.read()
