"""The log of vLLM's processes: what is told from it, and that it leaves other logging alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

import pytest

from ictc.engines.vllm_log import EngineLog

TRACEBACK = """Traceback (most recent call last):
  File "worker.py", line 1, in load
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
RuntimeError: Engine core initialization failed. See root cause above."""


@pytest.fixture
def engine_log() -> Iterator[EngineLog]:
    with closing(EngineLog()) as log:
        yield log


def test_the_first_error_is_the_cause(engine_log: EngineLog) -> None:
    logging.getLogger("vllm.worker").error("failed to start.\n%s", TRACEBACK)
    assert engine_log.cause() == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"


def test_an_error_about_another_is_no_cause(engine_log: EngineLog) -> None:
    logging.getLogger("vllm").error("RuntimeError: nothing but a mention\nException: WorkerProc initialization failed")
    assert engine_log.cause() is None


def test_a_warning_with_a_traceback_is_no_cause(engine_log: EngineLog) -> None:
    logging.getLogger("vllm").warning("no such extra\nModuleNotFoundError: No module named 'extra'")
    logging.getLogger("vllm").error("failed to start.\n%s", TRACEBACK)
    assert "CUDA out of memory" in str(engine_log.cause())


def test_what_went_wrong_before_a_good_start_is_no_cause(engine_log: EngineLog) -> None:
    logging.getLogger("vllm").error("first attempt\nOSError: try again")
    engine_log.mark_start()
    assert engine_log.cause() is None


def test_all_of_it_is_handed_on_once(engine_log: EngineLog, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ictc"):
        logging.getLogger("vllm.config").info("the model is large")
        engine_log.relay()
        engine_log.relay()
    relayed = [record.message for record in caplog.records if record.name.startswith("ictc")]
    assert len(relayed) == 1
    assert relayed[0].endswith("INFO the model is large")


def test_its_end_is_complete(caplog: pytest.LogCaptureFixture) -> None:
    log = EngineLog()
    logging.getLogger("vllm").info("last words")
    with caplog.at_level(logging.INFO, "ictc"):
        log.close()
        log.close()
    assert "last words" in caplog.text
    assert not log.config_path.exists()
