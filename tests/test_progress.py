"""Lines of progress."""

from __future__ import annotations

import io

import pytest

from ictc.interface.progress import LineProgress, Tally
from ictc.stages.outcome import Status


@pytest.mark.parametrize(("counts", "words"), [((7, 8), " tokens/s"), ((7, None, 8), "  tokens unknown  ")])
def test_tokens_that_an_engine_does_not_tell_are_unknown(counts: tuple[int | None, ...], words: str) -> None:
    stream = io.StringIO()
    progress = LineProgress("Step 1", Tally(total=3, done=0), stream)
    for tokens in counts:
        progress.advance(Status.DONE, tokens)
    progress.close()
    assert words in stream.getvalue()
