"""Runs a command in a process of its own and says what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What a process took; `cpu_s` says more than `seconds` where other processes compete."""

    seconds: float
    cpu_s: float
    peak_gb: float

    def __str__(self) -> str:
        return f"{self.seconds:7.1f} s  {self.cpu_s:7.1f} s of CPU  {self.peak_gb:5.2f} GB"


def measure(*arguments: object) -> Usage:
    """Run Python with these arguments; return what the process took.

    Raises:
        subprocess.CalledProcessError: it failed; its output is on stderr.
    """
    command = [sys.executable, *map(str, arguments)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Usage(round(seconds, 2), round(usage.ru_utime + usage.ru_stime, 2), round(usage.ru_maxrss * 1024 / 1e9, 3))
