"""Who is suspected of an engine's death, and who is convicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ictc.stages.suspects import Suspects


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "in_flight.log"


def die_with(path: Path, *image_ids: str) -> None:
    """Let a process die with these images in flight."""
    suspects = Suspects(path)
    for image_id in image_ids:
        suspects.start(image_id)


def test_what_an_engine_had_is_suspect_in_groups_and_nothing_else(path: Path) -> None:
    suspects = Suspects(path)
    for image_id in "abcde":
        suspects.start(image_id)
    suspects.end("b")
    suspects.blame([["a"], ["c", "d"]], alone=False)
    assert suspects.groups == [["a"], ["c", "d"]]
    assert suspects.in_flight == ["e"]  # another engine has it
    suspects.end("c")
    assert suspects.groups == [["a"], ["d"]]
    assert not any(suspects.verdict(image_id) for image_id in "abcde")
    suspects.close()


def test_two_deaths_convict_what_was_alone_at_the_last(path: Path) -> None:
    suspects = Suspects(path)
    for image_id in "abc":
        suspects.start(image_id)
    suspects.blame([["a", "b"], ["c"]], alone=False)
    suspects.blame([["a"], ["b"]], alone=False)
    assert suspects.verdict("a") is None  # at two deaths, but not alone
    suspects.start("b")
    suspects.blame([["b"]], alone=True)
    assert suspects.verdict("a") is None
    assert "died 2 times with this image, the last time with it alone" in (suspects.verdict("b") or "")
    suspects.close()


def test_one_lonely_death_convicts_nobody(path: Path) -> None:
    suspects = Suspects(path)
    suspects.start("a")
    suspects.blame([["a"]], alone=True)
    assert suspects.verdict("a") is None
    suspects.close()


def test_the_groups_survive_the_process_and_what_was_in_flight_of_them_is_halved(path: Path) -> None:
    first = Suspects(path)
    for image_id in "abcdefg":
        first.start(image_id)
    first.blame([["a", "b", "c", "d"], ["e", "f", "g"]], alone=False)
    for image_id in "abc":
        first.start(image_id)
    # the process dies here, without closing
    second = Suspects(path)
    assert second.groups == [["a", "b"], ["c"], ["d"], ["e", "f", "g"]]
    second.close()
    first.close()


def test_one_death_of_the_process_makes_nobody_suspect_and_a_second_one_halves(path: Path) -> None:
    die_with(path, "a", "b", "c")
    die_with(path, "b", "c", "x")
    suspects = Suspects(path)
    assert suspects.groups == [["b"], ["c"]]
    assert "a" not in suspects
    assert "x" not in suspects
    suspects.close()


def test_a_killed_process_convicts_nobody_by_itself(path: Path) -> None:
    for _ in range(9):
        die_with(path, "a", "b")
    last = Suspects(path)
    assert last.verdict("a") is None
    assert "a" in last
    last.close()


def test_a_process_that_dies_with_the_same_image_alone_again_and_again_convicts_it(path: Path) -> None:
    for _ in range(4):
        die_with(path, "a")
    last = Suspects(path)
    assert "program died 3 times" in (last.verdict("a") or "")
    last.close()


@pytest.mark.parametrize("culprit", range(0, 100, 11))
def test_deaths_of_the_process_converge_on_the_culprit(path: Path, culprit: int) -> None:
    image_ids = [f"i{number}" for number in range(100)]
    left = dict.fromkeys(image_ids)
    for _ in range(12):  # after one to see it, one to suspect it, six to halve and three of it alone
        suspects = Suspects(path)
        convicted = [image_id for image_id in left if suspects.verdict(image_id)]
        if convicted:
            break
        groups = [list(group) for group in suspects.groups] or [list(left)]
        for group in groups:
            for image_id in group:
                suspects.start(image_id)
            if f"i{culprit}" in group:
                break  # and the process with it
            for image_id in group:
                suspects.end(image_id)
                left.pop(image_id)
    assert convicted == [f"i{culprit}"]


def test_files_of_earlier_versions_are_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(
        b'{"deaths":{"a":1,"b":1,"c":1,"d":1},"process_deaths":{"b":2},"suspects":["a","b","c","d"]}\n'
        b'+"a"\n-"a"\n+"b"\n'
    )
    suspects = Suspects(path)
    assert suspects.groups == [["b"], ["c", "d"]]
    assert "program died 3 times" in (suspects.verdict("b") or "")
    suspects.close()


def test_an_orderly_end_leaves_nothing_behind(path: Path) -> None:
    suspects = Suspects(path)
    suspects.start("a")
    suspects.end("a")
    suspects.start("b")
    suspects.release()
    suspects.close()
    assert not path.exists()


def test_an_orderly_end_acquits_no_suspect(path: Path) -> None:
    suspects = Suspects(path)
    suspects.start("a")
    suspects.start("b")
    suspects.blame([["a"], ["b"]], alone=False)
    suspects.start("a")
    suspects.release()
    suspects.close()
    later = Suspects(path)
    assert later.groups == [["a"], ["b"]]
    assert later.verdict("a") is None
    later.close()


def test_a_torn_line_is_left_out(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'+"a"\n+"b"\n-"b"\n+"c')
    Suspects(path).close()
    die_with(path, "a", "b", "c")
    suspects = Suspects(path)
    assert ["a" in suspects, "b" in suspects, "c" in suspects] == [True, False, False]
    suspects.close()


def test_an_image_that_finished_just_before_the_process_died_is_no_suspect_for_ever(path: Path) -> None:
    die_with(path, "a")
    die_with(path, "a")  # its record was written, and then the process died
    suspects = Suspects(path)
    assert "a" in suspects
    suspects.acquit()
    assert "a" not in suspects
    suspects.close()
    assert not path.exists()
