"""How a reduce step asks: many requests at a time, whose answers are kept until the result that they lead to is.

A reduce step may ask thousands of questions before it has its one result. An answer is kept under a digest of all that
was asked, so a step that was killed asks the same again, gets what is kept, and goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Self

from ictc.engines.base import Answer, Engine, GenerationRequest, GenerationResult
from ictc.errors import EngineError
from ictc.stages.outcome import Status
from ictc.stages.work import AskAll
from ictc.storage.atomic import storage_errors
from ictc.storage.journal import Journal
from ictc.storage.keys import digest

REQUESTS_AT_A_TIME = 256
"""Requests whose answers a crash may cost."""


class Answering:
    """Collects what an engine says to some requests, and knows whether it says anything."""

    def __init__(self) -> None:
        self._results: dict[str, GenerationResult] = {}
        self._told = 0

    async def collect(self, engine: Engine, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Return the results of requests in their order.

        Raises:
            EngineError: the engine cannot go on, or left a request without a result.
        """

        async def each() -> AsyncIterator[GenerationRequest]:
            for request in requests:
                yield request

        async with aclosing(engine.generate(each())) as results:
            async for result in results:
                self._results[result.request_id] = result
        missing = [request.request_id for request in requests if request.request_id not in self._results]
        if missing:
            raise EngineError(f"the engine ended without answering {missing[0]}; see the log")
        return [self._results[request.request_id] for request in requests]

    def is_silent(self) -> bool:
        """Whether there is no result more than when this was last asked."""
        silent, self._told = self._told == len(self._results), len(self._results)
        return silent


class KeptAnswers:
    """What was answered, in a folder.

    Raises:
        StorageError: the disk refused, here and below.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal = Journal(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def asking(self, ask: AskAll) -> AskAll:
        """Return what asks like `ask`, but nothing whose answer is kept, and keeps what it gets."""

        async def ask_what_is_new(requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
            results: dict[str, GenerationResult | None] = {one.request_id: self._find(one) for one in requests}
            missing = [request for request in requests if results[request.request_id] is None]
            for start in range(0, len(missing), REQUESTS_AT_A_TIME):
                asked = missing[start : start + REQUESTS_AT_A_TIME]
                for request, result in zip(asked, await ask(asked), strict=True):
                    results[request.request_id] = result
                    self._keep(request, result)
                self._journal.sync()
            return [result for result in results.values() if result is not None]

        return ask_what_is_new

    def _keep(self, request: GenerationRequest, result: GenerationResult) -> None:
        if isinstance(result, Answer):
            name = name_of(request)
            self._journal.append({"id": name, "status": Status.DONE, "input": name, "data": asdict(result)})

    def _find(self, request: GenerationRequest) -> Answer | None:
        record = self._journal.get(name_of(request))
        return None if record is None else Answer(**{**record["data"], "request_id": request.request_id})

    def forget(self) -> None:
        """Throw away what is kept: the result is there, or these answers lead to none."""
        self._journal.close()
        with storage_errors(self._folder):
            if self._folder.is_dir():
                shutil.rmtree(self._folder)


def name_of(request: GenerationRequest) -> str:
    """Return a digest of all that an answer depends on."""
    form = type(request.answer).__name__, request.answer
    return digest([request.task, request.messages, request.inputs, request.sampling, form, request.min_answer_tokens])
