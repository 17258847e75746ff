"""A Ray cluster of two nodes on this machine, and runs on it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Self

from support.cli import start_ictc

from ictc.storage.journal import decode_line

NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
"""What a node says that it has; the GPU is made up."""

REPLY = "reply:"


class TwoNodes:
    """Use as `with TwoNodes() as cluster`; the cluster lives in a process of its own, which knows when it has ended.

    Attributes:
        address: for `--ray_address`.
    """

    def __enter__(self) -> Self:
        command = [sys.executable, "-W", "ignore", "-m", "support.ray_cluster"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], *sys.path])}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.address = self._receive()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=60)

    def replace_node(self) -> None:
        """Kill the node that is not the head, with all that runs there, and add another."""
        assert self._process.stdin is not None
        self._process.stdin.write("replace\n")
        self._process.stdin.flush()
        assert self._receive() == "replaced"

    def _receive(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(REPLY):
                return line.removeprefix(REPLY).strip()
        raise AssertionError("the cluster did not start")


def serve() -> None:
    """Run the cluster until stdin ends; each node has caches of its own."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as caches:
        nodes = ({**NODE, "env_vars": {"XDG_CACHE_HOME": f"{caches}/{number}"}} for number in count())
        cluster = Cluster(initialize_head=True, head_node_args=next(nodes))
        node = cluster.add_node(**next(nodes))
        print(REPLY, cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(node, allow_graceful=False)
            node = cluster.add_node(**next(nodes))
            print(REPLY, "replaced", flush=True)
        cluster.shutdown()


def start_on(cluster: TwoNodes, *arguments: object) -> subprocess.Popen[str]:
    """Start the command line on a cluster."""
    return start_ictc(*arguments, "--executor", "ray", "--ray_address", cluster.address)


def finish(process: subprocess.Popen[str], exit_code: int = 0) -> str:
    """Wait for the end of a command; return what it said on stderr."""
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == exit_code, stdout + stderr
    return stderr


def run_on(cluster: TwoNodes, *arguments: object, exit_code: int = 0) -> str:
    """Run the command line on a cluster to its end; return what it said on stderr."""
    return finish(start_on(cluster, *arguments), exit_code)


def recorded_ids(out: Path, stage: str) -> list[str]:
    """Return the id of each record in the journals of a stage, those that are there twice twice."""
    lines = [line for path in out.glob(f"state/{stage}/*/*.jsonl") for line in path.read_bytes().splitlines(True)]
    records = [decode_line(line) for line in lines]
    return [record["id"] for record in records if record and "id" in record]


def wait_for_records(process: subprocess.Popen[str], out: Path, count: int) -> None:
    """Wait until a run has recorded so many captions."""
    while len(recorded_ids(out, "caption")) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


if __name__ == "__main__":
    serve()
