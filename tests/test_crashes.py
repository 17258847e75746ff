"""`ictc run` killed at every point of its writes and at random instants: resumed, it ends as if nothing had happened.

`ICTC_KILLS=3000` sets how often the random tests kill, in all; each test names its seed, which repeats its choices.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.faulty_disk import ANY, Fault
from support.fork_server import ForkServer
from support.scripted_run import Reference, ScriptedRun, run_undisturbed

from ictc.steps.base import MapStep
from ictc.steps.exports import REJECTED_FILE
from ictc.steps.synthesize import LEVELS_FILE
from ictc.steps.table import STEPS

KILLS_PER_RUN = 3
"""The fourth death of a process with the same image alone in flight would quarantine the image, as it should."""

NUM_KILLS = int(os.environ.get("ICTC_KILLS", "60"))
STAGES = tuple(step.name for step in STEPS)
MAP_STAGES = tuple(step.name for step in STEPS if isinstance(step, MapStep))
RESULTS = (*(file.name for step in STEPS for file in step.files if file.name != LEVELS_FILE), REJECTED_FILE)
WHOLE_FILES = (
    *("manifest.jsonl", "manifest.key.json", "manifest.stamps", "synthesize definitions.json"),
    *(f"{stage} current.json" for stage in STAGES),
    *("config.yaml", "prompts.json", "run.json", *RESULTS),
)
WRITES = {
    "run folder": ("create", "sync"),
    "logs folder": ("create",),
    "state folder": ("create", "sync"),
    **{f"{stage} folder": ("create", "sync") for stage in STAGES},
    "lock": ("create", "write", "sync", "delete", "replace"),
    "progress.json": ("create", "write", "replace"),
    "categorized_images": ("create",),
    **dict.fromkeys(WHOLE_FILES, ("create", "write", "sync", "replace")),
}
"""What happens to each file and folder that is written while nothing is in flight."""

JOURNAL_WRITES = {
    **{f"{stage} journal": ("create", "write header", "write record", "sync") for stage in MAP_STAGES},
    **{f"{stage} in_flight.log": ("create", "write", "delete") for stage in MAP_STAGES},
}
ANSWER_WRITES = [f"synthesize journal: {operation}" for operation in ("create", "write header", "write record", "sync")]
"""What happens to the answers of Step 2b, which are kept until its result is."""

JOURNAL_POINTS = [f"{file}: {operation}" for file, operations in JOURNAL_WRITES.items() for operation in operations]


ALL_STEPS = ("--evidence",)
"""What a run is told so that it has every step there is."""


@pytest.fixture(scope="module")
def reference(fork_server: ForkServer, drawn_ads: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What a run of all steps gives that nothing disturbs."""
    out = tmp_path_factory.mktemp("reference") / "out"
    return run_undisturbed(ScriptedRun(fork_server, drawn_ads, out, quickly=False, flags=ALL_STEPS))


@pytest.fixture
def run(fork_server: ForkServer, drawn_ads: Path, tmp_path: Path) -> ScriptedRun:
    """A run of all steps that has not begun, to be disturbed."""
    return ScriptedRun(fork_server, drawn_ads, tmp_path / "out", flags=ALL_STEPS)


def test_every_write_of_a_run_is_listed(reference: Reference) -> None:
    writes = {**WRITES, **JOURNAL_WRITES}
    listed = {f"{file}: {operation}" for file, operations in writes.items() for operation in operations}
    assert set(reference.points) == listed | set(ANSWER_WRITES)


@pytest.mark.parametrize("file", WRITES)
def test_a_run_killed_at_every_write_of(run: ScriptedRun, reference: Reference, file: str) -> None:
    for operation in WRITES[file]:
        for fault in kills_at(f"{file}: {operation}"):
            assert run.interrupt(fault=fault)
    run.check(reference)


@pytest.mark.parametrize("point", JOURNAL_POINTS)
def test_a_run_killed_with_images_in_flight_at(run: ScriptedRun, reference: Reference, point: str) -> None:
    faults = kills_at(point)
    kills = sum(run.interrupt(fault=fault) for fault in faults)
    assert kills == (1 if point.endswith("delete") else len(faults))  # a finished step does not delete it again
    run.check(reference)


@pytest.mark.parametrize("point", ANSWER_WRITES)
def test_a_run_killed_while_an_answer_is_kept_at(run: ScriptedRun, reference: Reference, point: str) -> None:
    assert sum(run.interrupt(fault=fault) for fault in kills_at(point))  # what is kept is not asked and kept again
    run.check(reference)


@pytest.mark.parametrize("seed", range(NUM_KILLS // KILLS_PER_RUN))
def test_a_run_killed_at_random_instants(run: ScriptedRun, reference: Reference, seed: int) -> None:
    random, run = Random(seed), replace(run, quickly=False)
    for _ in range(KILLS_PER_RUN):
        run.interrupt(**random_kill(random, reference))
    run.check(reference)


CHANGES = {
    "clusters": ("--num_clusters", 4),
    "criterion": ("--criterion", "Emotional Tone"),
    "images": ("--max_images", 15),
    "seed": ("--seed", 7),
}


@pytest.fixture(scope="module", params=CHANGES)
def changed(
    request: pytest.FixtureRequest, fork_server: ForkServer, drawn_ads: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run directory, and finished again after a change of settings."""
    run = ScriptedRun(fork_server, drawn_ads, tmp_path_factory.mktemp("changed") / "out")
    run.finish()
    run.finish(*CHANGES[request.param])
    return run.path


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_on_its_way_back_to_earlier_settings(
    run: ScriptedRun, reference: Reference, changed: Path, stage: str
) -> None:
    shutil.copytree(changed, run.path, symlinks=True)
    run.interrupt(fault=Fault(f"{stage} current.json: replace", when="after"))
    run.check(reference)


@pytest.mark.parametrize("seed", range(NUM_KILLS // (4 * KILLS_PER_RUN)))
def test_a_run_killed_while_its_settings_change(run: ScriptedRun, reference: Reference, seed: int) -> None:
    random, run = Random(seed), replace(run, quickly=False, asks_again=frozenset({"evidence"}))
    run.finish()
    for change in random.sample(sorted(CHANGES), 2):
        run.interrupt(*CHANGES[change], **random_kill(random, reference))
    run.interrupt(**random_kill(random, reference))
    run.check(reference)


def kills_at(point: str) -> list[Fault]:
    """Return the kills before, amid and after the write at a point."""
    midway = [Fault(point, when="midway")] if "write" in point else []
    return [Fault(point), *midway, Fault(point, when="after")]


def random_kill(random: Random, reference: Reference) -> dict[str, Any]:
    """Return a kill within the next half of a run: at a random time or at a random write."""
    if random.random() < 0.5:
        return {"kill_after_s": random.uniform(0, reference.seconds / 2)}
    nth = random.randint(1, len(reference.points) // 2)
    return {"fault": Fault(ANY, when=random.choice(["before", "midway", "after"]), nth=nth)}
