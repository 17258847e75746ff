"""What Step 2b comes to, and where it is kept."""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path

import orjson

from ictc.records import ClusterDefinition, ClusterLevel
from ictc.steps.synthesis.levels import level_from_row, level_to_row
from ictc.storage.atomic import write_atomic
from ictc.storage.json_files import read_json

DEFINITIONS = "definitions.json"
LABELS_READ = "labels_read.json"
PLACED_LABELS = "placed_labels.json"
STABILITY = "stability.json"
LEVELS = "levels.json"
MERGED = "merged_groups.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedLabel:
    """A label and the cluster that several proposals agree on.

    Attributes:
        count: images that carry it.
        support: how far the proposals agree, in [0, 1].
    """

    label: str
    count: int
    cluster_id: int
    support: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityOfNumber:
    """How far several sets of so many clusters agree, beyond chance.

    Attributes:
        stability: the probability that two labels of one cluster share one in another set, beyond that of any two.
        error: its standard error.
    """

    num_clusters: int
    stability: float
    error: float


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What Step 2b came to.

    Attributes:
        num_labels: how many labels of the histogram the model read, the most frequent ones; None for all.
        placed: the labels that the clusters were made of, the most frequent first; () if one request made them.
        curve: from what the number of clusters was chosen; () if it was given.
        num_merged: how many groups fewer there are than were chosen, as small ones were merged.
        levels: all levels, the coarsest first, the last of them being `definitions`; () if they are not nested.
    """

    definitions: tuple[ClusterDefinition, ...]
    num_labels: int | None = None
    placed: tuple[PlacedLabel, ...] = ()
    curve: tuple[StabilityOfNumber, ...] = ()
    levels: tuple[ClusterLevel, ...] = ()
    _: KW_ONLY
    num_merged: int = 0


def load_synthesis(folder: Path) -> Synthesis | None:
    """Return what lies in a folder, None if there is nothing or it is damaged."""
    rows, levels = read_json(folder / DEFINITIONS), read_json(folder / LEVELS)
    if rows is None or (levels is None and (folder / LEVELS).exists()):
        return None
    return Synthesis(
        tuple(ClusterDefinition(**row) for row in rows),
        read_json(folder / LABELS_READ),
        tuple(PlacedLabel(**row) for row in read_json(folder / PLACED_LABELS) or ()),
        tuple(StabilityOfNumber(**row) for row in read_json(folder / STABILITY) or ()),
        tuple(level_from_row(row) for row in levels or ()),
        num_merged=read_json(folder / MERGED) or 0,
    )


def save_synthesis(folder: Path, result: Synthesis) -> None:
    """Keep a result in a folder; the definitions, which make it count, come last.

    Raises:
        StorageError: the disk refused.
    """
    for name, value, is_there in (
        (LABELS_READ, result.num_labels, result.num_labels is not None),
        (PLACED_LABELS, [asdict(one) for one in result.placed], bool(result.placed)),
        (STABILITY, [asdict(one) for one in result.curve], bool(result.curve)),
        (MERGED, result.num_merged, result.num_merged > 0),
        (LEVELS, [level_to_row(level) for level in result.levels], bool(result.levels)),
    ):
        if is_there or (folder / name).exists():
            write_atomic(folder / name, orjson.dumps(value))
    write_atomic(folder / DEFINITIONS, orjson.dumps([definition.to_row() for definition in result.definitions]))
