"""`ictc run --executor ray` on a cluster that grows while a step runs: engines come to the nodes that join."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.cli import Ictc, exported_bytes
from support.collections import draw_flat
from support.ray_cluster import GrowingNodes, finish

pytest.importorskip("ray")

pytestmark = pytest.mark.timeout(300)

CAPTIONS = ("--steps", "1", "--dedupe", "off")
ON_A_GPU = """
from ictc.cli import main
from ictc.executors import ray_cluster
ray_cluster.engine_resources = lambda spec: {"num_gpus": 1}
main()
"""
"""The command line, with engines that take a GPU each although they are scripted."""


def test_an_engine_comes_to_a_node_that_joins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 480)
    Ictc(capsys).succeed(ads, tmp_path / "local", *CAPTIONS)
    slow = ("--engine", "scripted", "--engine_options", '{"latency_s": 0.1, "window": 2}')
    with GrowingNodes() as cluster:
        assert cluster.count_gpus() == (1, 0)
        where = ("--executor", "ray", "--ray_address", cluster.address, "--replicas", 2, "--decode_workers", 1)
        arguments = ("run", "--ads_dir", ads, "--output_dir", tmp_path / "ray", *CAPTIONS, *slow, *where)
        process = subprocess.Popen(
            [sys.executable, "-c", ON_A_GPU, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while cluster.count_gpus() != (2, 2):
            assert process.poll() is None, process.communicate()
            time.sleep(0.2)
        finish(process)
    assert exported_bytes(tmp_path / "ray") == exported_bytes(tmp_path / "local")
