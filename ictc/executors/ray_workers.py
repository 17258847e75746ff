"""What the workers of a Ray cluster do: tell images apart, prepare requests, and answer them.

Each class is one operator of a Ray Data pipeline: an actor that is called with tables of `ictc.executors.jobs`, several
at a time, in one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ictc.config import ModelSpec
from ictc.engines.base import Engine, GenerationRequest, GenerationResult
from ictc.engines.provider import build_engine
from ictc.errors import IctcError
from ictc.executors.engine_host import EngineHost, HostLimits
from ictc.executors.jobs import Finished, Found, Job, iter_buffers, pack, unpack
from ictc.executors.remote_reader import RemoteReader
from ictc.records import add_counts
from ictc.stages.asking import Answering
from ictc.stages.judging import count_tokens, judge
from ictc.stages.outcome import Outcome
from ictc.stages.retry import FIRST, Attempt, next_attempt
from ictc.stages.work import MapStage, build_request

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class LaneWork:
    """What a worker needs to know of a lane.

    Attributes:
        prefix: tells its requests from those of the lanes beside it.
    """

    stage: MapStage[Any]
    prefix: str

    async def build(self, item: Any, attempt: Attempt) -> GenerationRequest | Outcome:
        """Return what to ask about an image, or the outcome where no model is needed."""
        return await build_request(self.stage, item, attempt, self.prefix)


class FindSources:
    """Tells what images share with equal ones."""

    def __init__(self, lanes: Sequence[LaneWork]) -> None:
        self._lanes = lanes

    async def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return await map_rows(table, self._find)

    async def _find(self, buffer: pyarrow.Buffer) -> list[Found]:
        return [Found(job.number, await self._lanes[job.lane].stage.find_source(job.item)) for job in unpack(buffer)]


class Prepare:
    """Decodes images and builds the requests about them."""

    def __init__(self, lanes: Sequence[LaneWork]) -> None:
        self._lanes = lanes

    async def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return await map_rows(table, self._prepare)

    async def _prepare(self, buffer: pyarrow.Buffer) -> list[Job]:
        return [replace(job, request=await self._lanes[job.lane].build(job.item, FIRST)) for job in unpack(buffer)]


class Ask:
    """Answers requests with an engine of its own, and retries what fails."""

    def __init__(self, lanes: Sequence[LaneWork], spec: ModelSpec, limits: HostLimits, reader: RemoteReader) -> None:
        self._lanes = lanes
        self._host = EngineHost(spec, limits)
        self._reader = reader

    async def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return await map_rows(table, self._answer)

    async def _answer(self, buffer: pyarrow.Buffer) -> list[Finished]:
        async with self._host.slot():  # only then are the pixels copied out of the object store
            return await asyncio.gather(*map(self._finish, unpack(buffer)))

    async def _finish(self, job: Job) -> Finished:
        """Ask until there is a valid answer or the ladder of retries is used up."""
        lane, attempt = self._lanes[job.lane], FIRST
        tokens: int | None = 0
        request = job.request or await lane.build(job.item, FIRST)
        if isinstance(request, GenerationRequest) and request.image is not None:
            self._reader.keep(job.item, request.image)
        while not isinstance(request, Outcome):
            result = await self._host.ask(request)
            if isinstance(result, Outcome):
                return Finished(number=job.number, outcome=result, tokens=tokens)
            tokens = add_counts(tokens, count_tokens(result))
            outcome, failure = judge(lane.stage, job.item, result)
            following = next_attempt(attempt, failure) if failure else None
            if following is None:
                return Finished(number=job.number, outcome=outcome, tokens=tokens)
            attempt = following
            request = await lane.build(job.item, attempt)
        return Finished(number=job.number, outcome=request, tokens=tokens)


async def map_rows(
    table: pyarrow.Table, function: Callable[[pyarrow.Buffer], Awaitable[Sequence[Any]]]
) -> pyarrow.Table:
    """Return a table of what `function` makes of the rows, all at a time; of an error of ours if there is one."""
    try:
        return pack(await asyncio.gather(*map(function, iter_buffers(table))))
    except IctcError as error:
        return pack([error])


class Asker:
    """Answers the requests of a reduce step with an engine that it keeps from one call to the next."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._engine: Engine | None = None

    async def ask(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult] | IctcError:
        """Return the results of requests in their order, or the error that there are none."""
        try:
            if self._engine is None:
                self._engine = await build_engine(self._spec)
            return await Answering().collect(self._engine, requests)
        except IctcError as error:
            await self._drop()
            return error

    async def _drop(self) -> None:
        """Have a new engine for the next call: this one may be dead."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    async def close(self) -> None:
        """Release the engine."""
        await self._drop()
