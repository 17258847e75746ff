"""What is done around a pipeline, whoever starts it: checks, the log file, publishing, the report page.

Knows nothing of terminals and notebooks; a `Front` tells what is to be told.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from ictc.config import RunSettings
from ictc.errors import IctcError
from ictc.interface.logs import logging_to
from ictc.interface.progress import format_seconds
from ictc.intrusion.run import JudgeRequest, judge_clusters, open_judging
from ictc.pipeline import check_command, run_pipeline
from ictc.recluster import ReclusterRequest, find_source, recluster_source
from ictc.runs.reporter import Reporter
from ictc.runs.summary import TrackSummary
from ictc.secrecy import scrub_line
from ictc.stages.publish import find_target, publish, publish_to
from ictc.suggesting.request import SuggestRequest, open_source
from ictc.suggesting.run import SUGGESTIONS_FILE, suggest_criteria

logger = logging.getLogger(__name__)

Work = Callable[[Reporter, asyncio.Event], Awaitable[list[TrackSummary]]]
"""What is done with a reporter until an event asks for a stop; returns what came out, a summary a track."""


class Front(Protocol):
    """Whoever started the work: lets it run, and is told what came of it."""

    def drive(self, work: Work) -> list[TrackSummary]:
        """Run the work in an event loop, with a reporter, and stop it when that is asked for.

        Raises:
            IctcError: of the work.
        """
        ...

    def summarize(self, summary: TrackSummary) -> None:
        """Tell what came out of a track."""
        ...

    def tell(self, line: str) -> None:
        """Tell one line, of what came out."""
        ...

    def warn(self, line: str) -> None:
        """Tell one line, of what somebody should look at."""
        ...


def run_images(settings: RunSettings, front: Front) -> list[TrackSummary]:
    """Do what `ictc run` does with these settings, and return what came out, a summary a track.

    Raises:
        IctcError: one line for the user.
    """
    output = settings.output
    check_command(settings)
    if output.upload_url is not None:
        publish_to(output.output_dir, output.upload_url)
    root = output.output_dir / (output.shard_id or "")
    return run_in_session(root, partial(run_pipeline, settings), front, verbose=settings.control.verbose)


def recluster_images(request: ReclusterRequest, front: Front) -> list[TrackSummary]:
    """Do what `ictc recluster` does, and return what came out, a summary for each K.

    Raises:
        IctcError: one line for the user.
    """
    source = find_source(request)
    work = partial(recluster_source, source, request)
    return run_in_session(request.output_dir, work, front, verbose=bool(request.overrides.get("verbose")))


def suggest_for(request: SuggestRequest, front: Front) -> Path:
    """Do what `ictc suggest` does, and return the file with what came out.

    Raises:
        IctcError: one line for the user.
    """
    source = open_source(request)
    root = source.target.path
    run_in_session(root, partial(suggest_criteria, source), front, verbose=source.settings.control.verbose)
    return root / SUGGESTIONS_FILE


def judge_for(request: JudgeRequest, front: Front) -> Path:
    """Do what `ictc evaluate --judge` does, and return the file with what came out.

    Raises:
        IctcError: one line for the user.
    """
    judging = open_judging(request)
    work = partial(judge_clusters, judging)
    run_in_session(judging.run.path, work, front, verbose=judging.settings.control.verbose)
    return judging.output


def run_in_session(root: Path, work: Work, front: Front, *, verbose: bool) -> list[TrackSummary]:
    """Do the work with a log file below `root`, tell what came out, and publish it where that was asked for.

    Raises:
        IctcError: one line for the user.
    """
    started = time.monotonic()
    with logging_to(root / "logs", front.warn, verbose=verbose) as log_path:
        summaries = front.drive(work)
        for summary in summaries:
            front.summarize(summary)
        write_page(summaries, path=root / "report.html", log_path=log_path, front=front)
    for directory in {root, *(summary.directory for summary in summaries)}:
        publish(directory)
    if (url := find_target(root)) is not None:
        front.tell(f"Exports: {url}")
    front.tell(f"Took {format_seconds(time.monotonic() - started)}. Log: {log_path}")
    return summaries


def write_page(summaries: Sequence[TrackSummary], *, path: Path, log_path: Path, front: Front) -> None:
    """Write the page about all tracks that have clusters, and tell where; that there is none is no failure of a run."""
    directories = [summary.directory for summary in summaries if summary.clusters and summary.wants_report]
    if not directories:
        return
    again = shlex.join(["ictc", "report", *map(str, directories), "--output", str(path)])
    with costing_no_result("report page", again=f"{again}. Log: {log_path}", front=front):
        from ictc.report import write_report

        write_report(directories, path)
        front.tell(f"Report:  {path}")


@contextmanager
def costing_no_result(what: str, *, again: str, front: Front) -> Iterator[None]:
    """Tell an error of the block in one line, as it is about something besides results that are finished.

    Args:
        what: what there is not because of it.
        again: how to try again.
    """
    try:
        yield
    except IctcError as error:
        front.tell(scrub_line(f"No {what}: {error}"))
    except Exception as error:  # of whatever library
        logger.info("no %s", what, exc_info=True)
        reason = scrub_line(f"{type(error).__name__}: {error}")
        front.warn(f"No {what}: {reason}; the results are finished. To try again: {again}")
