"""What travels between the driver and its workers, as rows of Arrow tables: a row for each image, pickled.

The workers run the same code as the driver; who can write into the cluster's object store can do so anyway, so pickle
opens no door. An error of ours travels as a row too: Ray would wrap it in tracebacks.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ictc.engines.base import GenerationRequest
from ictc.errors import IctcError
from ictc.records import Source, UnreadableImage
from ictc.stages.outcome import Outcome

if TYPE_CHECKING:
    import pyarrow

COLUMN = "pickled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image that goes through one lane; a row holds those of the same image.

    Attributes:
        number: what its answer is known by.
        lane: place of the lane among those of the step.
        request: what to ask first, or the outcome where no model is needed; None before that is known.
    """

    number: int
    lane: int
    item: Any
    request: GenerationRequest | Outcome | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What tells the image of a job from others, if it can be read; None if its input digest does."""

    number: int
    source: Source | UnreadableImage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How the image of a job leaves its lane, and the tokens that it took, None if that can't be told."""

    number: int
    outcome: Outcome
    tokens: int | None


def pack(rows: Iterable[Sequence[Any] | IctcError]) -> pyarrow.Table:
    """Return a table with a row for each of `rows`."""
    import pyarrow

    pickled = [pickle.dumps(row, pickle.HIGHEST_PROTOCOL) for row in rows]
    return pyarrow.table({COLUMN: pyarrow.array(pickled, pyarrow.large_binary())})


def iter_buffers(table: pyarrow.Table) -> Iterator[pyarrow.Buffer]:
    """Yield each row as it lies in the table, for `unpack`: nothing is copied before that."""
    for value in table.column(COLUMN):
        yield value.as_buffer()


def unpack(buffer: pyarrow.Buffer) -> list[Any]:
    """Return what a row holds.

    Raises:
        IctcError: the row is one.
    """
    row = pickle.loads(buffer)
    if isinstance(row, IctcError):
        raise row
    return list(row)
