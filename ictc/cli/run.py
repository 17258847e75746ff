"""`ictc run`: images in, named clusters out."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from ictc.cli.console import ConsoleReporter, format_seconds
from ictc.cli.logs import logging_to
from ictc.cli.signals import stop_on_signals
from ictc.cli.summary import print_summary
from ictc.config import RunSettings
from ictc.pipeline import run_pipeline
from ictc.runs.stopping import Interrupted
from ictc.runs.summary import TrackSummary


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
    execute(settings)


def execute(settings: RunSettings) -> None:
    """Run the pipeline with these settings, and print what came out.

    Raises:
        IctcError: one line for the user.
        Interrupted: a signal came.
    """
    root = settings.output.output_dir / (settings.output.shard_id or "")
    started = time.monotonic()
    with logging_to(root / "logs", verbose=settings.control.verbose) as log_path:
        summaries = asyncio.run(run_until_stopped(settings))
    for summary in summaries:
        print_summary(summary)
    print(f"Took {format_seconds(time.monotonic() - started)}. Log: {log_path}")


async def run_until_stopped(settings: RunSettings) -> list[TrackSummary]:
    """Run the pipeline, and turn a stop by a signal into the exit code that tells it."""
    with stop_on_signals() as request:
        try:
            return await run_pipeline(settings, ConsoleReporter(request.event), request.event)
        except Interrupted:
            number = request.signal_number or signal.SIGTERM
            command = shlex.join(["ictc", *sys.argv[1:]])
            raise Interrupted(
                f"stopped by {signal.Signals(number).name}; everything that had finished is kept. To resume: {command}",
                128 + number,
            ) from None
