"""Runs a pipeline's event loop in a thread of its own, so that it works where another loop runs, as in notebooks.

The thread that calls draws the progress and waits. An interrupt there, Ctrl-C or a notebook's stop button, asks the
pipeline to stop in order, waits for it, and only then becomes a `KeyboardInterrupt`: by then the journals are closed,
the locks given back and the engines gone. Further interrupts change nothing about that.

Not chosen: an event loop inside the running one, which patches asyncio for the whole process; drawing from the
pipeline's thread, as what a notebook shows of another thread may appear below another cell; and leaving a pipeline
that was interrupted twice to itself, whose engine would keep the GPU for as long as the notebook lives.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread, current_thread, main_thread

from ictc.errors import IctcError
from ictc.interface.session import Work
from ictc.runs.reporter import Reporter, StepPlan
from ictc.runs.stopping import Interrupted
from ictc.runs.summary import TrackSummary
from ictc.secrecy import scrub_line
from ictc.stages.outcome import Status
from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import StageProgress

STOPPING = "interrupted: stopping in order; what has finished is kept"
STILL_STOPPING = "still stopping; nothing that has finished is lost, even if this process is killed"
STOPPED = "stopped; everything that had finished is kept, and the same call resumes"

Draw = Callable[[], None]
"""Shows something that the pipeline tells."""


class BackgroundRun:
    """A pipeline in a thread of its own, while the caller's thread draws what it tells.

    Args:
        reporter: draws; used by the calling thread alone.
    """

    def __init__(self, work: Work, reporter: Reporter) -> None:
        self._work = work
        self._reporter = reporter
        self._told: SimpleQueue[Draw | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="ictc")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._is_stop_wanted = False
        self._num_interrupts = 0
        self._summaries: list[TrackSummary] = []
        self._error: BaseException | None = None

    def tell(self, draw: Draw) -> None:
        """Let the calling thread draw something; any thread may tell."""
        self._told.put(draw)

    def finish(self) -> list[TrackSummary]:
        """Do the work and return what came out.

        Raises:
            KeyboardInterrupt: there was an interrupt; the work has stopped in order.
            IctcError: of the work.
        """
        with self._taking_interrupts():
            self._thread.start()
            try:
                self._draw_to_the_end()
            except BaseException:  # of a handler of another signal, say; whatever it is, nothing works on unseen
                self._ask_to_stop()
                self._wait_whatever_comes()
                raise
        if self._num_interrupts and isinstance(self._error, IctcError):
            raise KeyboardInterrupt(scrub_line(f"{STOPPED}; besides, {self._error}"))
        if self._num_interrupts:
            raise KeyboardInterrupt(STOPPED) from (None if isinstance(self._error, Interrupted) else self._error)
        if self._error is not None:
            raise self._error
        return self._summaries

    def _run(self) -> None:
        try:
            self._summaries = asyncio.run(self._do())
        except BaseException as error:
            self._error = error
        finally:
            self._told.put(None)

    async def _do(self) -> list[TrackSummary]:
        self._loop = asyncio.get_running_loop()
        if self._is_stop_wanted:  # since before there was a loop to tell
            self._stop.set()
        return await self._work(RelayedReporter(self._reporter, self.tell), self._stop)

    def _draw_to_the_end(self) -> None:
        while (draw := self._told.get()) is not None:
            draw()
        self._thread.join()

    def _wait_whatever_comes(self) -> None:
        while self._thread.is_alive():
            with suppress(BaseException):
                self._thread.join()

    def _ask_to_stop(self) -> None:
        self._is_stop_wanted = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    def _interrupt(self) -> None:
        self._num_interrupts += 1
        # Told before the work is asked: work that ends at once would be the last thing that is drawn.
        self.tell(partial(self._reporter.note, STOPPING if self._num_interrupts == 1 else STILL_STOPPING))
        self._ask_to_stop()

    @contextmanager
    def _taking_interrupts(self) -> Iterator[None]:
        """Count SIGINT until the block ends, instead of what its handler does; where it is ignored it still is."""
        if current_thread() is not main_thread() or not callable(before := signal.getsignal(signal.SIGINT)):
            yield
            return
        signal.signal(signal.SIGINT, lambda *_: self._interrupt())
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class RelayedReporter:
    """Hands what a pipeline tells to the thread that draws it.

    Args:
        tell: hands it over.
    """

    def __init__(self, reporter: Reporter, tell: Callable[[Draw], None]) -> None:
        self._reporter = reporter
        self._tell = tell

    def note(self, text: str) -> None:
        """Tell one line."""
        self._tell(partial(self._reporter.note, text))

    def plan(self, steps: Sequence[StepPlan]) -> None:
        """Tell what will be done."""
        self._tell(partial(self._reporter.plan, steps))

    async def confirm(self, question: str) -> bool | None:
        """Ask nobody: the thread that draws waits for the pipeline, not the pipeline for somebody there."""
        return None

    @contextmanager
    def stage(self, *, name: str, title: str, total: int, done: int, times: Timekeeper) -> Iterator[RelayedProgress]:
        """Open the progress of one step until the block ends."""
        progress = RelayedProgress(self._tell)
        stage = partial(self._reporter.stage, name=name, title=title, total=total, done=done, times=times)
        self._tell(lambda: progress.open(stage()))
        try:
            yield progress
        finally:
            self._tell(progress.close)


class RelayedProgress:
    """Hands the progress of one step to the thread that draws it.

    Args:
        tell: hands it over.
    """

    def __init__(self, tell: Callable[[Draw], None]) -> None:
        self._tell = tell
        self._opened = ExitStack()
        self._progress: StageProgress | None = None

    def open(self, stage: AbstractContextManager[StageProgress]) -> None:
        """Begin to draw; for the thread that draws, as all but `advance` is."""
        self._progress = self._opened.enter_context(stage)

    def advance(self, status: Status, tokens: int | None) -> None:
        """Count one image."""
        self._tell(lambda: self._draw(status, tokens))

    def _draw(self, status: Status, tokens: int | None) -> None:
        if self._progress is not None:
            self._progress.advance(status, tokens)

    def close(self) -> None:
        """Leave what is drawn as it stands."""
        self._opened.close()
