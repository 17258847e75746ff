"""Time runs of growing size: `python benchmarks/scale.py [--records 10000 100000 1000000]`.

For each size, empty files stand for the images and synthetic captions for what Step 1 made of them: Step 0 lists the
files, then one `ictc run` plans, finds Step 1 done and exports it, and does Steps 2a, 2b and 3 with the scripted
engine, with all exports. Both run in processes of their own. Prints seconds, bytes written and peak memory, and the
exponents of their growth: least squares in log-log, so that 1 is proportional and 2 quadratic. A million records take
ten minutes.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import linear_regression
from typing import Any

from measuring import MAIN, check, measure, print_results
from synthetic import CRITERION, discover, fill_captions, make_files, open_run

from ictc.runs.info import save_run_info

MOST_GROWTH = 1.05
MOST_GB = 1.5
GROWING = ("seconds", "cpu_s", "written_gb")


def prepare(root: Path, num_records: int) -> dict[str, Any]:
    """Make the files and captions of a collection, and return what Step 0 took."""
    make_files(root / "ads", num_records)
    usage = measure(__file__, "--discover", root)
    run = open_run(root)
    fill_captions(run, Random(1))
    save_run_info(run, "finished")
    run.close()
    return {"records": num_records, "what": "Step 0", **asdict(usage)}


def run_steps(root: Path, num_records: int) -> dict[str, Any]:
    """Run what follows Step 1, and return what it took."""
    folders = ("--ads_dir", root / "ads", "--output_dir", root)
    usage = measure("-c", MAIN, "run", *folders, "--engine", "scripted", "--track", 1, "--criterion", CRITERION)
    return {"records": num_records, "what": "run", **asdict(usage)}


def fit_exponents(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return b of value ~ a * records ** b for each of `GROWING`, by least squares in log-log."""
    if len(rows) < 2:
        return {}
    logs = {name: [math.log(row[name]) for row in rows] for name in ("records", *GROWING)}
    return {name: round(linear_regression(logs["records"], logs[name]).slope, 3) for name in GROWING}


def measure_sizes(sizes: list[int]) -> list[dict[str, Any]]:
    """Run each size and return two rows for each."""
    rows = []
    for num_records in sizes:
        root = Path(tempfile.mkdtemp())
        try:
            rows += [prepare(root, num_records), run_steps(root, num_records)]
        finally:
            shutil.rmtree(root)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--discover", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.discover:
        discover(arguments.discover)
        return
    rows = measure_sizes(arguments.records)
    runs = [row for row in rows if row["what"] == "run"]
    exponents = fit_exponents(runs)
    peak_gb = max(row["peak_gb"] for row in rows)
    figures = {"exponents": exponents, "exponents_of_the_largest_two": fit_exponents(runs[-2:])}
    print_results("Runs by size", rows, {"benchmark": "scale", **figures})
    check(
        *((f"growth of {name}: {value} of {MOST_GROWTH}", value <= MOST_GROWTH) for name, value in exponents.items()),
        (f"peak memory: {peak_gb} of {MOST_GB} GB", peak_gb < MOST_GB),
    )


if __name__ == "__main__":
    main()
