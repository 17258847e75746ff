"""`ictc run`: images in, named clusters out."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from ictc.cli.console import ConsoleReporter, format_seconds
from ictc.cli.logs import logging_to
from ictc.cli.signals import stop_on_signals
from ictc.cli.summary import print_summary
from ictc.config import RunSettings
from ictc.errors import IctcError
from ictc.pipeline import check_apart, run_pipeline
from ictc.runs.reporter import Reporter
from ictc.runs.shards import resolve_shard
from ictc.runs.stopping import Interrupted
from ictc.runs.summary import TrackSummary
from ictc.secrecy import scrub
from ictc.stages.publish import find_target, publish, publish_to

logger = logging.getLogger(__name__)


def run(
    *,
    settings: Annotated[RunSettings, Parameter(name="*")],
    config: Annotated[Path | None, Parameter(group=Group("Control", sort_key=5))] = None,
) -> None:
    """Caption every image, label it, make K named clusters of the labels and assign every image to one.

    The same command again resumes; what is up to date is never redone. Examples:

    ictc run --ads_dir ads --output_dir out

    ictc run --ads_dir ads --output_dir out --num_clusters 8 --steps 2b,3

    ictc run --ads_dir photos --output_dir out --criterion "the musical instrument" --engine lite

    Args:
        config: YAML file with any of these flags; the command line wins.
    """
    execute(resolve_shard(settings, os.environ))


def execute(settings: RunSettings) -> None:
    """Run the pipeline with these settings, and print what came out.

    Raises:
        IctcError: one line for the user.
        Interrupted: a signal came.
    """
    output = settings.output
    check_apart(settings.input, output.output_dir)  # before the log file would be among the images
    if output.upload_url is not None:
        publish_to(output.output_dir, output.upload_url)
    run_in_session(
        output.output_dir / (output.shard_id or ""),
        lambda reporter, stop: run_pipeline(settings, reporter, stop),
        verbose=settings.control.verbose,
    )


Work = Callable[[Reporter, asyncio.Event], Awaitable[list[TrackSummary]]]
"""What is done with a reporter until an event asks for a stop; returns what came out."""


def run_in_session(root: Path, work: Work, *, verbose: bool) -> None:
    """Do the work with a log file below `root`, stopping on signals, and print what came out.

    Raises:
        IctcError: one line for the user.
        Interrupted: a signal came.
    """
    started = time.monotonic()
    with logging_to(root / "logs", verbose=verbose) as log_path:
        summaries = asyncio.run(run_until_stopped(work))
        for summary in summaries:
            print_summary(summary)
        print_report(summaries, root / "report.html", log_path)
    for directory in {root, *(summary.directory for summary in summaries)}:
        publish(directory)
    if (url := find_target(root)) is not None:
        print(f"Exports: {url}")
    print(f"Took {format_seconds(time.monotonic() - started)}. Log: {log_path}")


async def run_until_stopped(work: Work) -> list[TrackSummary]:
    """Do the work, and turn a stop by a signal into the exit code that tells it."""
    with stop_on_signals() as request:
        try:
            return await work(ConsoleReporter(request.event), request.event)
        except Interrupted:
            number = request.signal_number or signal.SIGTERM
            command = shlex.join(["ictc", *sys.argv[1:]])
            raise Interrupted(
                f"stopped by {signal.Signals(number).name}; everything that had finished is kept. To resume: {command}",
                128 + number,
            ) from None


def print_report(summaries: Sequence[TrackSummary], path: Path, log_path: Path) -> None:
    """Write the page about all tracks that have clusters, and tell where; that there is none is no failure of a run."""
    directories = [summary.directory for summary in summaries if summary.clusters and summary.wants_report]
    if not directories:
        return
    again = shlex.join(["ictc", "report", *map(str, directories), "--output", str(path)])
    with costing_no_result("report page", f"{again}. Log: {log_path}"):
        from ictc.report import write_report

        write_report(directories, path)
        print(f"Report:  {path}")


@contextmanager
def costing_no_result(what: str, again: str) -> Iterator[None]:
    """Tell an error of the block in one line, as it is about something besides results that are finished.

    Args:
        what: what there is not because of it.
        again: how to try again.
    """
    try:
        yield
    except IctcError as error:
        print(f"No {what}: {error}")
    except Exception as error:  # of whatever library
        logger.info("no %s", what, exc_info=True)
        reason = " ".join(scrub(f"{type(error).__name__}: {error}").split())
        print(f"No {what}: {reason}; the results are finished. To try again: {again}", file=sys.stderr)
