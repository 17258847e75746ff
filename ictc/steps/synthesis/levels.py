"""Nested clusters as files say them, and what holds for them whoever wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ictc.records import ClusterDefinition, ClusterLevel
from ictc.tracks.spelling import plain_form

Path = tuple[str, ...]
"""Names of clusters, each in the one before."""


def level_to_row(level: ClusterLevel) -> dict[str, Any]:
    """Return a level as files have it; `parent` of a cluster is the number of the one above."""
    clusters = [one.to_row() for one in level.clusters]
    if level.parents:
        clusters = [{**one, "parent": parent} for one, parent in zip(clusters, level.parents, strict=True)]
    return {"name": level.name, "num_clusters": len(clusters), "clusters": clusters}


def level_from_row(row: Mapping[str, Any]) -> ClusterLevel:
    """Return the level that `level_to_row` wrote, or a row that says more of its clusters.

    Raises:
        KeyError, TypeError: it is no such row.
    """
    clusters = row["clusters"]
    return ClusterLevel(
        name=row["name"],
        clusters=tuple(ClusterDefinition.from_row(one) for one in clusters),
        parents=tuple(one["parent"] for one in clusters if "parent" in one),
    )


def find_ancestors(levels: Sequence[ClusterLevel]) -> list[tuple[int, ...]]:
    """Return for each cluster of the finest level the numbers of all that it lies in, the coarsest first, its own last.

    Args:
        levels: the coarsest first, in which `iter_problems` finds none.
    """
    above: list[tuple[int, ...]] = [(one.cluster_id,) for one in levels[0].clusters]
    for level in levels[1:]:
        above = [
            (*above[parent - 1], one.cluster_id) for one, parent in zip(level.clusters, level.parents, strict=True)
        ]
    return above


def list_levels(levels: Sequence[ClusterLevel], sizes: Mapping[int | None, int]) -> list[dict[str, Any]]:
    """Return the levels as files have them, each cluster with the number of its images.

    Args:
        sizes: of the clusters of the finest level.
    """
    ancestors = find_ancestors(levels)
    counted: list[Counter[int]] = [Counter() for _ in levels]
    for numbers in ancestors:
        for counts, number in zip(counted, numbers, strict=True):
            counts[number] += sizes.get(numbers[-1], 0)
    rows = [level_to_row(level) for level in levels]
    for row, counts in zip(rows, counted, strict=True):
        row["clusters"] = [{**one, "size": counts[one["cluster_id"]]} for one in row["clusters"]]
    return rows


def find_paths(levels: Sequence[ClusterLevel]) -> dict[int, Path]:
    """Return the path of each cluster of the finest level, by its number; {} without levels."""
    if not levels:
        return {}
    return {
        ancestors[-1]: tuple(level.clusters[number - 1].name for level, number in zip(levels, ancestors, strict=True))
        for ancestors in find_ancestors(levels)
    }


def iter_problems(levels: Sequence[ClusterLevel]) -> Iterator[str]:
    """Yield why levels are not nested clusters, each with a name of its own on its level."""
    if len(levels) < 2:
        yield "there are fewer than two levels"
    for name, count in Counter(level.name.casefold() for level in levels).items():
        if count > 1:
            yield f"{count} levels are called {name!r}"
    for level in levels:
        yield from (f"level {level.name!r}: {problem}" for problem in _iter_problems_of_one(level))
    if levels and levels[0].parents:
        yield f"level {levels[0].name!r}: it is the coarsest, and its clusters have parents"
    for coarse, fine in pairwise(levels):
        yield from (f"level {fine.name!r}: {problem}" for problem in _iter_problems_between(coarse, fine))


def _iter_problems_of_one(level: ClusterLevel) -> Iterator[str]:
    if [one.cluster_id for one in level.clusters] != list(range(1, len(level.clusters) + 1)):
        yield f"the clusters are not numbered from 1 to {len(level.clusters)}"
    yield from iter_repeated_names(one.name for one in level.clusters)


def iter_repeated_names(names: Iterable[str]) -> Iterator[str]:
    """Yield which names are those of several clusters, or none at all."""
    for name, count in Counter(map(plain_form, names)).items():
        if not name:
            yield "has no name"
        elif count > 1:
            yield f"{count} clusters have the same name {name!r}"


def _iter_problems_between(coarse: ClusterLevel, fine: ClusterLevel) -> Iterator[str]:
    if len(fine.parents) != len(fine.clusters):
        yield f"{len(fine.clusters) - len(fine.parents)} clusters have no parent"
    known = {one.cluster_id: one.name for one in coarse.clusters}
    for parent in sorted({*fine.parents} - {*known}):
        yield f"a cluster has the parent {parent}, which level {coarse.name!r} does not have"
    for number in sorted({*known} - {*fine.parents}):
        yield f"no cluster lies in {known[number]!r} of level {coarse.name!r}"
