"""Engines side by side: each is judged by itself, and whatever one of them does, all images get their answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.side_by_side import Report, Script, Texts, run_side_by_side

from ictc.errors import EngineDeadError, EngineLoadError
from ictc.stages import supervisor
from ictc.stages.outcome import Status
from ictc.stages.suspects import Suspects

SOUND = (Script(),)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RELOAD_PAUSE_S", 0.001)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a new folder each time."""
    return iter(lambda: tmp_path_factory.mktemp("run"), None)


def check_all_answered(report: Report, num_images: int, *, quarantined: frozenset[str] = frozenset()) -> None:
    assert report.ids(Status.REJECTED) == quarantined
    assert len(report.ids(Status.DONE)) == num_images - len(quarantined)
    assert report.left == ""
    assert len(report.times) == num_images


def test_one_that_dies_is_loaded_anew_and_the_others_keep_their_model(tmp_path: Path) -> None:
    report = run_side_by_side(tmp_path, Texts(100), [SOUND, (Script(dies_after=9), Script()), SOUND])
    check_all_answered(report, 100)
    assert report.loads == {0: 1, 1: 2, 2: 1}
    died, back = report.notes
    assert died.startswith("engine 2 of 3 died (it died of itself) with ")
    assert died.endswith(" in flight; restarting it; 2 at work, 67% of the rate")
    assert back == "engine 2 of 3 is loaded anew; 3 at work, 100% of the rate"


def test_one_that_hangs_is_noticed_while_the_others_answer(tmp_path: Path) -> None:
    frozen = (Script(freezes_after=9), Script(latency_s=0.005))
    report = run_side_by_side(tmp_path, Texts(1000), [(Script(latency_s=0.005),)] * 3 + [frozen], hang_timeout_s=0.2)
    check_all_answered(report, 1000)
    assert report.loads == {0: 1, 1: 1, 2: 1, 3: 2}
    died, back = report.notes
    assert died.startswith("engine 4 of 4 died (it has given no result for 0.2 s) with 4 images in flight")
    assert back.startswith("engine 4 of 4 is loaded anew")
    assert report.times[-1] - report.times[0] > 0.3  # it was noticed on the way, not when all was done


def test_one_that_hangs_holds_no_more_than_its_share_of_a_limit(tmp_path: Path) -> None:
    frozen = (Script(freezes_after=0), Script())
    report = run_side_by_side(tmp_path, Texts(200), [frozen, SOUND], hang_timeout_s=2.0, window=4)
    check_all_answered(report, 200)
    assert report.notes[0].startswith("engine 1 of 2 died (it has given no result for 2 s) with 2 images in flight")
    assert report.times[-3] - report.times[0] < 1.8  # all but those two, while it hung


def test_one_that_hangs_even_when_it_is_told_to_stop_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CANCEL_TIMEOUT_S", 0.05)
    stubborn = (Script(freezes_after=9, is_stubborn=True), *SOUND)
    report = run_side_by_side(tmp_path, Texts(300), [SOUND, stubborn], hang_timeout_s=0.1)
    check_all_answered(report, 300)
    assert report.times[-1] - report.times[0] < 30


def test_of_two_deaths_at_once_each_has_its_own_suspects(tmp_path: Path) -> None:
    scripts = [(Script(die_on=frozenset({"i0", "i1"})),)] * 2
    report = run_side_by_side(tmp_path, Texts(40), scripts)
    check_all_answered(report, 40, quarantined=frozenset({"i0", "i1"}))
    reason = "quarantined: the engine died "
    assert all(report.outcomes[one].data["reason"].startswith(reason) for one in ("i0", "i1"))


def test_one_that_does_not_come_back_is_left_out_and_the_others_ask_what_it_had(tmp_path: Path) -> None:
    report = run_side_by_side(tmp_path, Texts(200), [SOUND, (Script(dies_after=9), Script(starts=False)), SOUND])
    check_all_answered(report, 200)
    assert report.loads == {0: 1, 1: 1 + supervisor.MAX_FAILURES, 2: 1}
    assert report.notes[-1] == (
        "engine 2 of 3 is left out (no memory; it failed 5 times in a row); what it had goes to the others; "
        "2 at work, 67% of the rate"
    )


def test_one_that_dies_of_everything_is_left_out_and_convicts_nobody(tmp_path: Path) -> None:
    report = run_side_by_side(tmp_path, Texts(300), [SOUND, SOUND, (Script(dies_after=9), Script(dies_after=0))])
    check_all_answered(report, 300)
    assert any("engine 3 of 3 is left out" in note for note in report.notes)


def test_when_none_is_left_the_run_ends_with_the_cause(tmp_path: Path) -> None:
    gone = (Script(dies_after=9), Script(starts=False))
    with pytest.raises(EngineLoadError, match="no memory; it failed 5 times in a row, and no other engine is left"):
        run_side_by_side(tmp_path, Texts(200), [gone, gone])
    resumed = run_side_by_side(tmp_path, Texts(200), [SOUND])
    assert len(resumed.ids(Status.DONE)) == 200


def test_one_that_answers_nothing_at_all_convicts_nobody(tmp_path: Path) -> None:
    with pytest.raises(EngineDeadError, match="it failed 5 times in a row"):
        run_side_by_side(tmp_path, Texts(30), [(Script(dies_after=0),)])
    report = run_side_by_side(tmp_path, Texts(30), [SOUND])
    check_all_answered(report, 30)


def test_a_retry_that_takes_long_to_build_keeps_nobody_waiting(tmp_path: Path) -> None:
    stage = Texts(60, retried=frozenset({"i3"}), rebuild_s=1.0)
    begun = time.monotonic()
    report = run_side_by_side(tmp_path, stage, [SOUND], hang_timeout_s=0.2)
    check_all_answered(report, 60)
    assert report.notes == []  # the engine had nothing to do meanwhile: it was not dead
    assert report.times[-2] - begun < 0.8
    assert report.times[-1] - begun > 1.0


IDS = [f"i{number}" for number in range(120)]


@given(
    poison=st.sets(st.sampled_from(IDS), max_size=2),
    freezing=st.sets(st.sampled_from(IDS), max_size=1),
    window=st.integers(1, 9),
    latency_s=st.sampled_from([0.0, 0.001]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_kills_engines_is_quarantined_and_nothing_else(
    fresh: Iterator[Path], poison: set[str], freezing: set[str], window: int, latency_s: float
) -> None:
    script = Script(window, latency_s, die_on=frozenset(poison), freeze_on=frozenset(freezing - poison))
    report = run_side_by_side(next(fresh), Texts(120), [(script,)] * 4, hang_timeout_s=0.04)
    check_all_answered(report, 120, quarantined=frozenset(poison | freezing))


FATES = st.sampled_from(["sound", "dies", "freezes", "starts late"])


@given(
    fates=st.lists(st.tuples(FATES, st.integers(0, 15)), min_size=4, max_size=4),
    is_lost=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_engines_that_fail_of_themselves_cost_no_image(
    fresh: Iterator[Path], fates: list[tuple[str, int]], is_lost: bool
) -> None:
    scripts = [fate_script(fate, after) for fate, after in fates]
    if is_lost:
        scripts = [(Script(dies_after=fates[0][1]), Script(starts=False)), *[SOUND] * 3]
    report = run_side_by_side(next(fresh), Texts(200), scripts, hang_timeout_s=0.04)
    check_all_answered(report, 200)


def fate_script(fate: str, after: int) -> tuple[Script, ...]:
    return {
        "sound": SOUND,
        "dies": (Script(dies_after=after), Script()),
        "freezes": (Script(freezes_after=after), Script()),
        "starts late": (Script(dies_after=after), *[Script(starts=False)] * 3, Script()),
    }[fate]


@pytest.mark.clock
def test_a_hung_engine_among_four_costs_its_own_share_of_the_rate(tmp_path: Path) -> None:
    sound = (Script(window=8, latency_s=0.1),)
    frozen = (Script(window=8, latency_s=0.1, freezes_after=24), *sound)
    undisturbed = run_side_by_side(tmp_path / "undisturbed", Texts(480), [sound] * 4)
    report = run_side_by_side(tmp_path / "hung", Texts(480), [sound] * 3 + [frozen], hang_timeout_s=0.8)
    check_all_answered(report, 480)
    took, lost_s = report.times[-1] - report.times[0], 0.8 / 4
    assert took < undisturbed.times[-1] - undisturbed.times[0] + lost_s + 0.4


@pytest.mark.parametrize("window", [1, 4])
def test_four_culprits_in_a_row_at_the_very_beginning_are_not_taken_for_the_engines_fault(
    tmp_path: Path, window: int
) -> None:
    culprits = frozenset({"i0", "i1", "i2", "i3"})
    report = run_side_by_side(tmp_path, Texts(20), [(Script(window, die_on=culprits),)])
    check_all_answered(report, 20, quarantined=culprits)


@pytest.mark.clock
@pytest.mark.parametrize("num_engines", [1, 4])
def test_kills_of_the_process_with_a_hundred_images_in_flight_cost_the_rest_little(
    tmp_path: Path, num_engines: int
) -> None:
    seconds = []
    for num_kills in range(3):
        directory = tmp_path / str(num_kills)
        for _ in range(num_kills):
            suspects = Suspects(directory / "in_flight.log")
            for image_id in IDS[:100]:
                suspects.start(image_id)  # and then the process is killed
        engines = [(Script(window=100 // num_engines, latency_s=0.4),)] * num_engines
        begun = time.monotonic()
        check_all_answered(run_side_by_side(directory, Texts(300), engines), 300)
        seconds.append(time.monotonic() - begun)
    assert max(seconds[1:]) <= 1.5 * seconds[0]
