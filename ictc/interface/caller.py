"""The front of a call from Python, in a script or in a notebook: bars, and lines for everything else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from ictc.errors import IctcError
from ictc.interface.background import BackgroundRun
from ictc.interface.outcome import describe_track, iter_rejections
from ictc.interface.progress import TextReporter
from ictc.interface.session import Work
from ictc.runs.summary import TrackSummary
from ictc.secrecy import scrub_line

P = ParamSpec("P")
R = TypeVar("R")


class Caller:
    """Tells in the output of a cell where there are cells, else on stderr, so that a script's stdout is its own."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        in_cell = is_notebook()
        stream = sys.stdout if in_cell else sys.stderr
        self._reporter = TextReporter(stream, is_watched=in_cell or stream.isatty(), bar=tqdm)
        self._run: BackgroundRun | None = None

    def drive(self, work: Work) -> list[TrackSummary]:
        """Run the work in a thread of its own.

        Raises:
            KeyboardInterrupt: there was an interrupt; the work has stopped in order.
            IctcError: of the work.
        """
        self._run = BackgroundRun(work, self._reporter)
        try:
            return self._run.finish()
        finally:
            self._run = None

    def summarize(self, summary: TrackSummary) -> None:
        """Tell what came out of a track; its clusters are to be had as a table."""
        for line in (describe_track(summary), *iter_rejections(summary), f"Results: {summary.directory}"):
            self.tell(line)

    def tell(self, line: str) -> None:
        """Tell one line."""
        self._reporter.note(line)

    def warn(self, line: str) -> None:
        """Tell one line, from whatever thread."""
        tell = partial(self.tell, line)
        if self._run is None:
            tell()
        else:
            self._run.tell(tell)


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def telling_errors(call: Callable[P, R]) -> Callable[P, R]:
    """Let an error of ictc that ends a call be the line that the command line would show, and no more.

    What caused it may hold keys and passwords, so it is in the log file alone, scrubbed; and where in ictc it was found
    out, or where an interrupt came, helps nobody.
    """

    @wraps(call)
    def calling(*arguments: P.args, **settings: P.kwargs) -> R:
        try:
            return call(*arguments, **settings)
        except IctcError as error:
            error.args = (scrub_line(str(error)),)
            raise error.with_traceback(None) from None
        except KeyboardInterrupt as interrupt:
            raise interrupt.with_traceback(None) from interrupt.__cause__

    return calling
