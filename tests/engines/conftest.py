"""What tests of several engines need."""

from __future__ import annotations

import pytest


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits for servers that don't say how long be a hundredth of what they are."""
    monkeypatch.setattr("ictc.engines.openai.gate.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("ictc.engines.openai.gate.MIN_WAIT_S", 0.01)
    monkeypatch.setattr("ictc.engines.openai.engine.FIRST_BACKOFF_S", 0.01)
