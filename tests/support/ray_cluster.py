"""Ray clusters of several nodes on this machine, and runs on them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil
from support.cli import start_ictc

from ictc.storage.journal import decode_line

NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
"""What a node says that it has; the GPU is made up."""

REPLY = "reply:"


class Nodes:
    """A cluster that lives in a process of its own, which knows when it has ended; use as `with TwoNodes() as cluster`.

    Attributes:
        kind: what that process is told to serve.
        address: for `--ray_address`.
    """

    kind: ClassVar[str]

    def __enter__(self) -> Self:
        command = [sys.executable, "-W", "ignore", "-m", "support.ray_cluster", self.kind]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], *sys.path])}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.address = self._receive()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=60)

    def _ask(self) -> str:
        """Have the process do the one thing that it can, and return what it says."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(REPLY):
                return line.removeprefix(REPLY).strip()
        raise AssertionError("the cluster did not start")


class TwoNodes(Nodes):
    """Two nodes with caches of their own."""

    kind = "two"

    def replace_node(self) -> None:
        """Kill the node that is not the head, with all that runs there, and add another."""
        assert self._ask() == "replaced"


class GrowingNodes(Nodes):
    """A head without a GPU, a node with one, and Ray's autoscaler, which adds another such node when it is wanted."""

    kind = "growing"

    def count_gpus(self) -> tuple[int, int]:
        """Return how many GPUs the cluster has, and how many of them are in use."""
        total, used = map(int, self._ask().split())
        return total, used


def serve_two() -> None:
    """Run two nodes until stdin ends; a line replaces the second."""
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


def serve_growing() -> None:
    """Run a cluster with Ray's autoscaler until stdin ends; a line asks for its GPUs."""
    from ray._private.services import get_node_ip_address
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
    from ray.cluster_utils import Cluster

    os.environ |= {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    port = find_free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        json.dump(growing_config(f"{get_node_ip_address()}:{port}"), config)
        config.flush()
        head = {**NODE, "num_cpus": 1, "num_gpus": 0, "gcs_server_port": port, "autoscaling_config": config.name}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        state = cluster.global_state
        while not state.cluster_resources().get("GPU"):
            time.sleep(0.1)
        print(REPLY, cluster.address, flush=True)
        for _ in sys.stdin:
            total, free = (
                resources.get("GPU", 0) for resources in (state.cluster_resources(), state.available_resources())
            )
            print(REPLY, int(total), int(total - free), flush=True)
        nodes = psutil.Process().children(recursive=True)  # those that the autoscaler started outlive it
        cluster.shutdown()
        for node in nodes:
            with suppress(psutil.NoSuchProcess):
                node.kill()


def growing_config(gcs_address: str) -> dict[str, Any]:
    """Return what Ray's autoscaler reads: nodes are processes of this machine."""
    worker = {"CPU": 1, "GPU": 1, "object_store_memory": NODE["object_store_memory"]}
    provider = dict.fromkeys(("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check"), True)
    lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "growing",
        "max_workers": 2,
        "provider": {"type": "fake_multinode", "gcs_address": gcs_address, **provider},
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "gpu": {"resources": worker, "node_config": {}, "min_workers": 1, "max_workers": 2},
        },
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{f"{name}_commands": [] for name in lists},
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        "file_mounts_sync_continuously": False,
    }


def find_free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def start_on(cluster: Nodes, *arguments: object) -> subprocess.Popen[str]:
    """Start the command line on a cluster."""
    return start_ictc(*arguments, "--executor", "ray", "--ray_address", cluster.address)


def finish(process: subprocess.Popen[str], exit_code: int = 0) -> str:
    """Wait for the end of a command; return what it said on stderr."""
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == exit_code, stdout + stderr
    return stderr


def run_on(cluster: Nodes, *arguments: object, exit_code: int = 0) -> str:
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
    {"two": serve_two, "growing": serve_growing}[sys.argv[1]]()
