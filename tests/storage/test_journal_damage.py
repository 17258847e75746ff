"""A journal in pieces: whatever happened to its files, no record is wrong, and what is whole is used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli import exported_bytes
from support.fork_server import ForkServer
from support.scripted_run import Reference, ScriptedRun, draw_ads, run_undisturbed

from ictc.errors import StorageError
from ictc.storage.journal import Journal, decode_line, encode_line

NAMES = [f"image-{number}" for number in range(6)]
Harm = Callable[[Path], object]


def record(record_id: str, value: int = 0) -> dict[str, Any]:
    return {"id": record_id, "input": "0" * 16, "status": "done", "data": {"value": value}}


def content(directory: Path) -> dict[str, dict[str, Any] | None]:
    """Return what a journal holds."""
    with Journal(directory) as journal:
        return {record_id: journal.get(record_id) for record_id in journal}


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A journal of two segments of three records each."""
    for names in (NAMES[:3], NAMES[3:]):
        with Journal(tmp_path) as journal:
            for name in names:
                journal.append(record(name))
    return tmp_path


APPEND = st.tuples(st.just("append"), st.sampled_from(NAMES), st.integers(0, 9))
OPERATIONS = st.lists(
    st.one_of(APPEND, APPEND, st.just(("sync",)), st.just(("reopen",)), st.tuples(st.just("crash"), st.floats(0, 1)))
)


@given(operations=OPERATIONS)
def test_crashes_cost_nothing_but_the_end_of_what_was_not_synced(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[Any, ...]]
) -> None:
    """A crash cuts the segment anywhere between its last sync and its end; all before stays, nothing else appears."""
    directory = tmp_path_factory.mktemp("journal")
    kept: list[dict[str, Any]] = []
    fresh: list[dict[str, Any]] = []  # not synced yet
    journal = Journal(directory)
    for operation, *arguments in operations:
        if operation == "append":
            fresh.append(record(*arguments))
            journal.append(fresh[-1])
        elif operation == "sync":
            journal.sync()
            kept, fresh = kept + fresh, []
        else:
            journal.close()
            kept += survivors(fresh, cut_tail(directory, fresh, *arguments)) if operation == "crash" else fresh
            fresh = []
            journal = Journal(directory)
            assert journal.num_damaged == 0
            assert {name: journal.get(name) for name in journal} == {one["id"]: one for one in kept}
    journal.close()
    assert content(directory) == {one["id"]: one for one in kept + fresh}


def cut_tail(directory: Path, fresh: list[dict[str, Any]], share: float) -> int:
    """Cut off a share of the records that were not synced, and return how many of their bytes stay."""
    num_fresh = sum(len(encode_line(one)) for one in fresh)
    lost = round(share * num_fresh)
    if lost:
        os.truncate(segments(directory)[-1], segments(directory)[-1].stat().st_size - lost)
    return num_fresh - lost


def survivors(fresh: list[dict[str, Any]], num_bytes: int) -> list[dict[str, Any]]:
    """Return the records that lie within the first `num_bytes` bytes."""
    ends = [sum(len(encode_line(one)) for one in fresh[: number + 1]) for number in range(len(fresh))]
    return [one for one, end in zip(fresh, ends, strict=True) if end <= num_bytes]


class TestSegments:
    def test_a_missing_one_costs_its_records(self, directory: Path) -> None:
        segments(directory)[0].unlink()
        assert list(content(directory)) == NAMES[3:]

    @given(share=st.floats(0, 1))
    def test_a_truncated_one_costs_its_end(self, tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
        directory = tmp_path_factory.mktemp("journal")
        with Journal(directory) as journal:
            for name in NAMES:
                journal.append(record(name))
        (segment,) = segments(directory)
        os.truncate(segment, round(share * segment.stat().st_size))
        found = content(directory)
        assert list(found) == NAMES[: len(found)]

    @pytest.mark.parametrize(
        "name",
        ["0-000000 (copy).jsonl", "0-000000.orig.jsonl", "0-9.jsonl", "1-000000.jsonl", "copy.jsonl", "0-.jsonl"],
    )
    def test_a_copy_adds_nothing_and_is_in_nobodys_way(self, directory: Path, name: str) -> None:
        before = content(directory)
        copy = Path(shutil.copy(segments(directory)[0], directory / name))
        copied = copy.read_bytes()
        assert content(directory) == before
        with Journal(directory) as journal:
            journal.append(record("new"))
        assert content(directory) == {**before, "new": record("new")}
        assert copy.read_bytes() == copied

    def test_what_a_file_system_fills_with_zeros_is_damage(self, directory: Path) -> None:
        first = segments(directory)[0]
        lines = first.read_bytes().splitlines(keepends=True)
        first.write_bytes(lines[0] + lines[1] + bytes(len(lines[2])) + lines[3])
        assert list(content(directory)) == [NAMES[0], *NAMES[3:]]

    def test_one_that_was_made_and_never_written_is_no_damage(self, directory: Path) -> None:
        (directory / "0-000002.jsonl").touch()
        assert list(content(directory)) == NAMES

    def test_one_of_a_newer_format_is_refused_before_anything_is_cut(self, directory: Path) -> None:
        newer = directory / "0-000002.jsonl"
        newer.write_bytes(encode_line({"journal": 2}) + encode_line({"image": "of another form"}) + b"torn")
        before = newer.read_bytes()
        with pytest.raises(StorageError, match="journal format 2, this ictc reads 1; use the newer ictc"):
            Journal(directory)
        assert newer.read_bytes() == before


@pytest.mark.parametrize(
    "line", [b"00000000 \n", b"\n", b" \n", b"00000000\n", encode_line(record("a"))[:-1] + b"\r\n"]
)
def test_a_line_without_a_whole_record_is_none(line: bytes) -> None:
    assert decode_line(line) is None


def test_a_journal_whose_next_segment_can_not_be_made_closes_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ictc.storage.journal.MAX_SEGMENT_BYTES", 150)
    with Journal(tmp_path) as journal:
        journal.append(record("first"))
        (tmp_path / "0-000001.jsonl").touch()  # in the way
        with pytest.raises(StorageError, match="0-000001"):
            journal.append(record("second"))
    assert content(tmp_path) == {"first": record("first")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScriptedRun, Reference]]:
    """A run that nothing interrupted."""
    root = tmp_path_factory.mktemp("finished")
    with ForkServer(tmp_path_factory.mktemp("server")) as server:
        run = ScriptedRun(server, draw_ads(root / "ads"), root / "out")
        yield run, run_undisturbed(run)


class TestRuns:
    """`ictc run` over a damaged journal of Step 2a."""

    @pytest.fixture
    def run(self, finished: tuple[ScriptedRun, Reference], tmp_path: Path) -> ScriptedRun:
        original, _ = finished
        shutil.copytree(original.path, tmp_path / "out", symlinks=True)
        return ScriptedRun(original.server, original.ads, tmp_path / "out")

    @pytest.mark.parametrize(
        "harm",
        [
            pytest.param(Path.unlink, id="missing"),
            pytest.param(lambda path: os.truncate(path, 0), id="empty"),
            pytest.param(lambda path: os.truncate(path, path.stat().st_size // 2), id="truncated"),
            pytest.param(lambda path: path.write_bytes(flip(path.read_bytes(), 500)), id="a bit flipped"),
            pytest.param(lambda path: path.write_bytes(flip(path.read_bytes(), 12)), id="a bit of the header flipped"),
            pytest.param(lambda path: path.write_bytes(bytes(path.stat().st_size)), id="zeros"),
            pytest.param(lambda path: shutil.copy(path, path.with_name("0-000000 (copy).jsonl")), id="copied"),
            pytest.param(lambda path: shutil.copy(path, path.with_name("1-000000.jsonl")), id="of another writer"),
            pytest.param(lambda path: path.rename(path.with_name("0-000007.jsonl")), id="renamed"),
        ],
    )
    def test_what_is_lost_is_made_again(
        self, run: ScriptedRun, finished: tuple[ScriptedRun, Reference], harm: Harm
    ) -> None:
        (segment,) = run.path.glob("state/label/*/*.jsonl")
        harm(segment)
        run.finish()
        run.finish()
        assert exported_bytes(run.path) == finished[1].exports

    def test_a_newer_format_is_refused_and_nothing_is_changed(
        self, run: ScriptedRun, finished: tuple[ScriptedRun, Reference]
    ) -> None:
        (segment,) = run.path.glob("state/label/*/*.jsonl")
        _, *records = segment.read_bytes().splitlines(keepends=True)
        newer = encode_line({"journal": 2}) + b"".join(records)
        segment.write_bytes(newer)
        refused = run.run()
        assert refused.exit_code == 1
        assert "journal format 2, this ictc reads 1; use the newer ictc" in refused.stderr
        assert segment.read_bytes() == newer
        assert exported_bytes(run.path) == finished[1].exports


def flip(content: bytes, position: int) -> bytes:
    """Return `content` with one bit changed."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
