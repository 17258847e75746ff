"""Log files beside the results: everything of ours, warnings of others, rotating."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ictc.secrecy import ScrubbingFormatter, scrub_line
from ictc.storage.atomic import storage_errors

MAX_LOG_BYTES = 20 * 2**20
MAX_LOG_FILES = 5


class LogFileHandler(RotatingFileHandler):
    """Keeps quiet when it can't write: on a full disk the run's own error says what to do."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - named by the base class
        """Leave the record out."""


class LineHandler(logging.Handler):
    """Tells each record in one line.

    Args:
        tell: what shows the line.
    """

    def __init__(self, tell: Callable[[str], None], level: int) -> None:
        super().__init__(level)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the message without its traceback; the log file has that."""
        self._tell(scrub_line(f"{record.levelname.lower()}: {record.getMessage()}"))


@contextmanager
def logging_to(directory: Path, tell: Callable[[str], None], *, verbose: bool) -> Iterator[Path]:
    """Log into a new file in `directory` until the block ends; warnings are told as well.

    Yields:
        The path of the file.

    Raises:
        StorageError: the file can't be made.
    """
    path = directory / f"ictc_{datetime.now():%Y%m%d_%H%M%S_%f}.log"
    with storage_errors(path):
        directory.mkdir(parents=True, exist_ok=True)
        file_handler = LogFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=MAX_LOG_FILES - 1, encoding="utf-8")
    file_handler.setFormatter(ScrubbingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    line_handler = LineHandler(tell, logging.INFO if verbose else logging.WARNING)
    ours = logging.getLogger("ictc")
    with handling(file_handler, line_handler), level_of(ours, logging.DEBUG if verbose else logging.INFO):
        try:
            yield path
        except (Exception, KeyboardInterrupt):
            ours.info("the run ended with an error", exc_info=True)  # in the file: the user gets one line
            raise


@contextmanager
def handling(*handlers: logging.Handler) -> Iterator[None]:
    """Hand all that is logged, and all warnings, to `handlers` until the block ends; then all is as before."""
    root, showwarning = logging.getLogger(), warnings.showwarning
    for handler in handlers:
        root.addHandler(handler)
    logging.captureWarnings(True)
    has_begun = warnings.showwarning is not showwarning
    try:
        yield
    finally:
        if has_begun:
            logging.captureWarnings(False)
        for handler in handlers:
            root.removeHandler(handler)
            with suppress(OSError):  # what a full disk did not take
                handler.close()


@contextmanager
def level_of(logger: logging.Logger, level: int) -> Iterator[None]:
    """Let a logger have a level until the block ends."""
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
