"""`ictc status`: how far runs are, from any machine that sees their files."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from ictc.interface.progress import format_seconds
from ictc.runs.reader import find_run_directories
from ictc.runs.waits import describe_waits
from ictc.runs.watch import RunStatus, RunWatcher, StepStatus
from ictc.steps.table import find_step

COLUMNS = ("RUN", "STATE", "STEP", "DONE", "OF", "", "IMAGES/S", "ETA", "LAST", "NO CLUSTER", "DROPPED", "REJECTED")
LEFT_ALIGNED = ("RUN", "STATE", "STEP", "REJECTED")
ONLY_IF_USED = ("NO CLUSTER", "DROPPED")
"""Columns that are left out where all of their cells are empty."""

CLEAR_SCREEN = "\x1b[H\x1b[J"

Row = tuple[tuple[str, ...], str]
"""The cells of a row of the table, and what stands in a line below it."""


def status(
    *directories: Path,
    watch: bool = False,
    json: bool = False,
    interval_s: Annotated[float, Parameter(validator=Number(gt=0))] = 5.0,
) -> None:
    """Tell how far each step of each run is, how fast it goes, what was rejected, and whether the run lives.

    Works while runs are at work and after, and changes nothing. Examples:

    ictc status out

    ictc status out/shard_0 out/shard_1 --watch

    Args:
        directories: --output_dir of the runs; shards and tracks below are found.
        watch: Tell again until all runs are finished, or Ctrl-C.
        json: Print one JSON object a run instead of the table.
        interval_s: Seconds between two looks of --watch.
    """
    watchers = [RunWatcher(directory) for directory in find_run_directories(directories or [Path()])]
    try:
        while not tell(watchers, as_json=json, clear=watch and sys.stdout.isatty()) and watch:
            time.sleep(interval_s)
    except KeyboardInterrupt:
        return


def tell(watchers: Sequence[RunWatcher], *, as_json: bool, clear: bool) -> bool:
    """Print the state of all runs once; return whether all are finished."""
    runs = [watcher.look() for watcher in watchers]
    lines = [orjson.dumps(describe(run)).decode() for run in runs] if as_json else table(runs)
    print((CLEAR_SCREEN if clear else "") + "\n".join(lines), flush=True)
    return all(run.state == "finished" for run in runs)


def describe(run: RunStatus) -> dict[str, object]:
    """Return the run as one JSON object."""
    return {**asdict(run), "directory": str(run.directory)}


def table(runs: Sequence[RunStatus]) -> list[str]:
    """Return the lines of the table: a row for each step, then who is behind runs that have not finished."""
    rows = drop_unused([(COLUMNS, ""), *(row for run in runs for row in run_rows(run))])
    columns = rows[0][0]
    widths = [max(map(len, column)) for column in zip(*(cells for cells, _ in rows), strict=True)]
    indent = " " * (widths[0] + widths[1] + 4)
    lines = []
    for cells, below in rows:
        aligned = zip(cells, widths, columns, strict=True)
        text = [cell.ljust(width) if title in LEFT_ALIGNED else cell.rjust(width) for cell, width, title in aligned]
        lines += ["  ".join(text).rstrip(), *([indent + below] if below else [])]
    lines += [f"{run.directory}: {run.state}: {run.owner}" for run in runs if run.state != "finished"]
    return lines + [
        f"{run.directory}: {find_step(run.stale_exports[0]).title} and what follows are exported from an earlier state"
        for run in runs
        if run.stale_exports
    ]


def drop_unused(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, the titles first, without the columns that are `ONLY_IF_USED` and are not."""
    (titles, _), *others = rows
    kept = [title not in ONLY_IF_USED or any(cells[at] for cells, _ in others) for at, title in enumerate(titles)]
    return [(tuple(compress(cells, kept)), below) for cells, below in rows]


def run_rows(run: RunStatus) -> list[Row]:
    """Return the rows of one run; the first names it."""
    rows = [(step_row(step), say_below(step)) for step in run.steps]
    rows = rows or [((run.state, *[""] * (len(COLUMNS) - 2)), "")]
    names = [str(run.directory), *[""] * (len(rows) - 1)]
    return [((name, *cells), below) for name, (cells, below) in zip(names, rows, strict=True)]


def say_below(step: StepStatus) -> str:
    """Return what stands below the row of a step: what its time went to, and what there is to say of its result."""
    waits = describe_waits(step.waited, step.computing) if step.waited else ""
    return "; ".join(filter(None, (waits, step.remark)))


def step_row(step: StepStatus) -> tuple[str, ...]:
    """Return the cells of one step but the first."""
    rejected = sorted(step.rejected.items(), key=lambda pair: -pair[1])
    return (
        step.state,
        find_step(step.stage).title,
        f"{step.done:,}",
        "" if step.total is None else f"{step.total:,}",
        f"{100 * step.done // step.total}%" if step.total else "",
        "" if step.images_per_second is None else f"{step.images_per_second:,.1f}",
        "" if step.eta_s is None else format_seconds(step.eta_s),
        "" if step.last_result_s is None else f"{format_seconds(step.last_result_s)} ago",
        f"{step.none:,}" if step.none else "",
        f"{step.dropped:,}" if step.dropped else "",
        ", ".join(f"{count:,} {kind}" for kind, count in rejected),
    )
