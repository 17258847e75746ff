"""The cache of downloaded images: what it gives back is what was put in, whatever else it does."""

from __future__ import annotations

import tempfile
from hashlib import sha256
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ictc.dataset.fetching.cache import ContentCache

ADDRESSES = st.sampled_from([f"https://example.org/{number}" for number in range(5)])
CONTENTS = st.integers(0, 4).map(lambda number: bytes([number]) * (100 * number + 1))
MAX_BYTES = 500


def put(cache: ContentCache, address: str, content: bytes) -> None:
    with cache.draft() as draft:
        draft.file.write(content)
        cache.add(address, draft).close()


def get(cache: ContentCache, address: str) -> bytes | None:
    held = cache.find(address)
    if held is None:
        return None
    with held:
        return held.path.read_bytes()


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "objects").glob("*/*"))


@given(st.lists(st.tuples(ADDRESSES, CONTENTS), max_size=25), st.sets(st.integers(0, 24)))
@settings(max_examples=60, deadline=None)
def test_an_address_gives_its_last_content_or_nothing(puts: list[tuple[str, bytes]], restarts: set[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, last = Path(name), dict[str, bytes]()
        cache = ContentCache(folder, MAX_BYTES)
        for number, (address, content) in enumerate(puts):
            if number in restarts:
                cache = ContentCache(folder, MAX_BYTES)
            put(cache, address, content)
            last[address] = content
            assert all(get(cache, known) in {last[known], None} for known in last)
            assert size_of(folder) <= MAX_BYTES
        for path in (folder / "objects").glob("*/*"):
            assert sha256(path.read_bytes()).hexdigest() == path.name
        assert not list((folder / "drafts").iterdir())


def test_what_is_in_use_stays_and_the_rest_goes_least_recently_used_first(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, 250)
    put(cache, "held", b"h" * 100)
    put(cache, "old", b"o" * 100)
    other_process = ContentCache(tmp_path, 250)
    held = other_process.find("held")
    assert held is not None
    put(cache, "new", b"n" * 100)
    assert (get(cache, "old"), get(cache, "new")) == (None, b"n" * 100)
    assert held.path.read_bytes() == b"h" * 100
    held.close()
    put(cache, "newer", b"r" * 100)
    assert (get(cache, "held"), get(cache, "new")) == (None, b"n" * 100)


def test_a_damaged_content_is_none(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, 1000)
    put(cache, "address", b"whole")
    (path,) = (tmp_path / "objects").glob("*/*")
    path.write_bytes(b"who")
    assert get(cache, "address") is None
    put(cache, "address", b"whole")
    assert get(cache, "address") == b"whole"
