"""Who is suspected of an engine's death, and who is convicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ictc.stages.suspects import Suspects


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "in_flight.log"


def test_everything_in_flight_at_a_death_is_suspect_and_nothing_else(path: Path) -> None:
    suspects = Suspects(path)
    for image_id in ("a", "b", "c"):
        suspects.start(image_id)
    suspects.end("b")
    assert suspects.blame() == ["a", "c"]
    assert ["a" in suspects, "b" in suspects, "c" in suspects] == [True, False, True]
    assert suspects.verdict("a") is None
    suspects.close()


def test_two_deaths_convict(path: Path) -> None:
    suspects = Suspects(path)
    suspects.start("a")
    suspects.start("b")
    suspects.blame()
    suspects.start("a")
    suspects.end("a")  # it was innocent
    suspects.start("b")
    suspects.blame()
    assert suspects.verdict("a") is None
    assert "died 2 times" in (suspects.verdict("b") or "")
    suspects.close()


def test_suspicion_survives_the_process(path: Path) -> None:
    first = Suspects(path)
    first.start("a")
    first.start("b")
    first.blame()
    first.start("a")
    # the process dies here, without closing
    second = Suspects(path)
    assert "a" in second
    assert "b" in second
    second.close()
    first.close()


def test_a_killed_process_convicts_nobody_by_itself(path: Path) -> None:
    for _ in range(3):
        suspects = Suspects(path)
        suspects.start("a")
        suspects.start("b")
        del suspects
    last = Suspects(path)
    assert last.verdict("a") is None
    assert "a" in last
    last.close()


def test_a_process_that_dies_with_the_same_image_alone_again_and_again_convicts_it(path: Path) -> None:
    for _ in range(4):
        Suspects(path).start("a")
    last = Suspects(path)
    assert "program died 3 times" in (last.verdict("a") or "")
    last.close()


def test_an_orderly_end_leaves_nothing_behind(path: Path) -> None:
    suspects = Suspects(path)
    suspects.start("a")
    suspects.end("a")
    suspects.start("b")
    suspects.release()
    suspects.close()
    assert not path.exists()


def test_a_torn_line_is_left_out(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'+"a"\n+"b"\n-"b"\n+"c')
    suspects = Suspects(path)
    assert ["a" in suspects, "b" in suspects, "c" in suspects] == [True, False, False]
    suspects.close()


def test_an_image_that_finished_just_before_the_process_died_is_no_suspect_for_ever(path: Path) -> None:
    Suspects(path).start("a")  # its record was written, and then the process died
    suspects = Suspects(path)
    suspects.acquit()
    assert "a" not in suspects
    suspects.close()
    assert not path.exists()
