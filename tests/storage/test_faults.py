"""A disk that refuses: the run ends with one clear line, nothing is corrupted, and the same command goes on later."""

from __future__ import annotations

from random import Random

import orjson
import pytest
from support.faulty_disk import Fault, When
from support.fork_server import Finished
from support.scripted_run import Reference, ScriptedRun

REMEDIES = {
    "ENOSPC": "the disk is full; free some space",
    "EDQUOT": "the disk quota is used up; free some space",
    "EROFS": "the file system is read-only",
    "EIO": "the disk reports an error; check it",
}
REFUSALS: dict[str, list[tuple[str, When]]] = {
    "create": [("ENOSPC", "before"), ("EROFS", "before")],
    "write": [("ENOSPC", "midway"), ("EDQUOT", "before"), ("EIO", "midway")],
    "write header": [("ENOSPC", "midway"), ("EIO", "before")],
    "write record": [("ENOSPC", "midway"), ("EDQUOT", "before"), ("EIO", "midway")],
    "sync": [("EIO", "before"), ("ENOSPC", "before")],
    "replace": [("EROFS", "before"), ("EIO", "after")],
}
"""How each operation fails; EIO after a replacement is a server that did it and whose answer was lost."""

WHOLE_FILE = ("create", "write", "sync", "replace")
FILES = {
    "lock": ("create", "write", "sync"),
    "manifest.jsonl": WHOLE_FILE,
    "manifest.key.json": WHOLE_FILE,
    "run.json": WHOLE_FILE,
    "caption current.json": WHOLE_FILE,
    "caption in_flight.log": ("create", "write"),
    "caption journal": ("create", "write header", "write record", "sync"),
    "step1_captions.json": WHOLE_FILE,
    "label folder": ("create",),
    "label in_flight.log": ("write",),
    "label journal": ("create", "write record", "sync"),
    "synthesize definitions.json": WHOLE_FILE,
    "assign journal": ("write header", "write record"),
    "results.parquet": WHOLE_FILE,
}
SHORT_WRITES = ("caption journal: write record", "label journal: write header", "assign in_flight.log: write")
NUM_LASTING = 12


@pytest.mark.parametrize("file", FILES)
def test_a_refused_write_of(run: ScriptedRun, reference: Reference, file: str) -> None:
    for operation in FILES[file]:
        for effect, when in REFUSALS[operation]:
            check_refusal(run.run(fault=Fault(f"{file}: {operation}", effect, when)), effect)
    run.check(reference)


@pytest.mark.parametrize("seed", range(NUM_LASTING))
def test_a_disk_that_refuses_everything_from_some_point_on(run: ScriptedRun, reference: Reference, seed: int) -> None:
    random = Random(seed)
    points = reference.points[: reference.points.index("results.parquet: replace")]
    place, effect = random.randrange(len(points)), random.choice(sorted(REMEDIES))
    fault = Fault(points[place], effect, nth=points[: place + 1].count(points[place]), is_lasting=True)
    finished = run.run(fault=fault)
    if "folder: sync" not in fault.point or finished.exit_code:
        check_refusal(finished, effect)
    run.check(reference)


@pytest.mark.parametrize("point", [*SHORT_WRITES, "manifest.jsonl: write", "results.parquet: write"])
def test_a_write_that_takes_half_of_the_bytes_is_continued(run: ScriptedRun, reference: Reference, point: str) -> None:
    run.finish(fault=Fault(point, "short", "midway"))
    run.check(reference)


@pytest.mark.parametrize("operation", ["create", "write", "replace"])
@pytest.mark.parametrize("effect", REMEDIES)
def test_no_run_fails_for_the_file_that_tells_its_progress(
    run: ScriptedRun, reference: Reference, operation: str, effect: str
) -> None:
    run.finish(fault=Fault(f"progress.json: {operation}", effect))
    run.check(reference)


def test_no_run_fails_for_a_lock_that_it_can_not_give_back(run: ScriptedRun, reference: Reference) -> None:
    run.finish(fault=Fault("lock: replace", "EIO"))
    run.check(reference)


@pytest.mark.parametrize("point", ["caption folder: sync", "run folder: sync"])
def test_a_file_system_that_can_not_sync_folders_will_do(run: ScriptedRun, reference: Reference, point: str) -> None:
    run.finish(fault=Fault(point, "EINVAL"))
    run.check(reference)


def test_a_finished_run_whose_end_can_not_be_noted_has_failed(run: ScriptedRun, reference: Reference) -> None:
    check_refusal(run.run(fault=Fault("run.json: replace", "ENOSPC", nth=2)), "ENOSPC")
    assert orjson.loads((run.path / "run.json").read_bytes())["status"] == "running"
    run.check(reference)


def check_refusal(finished: Finished, effect: str) -> None:
    """Check that a run has failed with one line that names a file and says what to do."""
    assert finished.exit_code == 1
    assert "Traceback" not in finished.stderr
    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("ictc: error: ")]
    assert line.startswith(("ictc: error: cannot write /", "ictc: error: cannot replace /"))
    assert REMEDIES[effect] in line
