"""The Slurm launcher: its job scripts run in the order and with the variables that Slurm would give them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, exported_bytes
from support.collections import draw_flat
from support.launching import LAUNCHERS, Recorder, Workplace, check_flags, make_workplace, write_program

CRITERION = "a 'quoted' \"criterion\" with $HOME and *;"
SCRIPTED = ("--engine", "scripted", "--criterion", CRITERION)
SBATCH = f"""#!{sys.executable}
# Runs a job at once, as Slurm would later: a copy of its script, once a task, unless it depends on a failed job.
import json, os, shutil, subprocess, sys
from pathlib import Path

folder = Path(__file__).parent
arguments = sys.argv[1:]
script = next(place for place, word in enumerate(arguments) if not word.startswith("-"))
flags = dict(word.lstrip("-").partition("=")[::2] for word in arguments[:script])
jobs = folder / "jobs.jsonl"
earlier = [json.loads(line) for line in jobs.read_text().splitlines()] if jobs.exists() else []
job = str(1001 + len(earlier))
needed = flags.get("dependency", "").removeprefix("afterok:")
allowed = all(row["ok"] for row in earlier if row["job"] == needed)
spool = folder / "spool" / job
spool.mkdir(parents=True)
shutil.copy(arguments[script], spool / "slurm_script")

def run(variables, task=""):
    output = flags["output"].replace("%A", job).replace("%j", job).replace("%a", task)
    if task in os.environ.get("LOST_TASKS", "none").split(","):
        return False
    with open(output, "a") as log:
        command = ["bash", spool / "slurm_script", *arguments[script + 1:]]
        environment = os.environ | {{"SLURM_JOB_ID": job}} | variables
        return subprocess.run(command, env=environment, stdout=log, stderr=log).returncode == 0

def tasks(spec):
    for part in spec.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))

if "array" in flags:
    chosen = list(tasks(flags["array"]))
    count = str(len(chosen))
    ok = all([run({{"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": count}}, task) for task in chosen])
else:
    ok = allowed and run({{}})
with jobs.open("a") as file:
    print(json.dumps({{"job": job, "flags": arguments[:script], "ran": allowed, "ok": ok}}), file=file)
print(f"{{job}};cluster")
"""


@dataclass
class Slurm:
    """Slurm's commands, and what was asked of them."""

    programs: Path

    @property
    def jobs(self) -> list[dict[str, object]]:
        return [orjson.loads(line) for line in (self.programs / "jobs.jsonl").read_bytes().splitlines()]

    @property
    def requeued(self) -> list[str]:
        path = self.programs / "requeued"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("a b"))


@pytest.fixture
def slurm(place: Workplace) -> Slurm:
    programs = place.folder / "slurm"
    programs.mkdir()
    write_program(programs / "sbatch", SBATCH)
    write_program(programs / "scontrol", f'#!/bin/sh\necho "$@" >>"{programs}/requeued"\n')
    place.environment["PATH"] = f"{programs}:{place.environment['PATH']}"
    return Slurm(programs)


def test_lost_tasks_are_submitted_again_and_the_merge_is_what_one_machine_gives(
    place: Workplace, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_flat(place.ads, 14)
    flags = (*SCRIPTED, "--", "--num_clusters", 4)
    first = place.launch("slurm_array.sh", *flags, NUM_SHARDS=2, LOST_TASKS="1", VLM_MODEL="")
    assert first.returncode == 0, first.stderr
    assert [(job["ran"], job["ok"]) for job in slurm.jobs] == [(True, False), (False, False)]
    again = place.launch("slurm_array.sh", *flags, NUM_SHARDS=2, ARRAY=1, VLM_MODEL="")
    assert "Submitted job 1003: the shards." in again.stderr
    logs = {path.name: path.read_text() for path in (place.out / "slurm_logs").iterdir()}
    assert set(logs) == {"shard_0.1001.log", "shard_1.1003.log", "merge.1004.log"}
    assert all("Ended with exit status 0." in log for log in logs.values()), logs
    whole = place.folder / "whole"
    Ictc(capsys).succeed(place.ads, whole, "--criterion", CRITERION, "--num_clusters", 4)
    assert exported_bytes(place.out / "merged") == exported_bytes(whole)


class TestSubmission:
    @pytest.fixture
    def recorder(self, place: Workplace) -> Recorder:
        return place.record_calls()

    def test_what_is_asked_of_slurm_and_of_ictc(self, place: Workplace, slurm: Slurm, recorder: Recorder) -> None:
        place.launch(
            "slurm_array.sh", "--seed", 7, "--", "--no_cluster", NUM_SHARDS=2, GPUS_PER_TASK="a100:2", ARRAY="0-1%1",
            SBATCH_FLAGS="--account=mine  --time=1:00:00",
        )  # fmt: skip
        common = ["--parsable", "--gres=gpu:a100:2", "--account=mine", "--time=1:00:00"]
        shards, merge = (job["flags"] for job in slurm.jobs)
        logs = place.out / "slurm_logs"
        assert shards == [*common, "--job-name=ictc", "--array=0-1%1", f"--output={logs}/shard_%a.%A.log"]
        own = ["--job-name=ictc_merge", "--dependency=afterok:1001", "--kill-on-invalid-dep=yes"]
        assert merge == [*common, *own, f"--output={logs}/merge.%j.log"]
        run = ["run", "--ads_dir", str(place.ads), "--output_dir", str(place.out), "--shard_from", "env"]
        model = ["--num_gpus", "2", "--vlm_model", "Qwen/Qwen3.5-9B"]
        out = place.out
        assert recorder.calls == [
            *[[*run, "--num_shards", "2", *model, "--seed", "7"]] * 2,
            ["merge", f"{out}/shard_0", f"{out}/shard_1", "--output_dir", f"{out}/merged", "--no_cluster"],
        ]
        for call in recorder.calls:
            check_flags(call)

    def test_all_shards_are_submitted_unless_some_are_named(
        self, place: Workplace, slurm: Slurm, recorder: Recorder
    ) -> None:
        place.launch("slurm_array.sh", NUM_SHARDS=3)
        assert "--array=0-2" in slurm.jobs[0]["flags"]
        assert len(recorder.calls) == 4

    def test_nothing_waits_for_an_array_that_slurm_refused(
        self, place: Workplace, slurm: Slurm, recorder: Recorder
    ) -> None:
        write_program(slurm.programs / "sbatch", "#!/bin/sh\necho 'sbatch: error: invalid account' >&2\nexit 1\n")
        refused = place.launch("slurm_array.sh", NUM_SHARDS=3)
        assert (refused.returncode, refused.stderr) == (1, "sbatch: error: invalid account\n")
        assert recorder.calls == []

    @pytest.mark.parametrize(
        ("number", "message"), [("", "NUM_SHARDS is not set, into how many"), ("0", "NUM_SHARDS=0 is no number of")]
    )
    def test_a_refusal_is_one_line(self, place: Workplace, number: str, message: str) -> None:
        refused = place.launch("slurm_array.sh", NUM_SHARDS=number)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"slurm_array.sh: error: {message}")
        assert refused.stderr.count("\n") == 1

    def test_a_machine_without_slurm_is_told(self, place: Workplace) -> None:
        place.keep_on_path("bash", "dirname", "env")
        refused = place.launch("slurm_array.sh", NUM_SHARDS=2)
        assert refused.stderr == "slurm_array.sh: error: found no sbatch; run this where Slurm jobs are submitted\n"


@dataclass
class Jobs:
    """Runs of `slurm_job.sh`, each in a process group of its own."""

    place: Workplace
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *command: object, **variables: str) -> subprocess.Popen[str]:
        job = subprocess.Popen(
            self.place.command("slurm_job.sh", LAUNCHERS.parent, *command),
            env=self.place.environment | {"SLURM_JOB_ID": "77"} | variables,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(job)
        return job

    def start_slow_run(self) -> subprocess.Popen[str]:
        """Start a run as an array task, and return it when it has finished some captions."""
        draw_flat(self.place.ads, 12)
        slow = ("--engine_options", '{"latency_s": 0.2, "window": 2}')
        shard = ("--num_shards", 1, "--shard_index", 0)
        folders = ("--ads_dir", self.place.ads, "--output_dir", self.place.out)
        task = {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3"}
        job = self.start("ictc", "run", *folders, *shard, *SCRIPTED, *slow, **task)
        end = time.monotonic() + 30
        while not any(path.stat().st_size for path in self.place.out.glob("shard_0/state/caption/*/*.jsonl")):
            assert time.monotonic() < end
            time.sleep(0.05)
        return job

    def end(self) -> None:
        for job in self.started:
            with suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.communicate()


class TestEndOfTime:
    """`slurm_job.sh` when Slurm sends its signals."""

    @pytest.fixture
    def jobs(self, place: Workplace) -> Iterator[Jobs]:
        jobs = Jobs(place)
        yield jobs
        jobs.end()

    def test_before_the_time_limit_the_run_stops_cleanly_and_goes_back_to_the_queue(
        self, jobs: Jobs, slurm: Slurm
    ) -> None:
        job = jobs.start_slow_run()
        job.send_signal(signal.SIGUSR1)
        _, messages = job.communicate(timeout=30)
        assert job.returncode == 143, messages
        assert "stopped by SIGTERM; everything that had finished is kept" in messages
        assert slurm.requeued == ["requeue 77_3"]

    def test_a_canceled_job_stays_canceled(self, jobs: Jobs, slurm: Slurm) -> None:
        job = jobs.start_slow_run()
        os.killpg(job.pid, signal.SIGTERM)
        _, messages = job.communicate(timeout=30)
        assert job.returncode == 143
        assert "Ended with exit status 143." in messages
        assert slurm.requeued == []

    @pytest.mark.parametrize(("status", "requeued"), [(143, ["requeue 77"]), (0, []), (1, [])])
    def test_only_a_job_that_was_stopped_goes_back(
        self, jobs: Jobs, slurm: Slurm, status: int, requeued: list[str]
    ) -> None:
        job = jobs.start("bash", "-c", f"trap 'exit {status}' TERM; echo ready >&2; while :; do sleep 0.1; done")
        assert job.stderr is not None
        job.stderr.readline()
        job.send_signal(signal.SIGUSR1)
        job.communicate(timeout=30)
        assert job.returncode == status
        assert slurm.requeued == requeued
