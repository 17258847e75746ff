"""Tells how far the questions are, and obeys a stop between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ictc.engines.base import Answer, GenerationRequest, GenerationResult, Task
from ictc.runs.reporter import Reporter
from ictc.runs.stopping import raise_if_stopped
from ictc.stages.judging import count_tokens
from ictc.stages.outcome import Status
from ictc.stages.timekeeping import Timekeeper
from ictc.stages.work import AskAll

REQUESTS_AT_A_TIME = 64
TITLES = {
    Task.SUGGEST: "Criteria proposed",
    Task.LABEL: "Labels by each criterion",
    Task.SYNTHESIZE: "Values of each criterion",
    Task.ASSIGN: "A value for each image",
    Task.INTRUDER: "Odd ones out",
}


def telling(ask: AskAll, reporter: Reporter, stop: asyncio.Event) -> AskAll:
    """Return what asks like `ask`, a part at a time, and tells each part.

    It raises `Interrupted` where a stop was asked for.
    """

    async def ask_and_tell(requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        results: list[GenerationResult] = []
        if not requests:
            return results
        title = TITLES[Task(requests[0].task)]
        stage = reporter.stage(name="suggest", title=title, total=len(requests), done=0, times=Timekeeper())
        with stage as progress:
            for start in range(0, len(requests), REQUESTS_AT_A_TIME):
                raise_if_stopped(stop)
                for result in await ask(requests[start : start + REQUESTS_AT_A_TIME]):
                    results.append(result)
                    status = Status.DONE if isinstance(result, Answer) else Status.REJECTED
                    progress.advance(status, count_tokens(result))
        return results

    return ask_and_tell
