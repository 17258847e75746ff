"""The cache of downloaded images: what it gives back is what was put in, whatever else it does."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ictc.dataset.fetching.cache import SHARE_UNSEEN, ContentCache, this_machine

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


def test_what_is_in_use_outlives_its_removal(tmp_path: Path) -> None:
    cache, other = ContentCache(tmp_path, 250), ContentCache(tmp_path, 250)
    put(cache, "held", b"h" * 100)
    held = cache.find("held")
    assert held is not None
    for name in "abc":
        put(other, name, name.encode() * 100)
    assert other.find("held") is None
    assert (held.path.read_bytes(), held.sha256) == (b"h" * 100, sha256(b"h" * 100).hexdigest())
    held.close()
    held.close()
    assert not list((tmp_path / "held").glob("*/*"))
    assert size_of(tmp_path) <= 250


def test_what_several_processes_add_stays_within_the_bound(tmp_path: Path) -> None:
    caches = [ContentCache(tmp_path, 10_000) for _ in range(4)]
    for number in range(200):
        put(caches[number % 4], str(number), number.to_bytes(2, "big") * 100)
        assert size_of(tmp_path) <= 10_000 * (1 + len(caches) * SHARE_UNSEEN)


def test_the_index_holds_only_what_is_there(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, 1000)
    for number in range(40):
        put(cache, str(number), number.to_bytes(2, "big") * 50)
        put(cache, f"again {number}", number.to_bytes(2, "big") * 50)
    there = {path.name for path in (tmp_path / "objects").glob("*/*")}
    links = [path.readlink().name for path in (tmp_path / "index").glob("*/*")]
    assert set(links) == there
    assert len(links) <= 2 * len(there) < 40


def test_a_content_that_is_no_good_is_gone_under_every_address(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, 1000)
    put(cache, "other", b"good")
    for address in ("first", "second", "mended"):
        put(cache, address, b"bad")
    held = cache.find("first")
    assert held is not None
    put(cache, "mended", b"good")
    for address in ("first", "mended", "never added"):
        cache.forget(address, content=sha256(b"bad").hexdigest())
    assert [get(cache, address) for address in ("first", "second", "mended", "other")] == [None, None, b"good", b"good"]
    assert not cache.knows("first")
    assert held.path.read_bytes() == b"bad", "somebody is using it"


def test_file_systems_without_links_or_locks_get_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems; a lock of the kernel is asked for nowhere."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    cache = ContentCache(tmp_path, 500)
    put(cache, "held", b"h" * 100)
    held = cache.find("held")
    assert held is not None
    for number in range(20):
        put(cache, str(number), bytes([number]) * 100)
        assert get(cache, str(number)) == bytes([number]) * 100
        assert size_of(tmp_path) <= 500
    assert held.path.read_bytes() == b"h" * 100
    put(cache, "19", b"another")
    assert get(cache, "19") == b"another"
    assert not any(path.is_symlink() for path in (tmp_path / "index").glob("*/*"))


def test_what_a_killed_process_was_using_is_removed(tmp_path: Path) -> None:
    ContentCache(tmp_path, 1000)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, other_container = this_machine(), f"{socket.gethostname()}-1234"
    alive = {f"{here}-{os.getpid()}-0", "another-host-1-0", f"{other_container}-{ended.pid}-0"}
    for owner in (f"{here}-{ended.pid}-0", *alive, "strange"):
        (tmp_path / "held" / owner).mkdir(parents=True)
        (tmp_path / "held" / owner / "content").write_bytes(b"x")
    os.utime(tmp_path / "held" / "strange", (0, 0))
    ContentCache(tmp_path, 1000)
    assert {path.name for path in (tmp_path / "held").iterdir()} == alive


def test_a_process_that_others_took_for_dead_goes_on(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, 1000)
    put(cache, "address", b"whole")
    (held,) = (tmp_path / "held").iterdir()
    os.utime(held, (0, 0))  # as of a machine that was suspended for days
    ContentCache(tmp_path, 1000)
    assert not held.exists()
    assert get(cache, "address") == b"whole"
    put(cache, "another", b"new")


def test_a_damaged_content_is_none(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, 1000)
    put(cache, "address", b"whole")
    (path,) = (tmp_path / "objects").glob("*/*")
    path.write_bytes(b"who")
    assert get(cache, "address") is None
    put(cache, "address", b"whole")
    assert get(cache, "address") == b"whole"
