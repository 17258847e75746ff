"""Log files beside the results: everything of ours, warnings of others, rotating."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from tqdm import tqdm

from ictc.secrecy import ScrubbingFormatter, scrub
from ictc.storage.atomic import storage_errors

MAX_LOG_BYTES = 20 * 2**20
MAX_LOG_FILES = 5


class LogFileHandler(RotatingFileHandler):
    """Keeps quiet when it can't write: on a full disk the run's own error says what to do."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - named by the base class
        """Leave the record out."""


class ConsoleHandler(logging.Handler):
    """Prints a record as one line above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message without its traceback; the log file has that."""
        tqdm.write(f"{record.levelname.lower()}: {' '.join(scrub(record.getMessage()).split())}", file=sys.stderr)


@contextmanager
def logging_to(directory: Path, *, verbose: bool) -> Iterator[Path]:
    """Log into a new file in `directory` until the block ends; warnings also go to the terminal.

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
    console_handler = ConsoleHandler(logging.INFO if verbose else logging.WARNING)
    root, ours = logging.getLogger(), logging.getLogger("ictc")
    handlers = (file_handler, console_handler)
    for handler in handlers:
        root.addHandler(handler)
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.captureWarnings(True)
    try:
        yield path
    except Exception:
        ours.info("the run ended with an error", exc_info=True)  # in the file: the terminal gets one line
        raise
    finally:
        logging.captureWarnings(False)
        for handler in handlers:
            root.removeHandler(handler)
            with suppress(OSError):  # what a full disk did not take
                handler.close()
