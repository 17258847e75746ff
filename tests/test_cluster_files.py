"""What starts a Ray cluster: the launcher for Slurm, with a real cluster, and the files of the documentation."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cli import Ictc, exported_bytes
from support.collections import draw_flat
from support.launching import LAUNCHERS, Workplace, check_flags, make_workplace, write_program

pytest.importorskip("ray")

PAGE = LAUNCHERS.parent / "docs" / "ray.md"
AWS, KUBERNETES = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
SCRIPTED = ("--engine", "scripted", "--num_clusters", 3)
SBATCH = f"""#!{sys.executable}
# Runs the job here and now, as its first node, and keeps what was asked for.
import os, subprocess, sys
from pathlib import Path

arguments = sys.argv[1:]
script = next(place for place, word in enumerate(arguments) if not word.startswith("-"))
Path(__file__).with_name("asked").write_text("\\n".join(arguments[:script]))
flags = dict(word.lstrip("-").partition("=")[::2] for word in arguments[:script])
job = {{"SLURM_JOB_ID": str(os.getpid()), "SLURM_CPUS_PER_TASK": "2", "SLURMD_NODENAME": "n1"}}
with open(flags["output"].replace("%j", "77"), "w") as log:
    environment = os.environ | job | {{"SLURM_NNODES": flags["nodes"]}}
    ended = subprocess.run(["bash", *arguments[script:]], env=environment, stdout=log, stderr=log)
print("77;cluster")
sys.exit(ended.returncode)
"""
SRUN = """#!/usr/bin/env bash
# A step on the other nodes, which is this machine, too.
printf '%s\\n' "$*" >"$0.asked"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A workplace whose programs come first."""
    place = make_workplace(tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    place.environment["PATH"] = f"{programs}:{place.environment['PATH']}"
    return place


def write_slurm(place: Workplace) -> Path:
    """Write Slurm's programs and return their folder."""
    programs = place.folder / "programs"
    write_program(programs / "sbatch", SBATCH)
    write_program(programs / "srun", SRUN)
    return programs


def test_a_slurm_job_over_two_nodes_gives_what_one_machine_gives(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_flat(place.ads, 12)
    programs = write_slurm(place)
    del place.environment["TMPDIR"]  # the paths of Ray's sockets would be too long
    launched = subprocess.run(
        place.command("slurm_ray.sh", *SCRIPTED),
        env=place.environment | {"NUM_NODES": "2", "VLM_MODEL": "", "GPUS_PER_TASK": "a100:4"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    log = (place.out / "slurm_logs" / "ray.77.log").read_text()
    assert launched.returncode == 0, log
    assert launched.stderr.startswith("Submitted job 77: a run over 2 nodes.")
    assert "Ray has 2 nodes at " in log
    assert {"--nodes=2", "--ntasks-per-node=1", "--gres=gpu:a100:4"} <= set((programs / "asked").read_text().split())
    step = (programs / "srun.asked").read_text()
    assert step.startswith(
        "--nodes=1 --ntasks=1 --exclude=n1 --cpus-per-task=2 --kill-on-bad-exit=1 ray start --address="
    )
    whole = place.folder / "whole"
    Ictc(capsys).succeed(place.ads, whole)
    assert exported_bytes(place.out) == exported_bytes(whole)


@pytest.mark.parametrize(
    ("number", "message"),
    [("", "NUM_NODES is not set, how many nodes the job takes"), ("two", "NUM_NODES=two is no number of nodes")],
)
def test_a_refusal_is_one_line(place: Workplace, number: str, message: str) -> None:
    refused = place.launch("slurm_ray.sh", NUM_NODES=number)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"slurm_ray.sh: error: {message}")
    assert refused.stderr.count("\n") == 1


class TestJob:
    """`slurm_ray_cluster.sh` where Ray is a process that waits, or one that fails."""

    @pytest.fixture
    def job(self, place: Workplace) -> Workplace:
        programs = write_slurm(place).parent / "programs"
        write_program(programs / "python", "#!/bin/sh\n[ $# -lt 5 ] || exit 0\necho 127.0.0.1\n")
        write_program(programs / "ray", "#!/bin/sh\nexec sleep 60\n")
        place.environment |= {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "2"}
        place.environment["SLURMD_NODENAME"] = "n1"
        return place

    def start(self, job: Workplace, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            job.command("slurm_ray_cluster.sh", *command),
            env=job.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def test_sigterm_ends_the_run_and_then_ray(self, job: Workplace) -> None:
        program = "trap 'echo stopping; exit 143' TERM; echo \"$*\"; while :; do sleep 0.1; done"
        process = self.start(job, "bash", "-c", program, "run")
        assert process.stdout is not None
        assert process.stdout.readline() == "--executor ray --ray_address 127.0.0.1:20007\n"
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=30)
        assert (process.returncode, stdout) == (143, "stopping\n")
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)

    def test_a_node_that_does_not_start_ends_the_job(self, job: Workplace) -> None:
        write_program(job.folder / "programs" / "python", "#!/bin/sh\n[ $# -lt 5 ] || exec sleep 60\necho 127.0.0.1\n")
        write_program(job.folder / "programs" / "ray", "#!/bin/sh\necho 'no Ray today' >&2\nexit 1\n")
        process = self.start(job, "touch", "never")
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 1
        assert stderr.splitlines() == [
            "no Ray today",
            "slurm_ray_cluster.sh: error: Ray did not get 1 of 2 nodes; the lines above may say why",
        ]


def test_the_file_for_the_cluster_launcher_is_one_that_ray_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(AWS))
    for node_type in config["available_node_types"].values():
        assert {"ImageId", "IamInstanceProfile"} <= node_type["node_config"].keys()
        node_type.setdefault("resources", {})  # Ray asks AWS for these first
    validate_config(config)
    assert config["head_setup_commands"] == config["worker_setup_commands"]
    assert "ray start --head" in config["head_start_ray_commands"][-1]


def test_the_job_for_kubernetes_runs_a_command_that_exists() -> None:
    job = yaml.safe_load(KUBERNETES)
    cluster = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    check_flags(shlex.split(job["spec"]["entrypoint"])[1:])
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod: dict[str, Any] = group["template"]["spec"]
        assert "/data" in {mount["mountPath"] for one in pod["containers"] for mount in one["volumeMounts"]}
        assert all(one["resources"]["limits"].keys() >= {"cpu", "memory"} for one in pod["containers"])


def test_the_commands_for_the_cluster_exist() -> None:
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", "")
    commands = re.findall(r"^ray exec .*'ictc (.*)'$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        check_flags(shlex.split(command))
