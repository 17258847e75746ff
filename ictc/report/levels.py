"""What the page says of nested clusters: the coarser ones, what lies in each, and the order of the tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ictc.report.clusters import ClusterCard, clip
from ictc.report.reading import RunReport
from ictc.steps.synthesis.levels import find_ancestors, list_levels


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A cluster of a coarser level.

    Attributes:
        anchor: its place in the page, unless several runs are on it.
        share: of all images that were judged.
        members: the places of the finest clusters in it, in the order of their definitions.
        inside: the branches that it lies in, the coarsest first.
    """

    anchor: str
    level: str
    name: str
    description: str
    size: int
    share: float
    members: tuple[int, ...]
    inside: tuple[Branch, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A cluster of the finest level where it stands in the tree.

    Attributes:
        begins: the branches that begin with it, the coarsest first.
        inside: all that it lies in, the coarsest first.
        siblings: the other clusters in the last of these, largest first.
    """

    card: ClusterCard
    begins: tuple[Branch, ...] = ()
    inside: tuple[Branch, ...] = ()
    siblings: tuple[ClusterCard, ...] = ()


def build_branches(run: RunReport) -> list[list[Branch]]:
    """Return the clusters of each coarser level, the coarsest first, in their order; [] if clusters are not nested."""
    levels = run.results.levels
    if not levels:
        return []
    ancestors = find_ancestors(levels)
    sizes: dict[int | None, int] = dict(enumerate(run.sizes, start=1))
    branches: list[list[Branch]] = []
    for place, row in enumerate(list_levels(levels, sizes)[:-1]):
        branches.append(
            [
                Branch(
                    anchor=f"level-{place + 1}-{one['cluster_id']}",
                    level=clip(row["name"]),
                    name=clip(one["name"]),
                    description=clip(one["description"]),
                    size=one["size"],
                    share=one["size"] / len(run.results.judged),
                    members=tuple(n for n, path in enumerate(ancestors) if path[place] == one["cluster_id"]),
                    inside=_lineage(branches[-1][one["parent"] - 1]) if place else (),
                )
                for one in row["clusters"]
            ]
        )
    return branches


def _lineage(branch: Branch) -> tuple[Branch, ...]:
    return (*branch.inside, branch)


def order_tree(cards: Sequence[ClusterCard], branches: Sequence[Sequence[Branch]]) -> list[Leaf]:
    """Return the finest clusters in the order of the tree: of each branch, the larger one first.

    Args:
        cards: in the order of the definitions.
        branches: as from `build_branches`.
    """
    if not branches:
        return [Leaf(card=card) for card in sorted(cards, key=lambda card: -card.size)]
    lineages = {member: _lineage(branch) for branch in branches[-1] for member in branch.members}
    ordered = sorted(lineages, key=lambda member: (*_ranks(lineages[member]), -cards[member].size, member))
    return list(_iter_leaves(ordered, cards, lineages))


def _ranks(lineage: Sequence[Branch]) -> Iterator[tuple[int, str]]:
    return ((-branch.size, branch.anchor) for branch in lineage)


def _iter_leaves(
    ordered: Sequence[int], cards: Sequence[ClusterCard], lineages: dict[int, tuple[Branch, ...]]
) -> Iterator[Leaf]:
    before: tuple[Branch, ...] = ()
    for member in ordered:
        inside = lineages[member]
        siblings = [other for other in ordered if other != member and other in inside[-1].members]
        yield Leaf(
            card=cards[member],
            begins=tuple(branch for branch in inside if branch not in before),
            inside=inside,
            siblings=tuple(cards[other] for other in siblings),
        )
        before = inside


def describe_levels(run: RunReport) -> list[dict[str, Any]]:
    """Return each coarser level for the script: its name, and its clusters with the places of the finest ones."""
    return [
        {
            "name": branches[0].level,
            "clusters": [{"name": branch.name, "members": branch.members} for branch in branches],
        }
        for branches in build_branches(run)
    ]
