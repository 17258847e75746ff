"""vLLM's own words: one file for all its processes, handed on to Python logging, and searched for what went wrong.

vLLM tells its caller only that one of its processes failed; the cause is in that process's log.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
_vllm_logger = logging.getLogger("vllm")
_vllm_logger.addHandler(logging.NullHandler())  # what it says after the end of an engine is of no interest

LINE_FORMAT = "%(asctime)s %(processName)s %(levelname)s %(message)s"

_ERROR_RECORD = re.compile(r"^\S+ \S+ \S+ (?:ERROR|CRITICAL) ", re.MULTILINE)
_ERROR_LINE = re.compile(r"^([\w.]*(?:Error|Exception)): (.+)$", re.MULTILINE)
_NO_CAUSE = ("initialization failed", "Worker failed", "cancelled")
"""An error that says these only reports another one."""


class EngineLogHandler(logging.FileHandler):
    """Write to one file from all processes, and in vLLM's own, their standard output and error too.

    In vLLM's processes it is made by `logging.config`, from the configuration below.
    """

    def __init__(self, path: str, main_pid: int) -> None:
        super().__init__(path, encoding="utf-8")
        if os.getpid() != main_pid:
            with Path(path).open("ab") as file:
                for descriptor in (1, 2):
                    os.dup2(file.fileno(), descriptor)


class EngineLog:
    """The log of one engine, from its start to its end."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ictc-vllm-")
        self._path = Path(self._folder.name, "vllm.log")
        self._num_relayed = 0
        self._start = 0
        self.config_path = Path(self._folder.name, "logging.json")
        # What vLLM applies in this process must change nothing: a full configuration would close all other handlers.
        self._save_config({"version": 1, "incremental": True})
        self._handler = EngineLogHandler(str(self._path), os.getpid())
        self._handler.setFormatter(logging.Formatter(LINE_FORMAT))
        _vllm_logger.addHandler(self._handler)
        _vllm_logger.setLevel(_level())
        _vllm_logger.propagate = False

    def save_worker_config(self) -> None:
        """Write the configuration that vLLM's processes apply when they start."""
        handler = f"{EngineLogHandler.__module__}.{EngineLogHandler.__qualname__}"
        arguments = {"path": str(self._path), "main_pid": os.getpid()}
        self._save_config(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"line": {"format": LINE_FORMAT}},
                "handlers": {"file": {"()": handler, "formatter": "line", **arguments}},
                "loggers": {"vllm": {"level": _level(), "handlers": ["file"], "propagate": False}},
            }
        )

    def _save_config(self, config: dict[str, Any]) -> None:
        self.config_path.write_text(json.dumps(config), encoding="utf-8")

    def read(self) -> str:
        """Return all of it so far."""
        return self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""

    def relay(self) -> None:
        """Hand what is new on to Python logging."""
        text = self.read()
        for line in text[self._num_relayed :].splitlines():
            log.info("%s", line)
        self._num_relayed = len(text)

    def mark_start(self) -> None:
        """Relay what led to a good start: no later cause is to be found there."""
        self.relay()
        self._start = self._num_relayed

    def cause(self) -> str | None:
        """Return the first error that is not about another error, from the first record of level ERROR on."""
        text = self.read()[self._start :]
        record = _ERROR_RECORD.search(text)
        for kind, message in _ERROR_LINE.findall(text, record.start() if record else 0):
            if not any(words in message for words in _NO_CAUSE):
                return f"{kind.rpartition('.')[2]}: {message}"
        return None

    def close(self) -> None:
        """Relay the rest and remove the file; may be called twice."""
        self.relay()
        _vllm_logger.removeHandler(self._handler)
        self._handler.close()
        self._folder.cleanup()


def _level() -> str:
    return os.environ.get("VLLM_LOGGING_LEVEL", "INFO")
