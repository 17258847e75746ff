"""What beats goes on beating, whatever one beat meets."""

from __future__ import annotations

import threading

import pytest

from ictc.storage.heartbeat import heartbeat


@pytest.mark.parametrize("error", [OSError("the file server is away"), ValueError("a mistake of ours")])
def test_a_beat_that_fails_is_called_again_and_stops_no_other(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failed, others = [0], [0]
    enough = threading.Event()

    def fail() -> None:
        failed[0] += 1
        raise error

    def beat() -> None:
        others[0] += 1
        if others[0] == 3:
            enough.set()

    with heartbeat([fail, beat], interval_s=0.01):
        assert enough.wait(10)
    assert failed[0] >= others[0] >= 3
    assert str(error) in caplog.text


def test_nothing_beats_after_the_end() -> None:
    beats = [0]

    def beat() -> None:
        beats[0] += 1

    with heartbeat([beat], interval_s=0.005):
        pass
    seen = beats[0]
    threading.Event().wait(0.05)
    assert beats[0] == seen
