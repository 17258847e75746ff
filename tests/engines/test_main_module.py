"""Processes of an engine don't import the script that asked for it; those of anybody else do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
from multiprocessing import get_context
from operator import truth
from ictc.engines.main_module import sparing_main_module

print("main")
if __name__ == "__main__":
    spawn = get_context("spawn")
    with sparing_main_module():
        spared = spawn.Process(target=truth, args=(1,))
        spared.start()
    spared.join()
    print("spared", spared.exitcode, flush=True)
    other = spawn.Process(target=truth, args=(1,))
    other.start()
    other.join()
"""


def test_only_processes_of_the_block_spare_the_main_module(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["main", "spared 0", "main", ""], done.stderr
