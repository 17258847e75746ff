"""Questions that depend on earlier answers, many such rows of questions at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from ictc.engines.base import GenerationRequest, GenerationResult
from ictc.errors import InvalidAnswer
from ictc.stages.retry import FIRST, Attempt, failure_of, next_attempt, text_of
from ictc.stages.work import AskAll

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

Dialogue = Generator[GenerationRequest, GenerationResult, ResultT]
"""Yields a request, is sent its result, and so on until it returns what it was about."""


def ask_until_valid(
    build: Callable[[Attempt], GenerationRequest], parse: Callable[[str], ResultT]
) -> Dialogue[ResultT]:
    """Come to what the first valid answer says; what fails is tried again as its ladder says.

    Args:
        build: returns the request of an attempt.
        parse: returns what an answer says, or raises `InvalidAnswer`.

    Raises:
        InvalidAnswer: no attempt gave a valid one; with the reason of the last.
    """
    attempt = FIRST
    while True:
        request = build(attempt)
        result = yield request
        try:
            return parse(text_of(result))
        except InvalidAnswer as error:
            logger.warning("%s: attempt %d failed: %s", request.request_id, attempt.number + 1, error)
            following = next_attempt(attempt, failure_of(result))
            if following is None:
                raise
            attempt = following


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
