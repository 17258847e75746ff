"""Pipelines of Ray Data: tables of jobs in, workers over the cluster, rows of results out, streamed.

Knows how many jobs a worker gets at a time and how pools of workers grow, and nothing of what the workers do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ictc.executors.jobs import iter_buffers, pack, unpack
from ictc.executors.ray_cluster import explain_failure, load_ray
from ictc.stages.runner import STOP_GRACE_S

if TYPE_CHECKING:
    from ray.data import ActorPoolStrategy, Dataset

logger = logging.getLogger(__name__)

T = TypeVar("T")

BLOCKS_AT_AN_ENGINE = 64
"""Tables that an engine is offered at a time: 1,024 images or 4,096 texts, more than any engine runs. What it has no
room for waits in the object store."""

BUSY_SHARE = 0.25
"""A pool grows when its workers have this share of the tables that they are offered, on average: an engine with 256
images or 1,024 texts is busy, and the object store may have no room for more."""

BLOCKS_AT_A_CPU = 2
"""One being read, and the next."""

TICK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How many workers there are of a kind, and what Ray is to reserve for each.

    Attributes:
        size: at the beginning.
        max_size: most, None for as many as the cluster has room for.
        rows: in a table.
        blocks: tables that a worker gets at a time.
    """

    resources: dict[str, Any]
    rows: int
    size: int = 1
    max_size: int | None = None
    blocks: int = BLOCKS_AT_A_CPU

    def strategy(self) -> ActorPoolStrategy:
        """Return the same in Ray's words."""
        from ray.data import ActorPoolStrategy

        return ActorPoolStrategy(
            min_size=1,
            initial_size=self.size,
            max_size=self.max_size,
            max_tasks_in_flight_per_actor=self.blocks,
            max_concurrent_calls_per_actor=self.blocks,
        )


def build_dataset(rows: Sequence[Sequence[Any]], rows_per_block: int) -> Dataset:
    """Return a dataset of these rows, so many to a table."""
    from ray.data import DataContext, from_arrow_refs

    put = load_ray().put
    scaling = DataContext.get_current().autoscaling_config
    scaling.actor_pool_util_upscaling_threshold = BUSY_SHARE
    scaling.actor_pool_util_downscaling_threshold = -1.0  # never: a model takes minutes to load
    remaining = iter(rows)
    blocks = iter(lambda: list(islice(remaining, rows_per_block)), [])
    return from_arrow_refs([put(pack(block)) for block in blocks])


def add_workers(dataset: Dataset, worker: type, arguments: Sequence[Any], pool: Pool) -> Dataset:
    """Return the dataset of what workers make of the tables; a lost worker's tables go to others."""
    return dataset.map_batches(
        worker,
        fn_constructor_args=tuple(arguments),
        batch_size=pool.rows,
        batch_format="pyarrow",
        compute=pool.strategy(),
        **pool.resources,
    )


async def stream_rows(dataset: Dataset, stop: asyncio.Event) -> AsyncIterator[list[Any]]:
    """Yield the rows of a dataset as they come, and [] every second; return a little after a stop was asked for.

    Nothing is read ahead, so that Ray holds the workers back while the caller is busy.

    Raises:
        IctcError: a row is an error.
        EngineError: Ray cannot go on; none once a stop was asked for, as the signal may have reached it as well.
    """
    batches = iter_tables(dataset)
    following = None
    deadline = asyncio.create_task(_deadline(stop))
    try:
        while not deadline.done():
            following = following or _start(next, batches, None)
            await asyncio.wait([following, deadline], timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                yield []
                continue
            table = _result(following, stop)
            if table is None:
                return
            for buffer in iter_buffers(table):
                yield unpack(buffer)
            following = None
    finally:
        deadline.cancel()
        if following is None or following.done():  # else it ends with the connection
            await asyncio.to_thread(batches.close)


def iter_tables(dataset: Dataset) -> Generator[Any, None, None]:
    """Yield the tables of a dataset as they come; blocks."""
    yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


async def _deadline(stop: asyncio.Event) -> None:
    await stop.wait()
    await asyncio.sleep(STOP_GRACE_S)


def _start(function: Callable[..., T], *arguments: Any) -> asyncio.Task[T]:
    """Call a function in a thread; that it failed is no news if nobody waits for it any more."""
    task = asyncio.create_task(asyncio.to_thread(function, *arguments))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _result(task: asyncio.Task[Any], stop: asyncio.Event) -> Any:
    try:
        return task.result()
    except Exception as error:
        logger.info("Ray gave up", exc_info=True)
        if stop.is_set():
            return None
        raise explain_failure(error) from error
