"""The journal keeps what it was given, whatever happens to the process or the file."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.errors import StorageError
from ictc.storage.journal import Journal, decode_line, encode_line

IDS = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable())
RECORDS = st.lists(st.tuples(IDS, st.dictionaries(st.sampled_from("abc"), st.text(max_size=20).map(repr))), max_size=20)


def record(record_id: str, **data: Any) -> dict[str, Any]:
    return {"id": record_id, "status": "done", "input": "00000000000000ff", **data}


def write(directory: Path, *records: dict[str, Any]) -> None:
    with Journal(directory) as journal:
        for one in records:
            journal.append(one)


def only_segment(directory: Path) -> Path:
    (path,) = directory.glob("*.jsonl")
    return path


@given(records=RECORDS)
def test_what_was_appended_is_read_back_and_the_last_record_of_an_id_counts(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, dict[str, str]]]
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    with Journal(directory) as journal:
        for record_id, data in records:
            journal.append(record(record_id, data=data))
    with Journal(directory) as journal:
        assert {record_id: journal.get(record_id) for record_id in journal} == {
            record_id: record(record_id, data=data) for record_id, data in records
        }


@given(cut=st.integers(min_value=0, max_value=60))
def test_a_torn_tail_costs_the_torn_record_only(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("journal")
    write(directory, record("first"), record("second"), record("third"))
    segment = only_segment(directory)
    content = segment.read_bytes()
    lengths = [len(encode_line(record(name))) for name in ("first", "second", "third")]
    cut = min(cut, sum(lengths))
    segment.write_bytes(content[: len(content) - cut])
    intact = [
        name
        for name, end in zip(("first", "second", "third"), _ends(lengths), strict=True)
        if end <= sum(lengths) - cut
    ]

    with Journal(directory) as journal:
        assert list(journal) == intact
        journal.append(record("fourth"))
    with Journal(directory) as journal:
        assert list(journal) == [*intact, "fourth"]
        assert journal.num_damaged == 0


def _ends(lengths: list[int]) -> list[int]:
    return [sum(lengths[: number + 1]) for number in range(len(lengths))]


@given(position=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
def test_a_flipped_byte_never_yields_a_wrong_record(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    names = [f"image-{number}" for number in range(5)]
    write(directory, *(record(name, data={"value": name * 2}) for name in names))
    segment = only_segment(directory)
    content = bytearray(segment.read_bytes())
    content[position % len(content)] ^= flip
    segment.write_bytes(content)

    with Journal(directory) as journal:
        for name in journal:
            assert journal.get(name) == record(name, data={"value": name * 2})
        assert len(names) - len(journal) <= 2


def test_a_record_that_was_appended_survives_the_death_of_the_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sync_records=1000, sync_seconds=1000)
    journal.append(record("first"))
    with Journal(tmp_path, writer="other") as reader:  # nothing was synced or closed
        assert "first" in reader
    journal.close()


def test_segments_of_several_writers_are_united(tmp_path: Path) -> None:
    with Journal(tmp_path, writer="0") as left, Journal(tmp_path, writer="1") as right:
        left.append(record("a"))
        right.append(record("b"))
    with Journal(tmp_path, writer="2") as journal:
        assert set(journal) == {"a", "b"}


def test_another_writers_torn_tail_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, record("a"))
    segment = only_segment(tmp_path)
    torn = segment.read_bytes() + b"00000000 {"
    segment.write_bytes(torn)
    with Journal(tmp_path, writer="1") as journal:
        assert list(journal) == ["a"]
    assert segment.read_bytes() == torn


def test_a_journal_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0-000000.jsonl").write_bytes(encode_line({"journal": 99}))
    with pytest.raises(StorageError, match="format 99"):
        Journal(tmp_path)


def test_a_full_disk_is_a_clear_error_and_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.append(record("first"))
    real_write = os.write

    def full_after_some_bytes(descriptor: int, content: bytes) -> int:
        if len(content) > 5:
            return real_write(descriptor, content[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full_after_some_bytes)
    with pytest.raises(StorageError, match="disk is full"):
        journal.append(record("second", data={"text": "x" * 6}))
    monkeypatch.undo()
    assert "second" not in journal
    journal.append(record("third"))
    journal.close()
    with Journal(tmp_path) as reopened:
        assert list(reopened) == ["first", "third"]


def test_the_disk_is_synced_after_so_many_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with Journal(tmp_path, sync_records=3) as journal:
        journal.append(record("0"))
        monkeypatch.setattr(os, "fsync", synced.append)
        for number in range(1, 7):
            journal.append(record(str(number)))
    assert len(synced) == 3  # after the 3rd and 6th record, and on closing


def test_a_long_journal_is_split_into_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ictc.storage.journal.MAX_SEGMENT_BYTES", 500)
    with Journal(tmp_path) as journal:
        for number in range(50):
            journal.append(record(str(number)))
    assert len(list(tmp_path.glob("*.jsonl"))) > 2
    with Journal(tmp_path) as journal:
        assert [journal.get(str(number)) for number in range(50)] == [record(str(number)) for number in range(50)]


def test_a_line_without_its_end_is_no_record() -> None:
    assert decode_line(encode_line(record("a"))[:-1]) is None


def test_a_journal_has_more_segments_than_a_process_may_open(tmp_path: Path) -> None:
    for number in range(120):
        with Journal(tmp_path) as journal:
            journal.append(record(str(number)))
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Journal(tmp_path) as journal:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 80, hard))
        try:
            assert all(journal.get(one) == record(one) for _ in range(2) for one in journal)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def test_the_names_of_all_new_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    write(tmp_path / "run" / "state" / "caption", record("a"))
    folders = [tmp_path, tmp_path / "run", tmp_path / "run" / "state", tmp_path / "run" / "state" / "caption"]
    assert [path for path in synced if path.is_dir()] == folders
