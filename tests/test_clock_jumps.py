"""A clock that is set back or forward, between runs and during them, changes no result and makes nobody look dead."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from support.cli import start_ictc
from support.faulty_disk import Fault
from support.scripted_run import Reference, ScriptedRun

DAY_S = 86_400.0
CLOCKS = {
    "back": [-3 * DAY_S],
    "forward": [400 * DAY_S],
    "to 1970": [-50 * 365 * DAY_S],
    "to and fro": [0, -3 * DAY_S, 5 * DAY_S, -3600, 7],
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_runs_while_it_jumps(run: ScriptedRun, reference: Reference, clock: str) -> None:
    told = run.finish(clock=CLOCKS[clock]).stderr
    assert all(0 <= seconds < 60 for seconds in map(float, re.findall(r"ETA (\S+)s", told)))
    run.check(reference)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("forward", "back"), ("back", "forward"), ("forward", "to 1970"), ("to and fro", "to and fro")],
)
def test_a_run_is_resumed_at_once(run: ScriptedRun, reference: Reference, earlier: str, later: str) -> None:
    assert run.interrupt(fault=Fault("label journal: write record", nth=9), clock=CLOCKS[earlier])
    resumed = run.finish(clock=CLOCKS[later])
    assert "resuming after process" in resumed.stderr
    assert "Step 2a labels: 8/" in resumed.stderr
    run.check(reference)


@pytest.mark.parametrize("clock", ["back", "forward"])
def test_what_status_tells_of_a_killed_run(run: ScriptedRun, clock: str) -> None:
    assert run.interrupt(fault=Fault("label journal: write record", nth=9), clock=CLOCKS[clock])
    for now in CLOCKS.values():
        told = status(run, now)
        assert told["state"] == "dead"
        assert told["steps"][0]["done"] == len(list(run.ads.iterdir()))
        check_seconds(told)


def test_a_living_run_keeps_its_directory(run: ScriptedRun) -> None:
    with hanging_run(run) as process:
        for clock in CLOCKS.values():
            refused = run.run(clock=clock)
            assert refused.exit_code == 1
            assert f"is in use by process {process.pid} " in refused.stderr
            told = status(run, clock)
            assert told["state"] == "running"
            check_seconds(told)


def status(run: ScriptedRun, clock: list[float]) -> dict[str, Any]:
    """Return what `ictc status` tells when its clock is wrong."""
    told: dict[str, Any] = orjson.loads(run.server.run("status", run.path, "--json", root=run.path, clock=clock).stdout)
    return told


def check_seconds(told: dict[str, Any]) -> None:
    """Check that no duration is below zero, and that no estimate depends on the clock."""
    for step in told["steps"]:
        assert step["last_result_s"] is None or step["last_result_s"] >= 0
        assert step["eta_s"] is None or 0 <= step["eta_s"] < 3600
        assert step["images_per_second"] is None or step["images_per_second"] > 0


@contextmanager
def hanging_run(run: ScriptedRun) -> Iterator[subprocess.Popen[str]]:
    """A run that waits for one image until the block ends."""
    common = ("--ads_dir", run.ads, "--output_dir", run.path, "--engine", "scripted")
    with start_ictc("run", *common, "--engine_options", '{"hang_on": ["ad_000"]}') as process:
        try:
            while not any(run.path.glob("state/caption/*/*.jsonl")):
                assert process.poll() is None
            yield process
        finally:
            process.kill()
