"""The terminal that a command was started from: what is told goes there, and a signal from there stops the work."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys

from tqdm import tqdm

from ictc.cli.signals import stop_on_signals
from ictc.cli.summary import print_summary
from ictc.interface.progress import TextReporter
from ictc.interface.session import Work
from ictc.runs.stopping import Interrupted
from ictc.runs.summary import TrackSummary


class Terminal:
    """Results go to stdout, everything else to stderr."""

    def drive(self, work: Work) -> list[TrackSummary]:
        """Run the work in an event loop.

        Raises:
            IctcError: of the work.
            Interrupted: a signal came; carries the exit code that tells which.
        """
        return asyncio.run(run_until_stopped(work))

    def summarize(self, summary: TrackSummary) -> None:
        """Print the clusters of a track."""
        print_summary(summary)

    def tell(self, line: str) -> None:
        """Print a line."""
        print(line)

    def warn(self, line: str) -> None:
        """Print a line above the progress bar."""
        tqdm.write(line, file=sys.stderr)


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


class ConsoleReporter(TextReporter):
    """Reports on stderr, so that stdout holds the results alone, and asks who sits there."""

    def __init__(self, stop: asyncio.Event) -> None:
        super().__init__(sys.stderr, is_watched=sys.stderr.isatty())
        self._stop = stop

    async def confirm(self, question: str) -> bool | None:
        """Ask on the terminal; None if there is none, False if a signal comes instead of an answer."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin, readable.set)
        try:
            await first_of(readable, self._stop)
        finally:
            loop.remove_reader(sys.stdin)
        return readable.is_set() and sys.stdin.readline().strip().lower() in ("y", "yes")


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
