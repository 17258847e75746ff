"""Questions that depend on earlier answers, many such rows of questions at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from ictc.engines.base import GenerationRequest, GenerationResult
from ictc.stages.work import AskAll

ResultT = TypeVar("ResultT")

Dialogue = Generator[GenerationRequest, GenerationResult, ResultT]
"""Yields a request, is sent its result, and so on until it returns what it was about."""


async def hold(ask: AskAll, dialogues: Sequence[Dialogue[ResultT]]) -> list[ResultT]:
    """Return what each dialogue comes to; all of them ask at the same time, each when its last question is answered.

    Raises:
        EngineError: the engine cannot go on.
        IctcError: what a dialogue raises.
    """
    results: dict[int, ResultT] = {}
    open_ones = dict(enumerate(dialogues))
    requests = {place: next(dialogue) for place, dialogue in open_ones.items()}
    while requests:
        answers = await ask([*requests.values()])
        for place, answer in zip([*requests], answers, strict=True):
            try:
                requests[place] = open_ones[place].send(answer)
            except StopIteration as end:
                del requests[place]
                results[place] = end.value
    return [results[place] for place in open_ones]
