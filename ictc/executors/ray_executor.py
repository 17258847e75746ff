"""Runs steps over a Ray cluster: Ray Data streams images through decoders and engines on its nodes.

This process, the driver, decides what is asked and records what is answered, as in a local run. Where the work is done
and what happens when a node is lost is Ray's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ictc.config import ControlSettings, EngineSettings, ModelSpec
from ictc.engines.base import GenerationRequest, GenerationResult
from ictc.engines.provider import Role
from ictc.errors import IctcError
from ictc.executors import ray_cluster
from ictc.executors.base import ImageAccess, Note, try_twice
from ictc.executors.engine_host import HostLimits
from ictc.executors.jobs import Finished, Found, Job
from ictc.executors.ray_pipeline import BLOCKS_AT_AN_ENGINE, Pool, add_workers, build_dataset, stream_rows
from ictc.executors.ray_workers import Ask, Asker, FindSources, LaneWork, Prepare
from ictc.executors.remote_reader import RemoteReader
from ictc.records import IMAGE_TOKEN_SIDE_PX, UnreadableImage, Wait
from ictc.stages.lane import Lane, Pending
from ictc.stages.outcome import unreadable
from ictc.stages.rounds import run_in_rounds
from ictc.stages.runner import MAX_IMAGE_BYTES
from ictc.stages.work import AskAll, role_of

logger = logging.getLogger(__name__)

IMAGES_PER_BLOCK = 16
TEXTS_PER_BLOCK = 64
"""What is lost and done again when a worker dies, so few; a table costs Ray some milliseconds, so not fewer."""


class RayExecutor:
    """Runs steps on a cluster that it joins when the first one begins."""

    def __init__(
        self,
        *,
        engine: EngineSettings,
        control: ControlSettings,
        images: ImageAccess,
        address: str,
        requests_per_image: int,
    ) -> None:
        """Note what to run; nothing starts yet.

        Args:
            address: of the cluster.
            requests_per_image: how many requests in a row will be about the same image.
        """
        self._engine = engine
        self._control = control
        self._address = address
        self._images = images
        self._reader = RemoteReader(images, control.dedupe, control.access_timeout_s)
        self._max_decoders = control.decode_workers
        self._requests_per_image = requests_per_image
        self._connection = ExitStack()
        self._is_connected = False
        self._resources: dict[Role, dict[str, float]] = {}

    @asynccontextmanager
    async def open_reader(self) -> AsyncIterator[RemoteReader]:
        """Yield a reader for the workers; the driver opens no image."""
        yield self._reader

    async def prepare(self, role: Role) -> None:
        """Join the cluster, and check that it has what an engine of this role needs.

        Raises:
            EngineLoadError: with the cause and a remedy.
        """
        if not self._is_connected:
            await asyncio.to_thread(ray_cluster.connect, self._address)
            self._is_connected = True
            ray_cluster.take_signals_back()
            self._connection.enter_context(redirect_stdout(ray_cluster.LogStream()))
        if role not in self._resources:
            self._resources[role] = await asyncio.to_thread(ray_cluster.engine_resources, self._spec(role))
        if role == "vlm":
            await asyncio.to_thread(self._share_downloads)

    def _share_downloads(self) -> None:
        """Bound how many workers fetch images, so that together they ask servers no more than one machine would."""
        most = self._images.max_sharing()
        if most is not None:
            self._max_decoders = min(most, self._max_decoders or ray_cluster.count_cpus())
            self._reader.num_sharing = self._max_decoders

    async def run(self, lanes: Sequence[Lane[Any]], stop: asyncio.Event, note: Note) -> None:
        """Run the lanes, and again for what could not be read."""
        await run_in_rounds(lanes, stop, partial(self._run, lanes, stop))

    async def _run(self, lanes: Sequence[Lane[Any]], stop: asyncio.Event) -> None:
        """Run the lanes; results that come twice, from a node that was taken for dead, are recorded once."""
        work = [LaneWork(lane.stage.detached(), lane.prefix) for lane in lanes]
        todo = Todo(lanes)
        lanes[0].times.divide(1, Wait.CLUSTER)
        try:
            if work[0].stage.reads_images:
                await self._find_sources(todo, work, stop)
            images = list(todo.leading()) if not stop.is_set() else []
            if images:
                await self._answer(images, todo, work, stop)
        finally:
            for lane in lanes:
                lane.sync()

    async def _find_sources(self, todo: Todo, work: Sequence[LaneWork], stop: asyncio.Event) -> None:
        """Find out what equal images share; whose answer they get is decided in the order of the collection."""
        images = list(todo.unread())
        if not images:
            return
        dataset = build_dataset(images, IMAGES_PER_BLOCK)
        dataset = add_workers(dataset, FindSources, [work], self._cpu_pool())
        found: list[Found]
        async for found in stream_rows(dataset, stop):
            for one in found:
                todo.identify(one)

    async def _answer(
        self, images: Sequence[list[Job]], todo: Todo, work: Sequence[LaneWork], stop: asyncio.Event
    ) -> None:
        """Have the jobs done and record their outcomes as they come."""
        role = role_of(work[0].stage)
        dataset = build_dataset(images, rows_per_block(role))
        if role == "vlm":
            dataset = add_workers(dataset, Prepare, [work], self._cpu_pool())
        arguments = [work, self._spec(role), self._limits(role), self._reader]
        dataset = add_workers(dataset, Ask, arguments, self._engine_pool(role))
        rows: list[Finished]
        async for rows in stream_rows(dataset, stop):
            for finished in rows:
                todo.finish(finished)
            for lane in todo.lanes:
                lane.sync_if_due()

    def _cpu_pool(self) -> Pool:
        return Pool(resources={"num_cpus": 1}, rows=IMAGES_PER_BLOCK, max_size=self._max_decoders)

    def _engine_pool(self, role: Role) -> Pool:
        resources = self._resources[role]
        size, max_size = ray_cluster.count_engines(self._engine.replicas, resources)
        return Pool(
            resources=resources, rows=rows_per_block(role), size=size, max_size=max_size, blocks=BLOCKS_AT_AN_ENGINE
        )

    def _spec(self, role: Role) -> ModelSpec:
        """Return what one engine loads, on GPUs that Ray gives it."""
        spec = self._engine.model_spec(role, self._control.seed)
        if Path(spec.model).is_dir():
            spec = replace(spec, model=str(Path(spec.model).absolute()))
        num_gpus = int(self._resources.get(role, {}).get("num_gpus", 0))
        if num_gpus:
            spec = replace(spec, num_gpus=num_gpus, tensor_parallel_size=num_gpus)
        return replace(spec, replicas=1, requests_per_image=self._requests_per_image)

    def _limits(self, role: Role) -> HostLimits:
        engine, hang_timeout_s = self._engine, self._control.hang_timeout_s
        if role == "llm":
            return HostLimits(engine.batch_llm, hang_timeout_s)
        most = MAX_IMAGE_BYTES // (engine.max_image_tokens * IMAGE_TOKEN_SIDE_PX**2 * 3)
        return HostLimits(min(engine.batch_vlm or most, most), hang_timeout_s)

    @asynccontextmanager
    async def open_asker(self, note: Note) -> AsyncIterator[AskAll]:
        """Yield what asks one engine on the cluster, once more if it dies."""
        await self.prepare("llm")
        asker = ray_cluster.RemoteObject(Asker, self._resources["llm"], self._spec("llm"))

        async def ask(requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
            return await try_twice(partial(ask_remotely, asker, requests), note)

        try:
            yield ask
        finally:
            await asyncio.to_thread(asker.end)

    async def close(self) -> None:
        """Leave the cluster; its workers for this run end."""
        if self._is_connected:
            self._is_connected = False
            await asyncio.to_thread(ray_cluster.disconnect)
            self._connection.close()


async def ask_remotely(
    asker: ray_cluster.RemoteObject, requests: Sequence[GenerationRequest]
) -> list[GenerationResult]:
    """Return the results of requests in their order.

    Raises:
        EngineError: the engine cannot go on, or Ray gave up.
    """
    results: list[GenerationResult] | IctcError = await asyncio.to_thread(asker.call, "ask", requests)
    if isinstance(results, IctcError):
        raise results
    return results


@dataclass
class Todo:
    """What is left to do of some lanes, in the order of the collection.

    Attributes:
        pending: by number.
        images: the jobs of each image.
    """

    lanes: Sequence[Lane[Any]]
    pending: dict[int, Pending[Any]] = field(default_factory=dict)
    images: list[list[Job]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for pendings in zip(*(lane.iter_todo() for lane in self.lanes), strict=True):
            jobs = [self._add(place, pending) for place, pending in enumerate(pendings) if pending is not None]
            if jobs:
                self.images.append(jobs)

    def _add(self, place: int, pending: Pending[Any]) -> Job:
        number = len(self.pending)
        self.pending[number] = pending
        return Job(number=number, lane=place, item=pending.item)

    def unread(self) -> Iterator[list[Job]]:
        """Yield the jobs of each image whose content is not known yet."""
        for jobs in self.images:
            unread = [job for job in jobs if self.pending[job.number].content is None]
            if unread:
                yield unread

    def leading(self) -> Iterable[list[Job]]:
        """Yield the jobs of each image that is to be asked about; the others follow or are quarantined."""
        for jobs in self.images:
            there = (job for job in jobs if job.number in self.pending)
            leading = [job for job in there if self._leads(self.pending[job.number])]
            if leading:
                yield leading

    def identify(self, found: Found) -> None:
        """Take what tells an image from others; one that could not be read is done with."""
        if isinstance(found.source, UnreadableImage):
            self.finish(Finished(number=found.number, outcome=unreadable(found.source), tokens=0))
        else:
            self.pending[found.number].content = found.source

    def _leads(self, pending: Pending[Any]) -> bool:
        if not pending.lane.lead_or_follow(pending):
            return False
        verdict = pending.lane.quarantine(pending)
        if verdict is not None:
            pending.lane.finish(pending, verdict)
        return verdict is None

    def finish(self, finished: Finished) -> None:
        """Record the outcome of a job, unless it is recorded already."""
        pending = self.pending.pop(finished.number, None)
        if pending is not None:
            pending.tokens = finished.tokens
            pending.lane.finish(pending, finished.outcome)


def rows_per_block(role: Role) -> int:
    """Return how many images travel together."""
    return IMAGES_PER_BLOCK if role == "vlm" else TEXTS_PER_BLOCK
