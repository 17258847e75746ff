"""Nested levels of clusters: how they are made, whatever the proposals say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.expert import Expert
from support.result_folders import make_level

from ictc.config.levels import LevelSize
from ictc.engines.base import GenerationRequest, Task
from ictc.errors import GroupingError, StageError
from ictc.records import ClusterLevel, Guide, GuideCluster
from ictc.steps.histogram import build_histogram
from ictc.steps.synthesis.levels import find_paths, iter_problems, level_from_row, level_to_row, list_levels
from ictc.steps.synthesis.proposing import Aim
from ictc.steps.synthesis.result import Synthesis
from ictc.steps.synthesis.task import SynthesizeTask
from ictc.tracks import load_track

TREE = {
    "food": {"fruit": ["apple", "pear"], "bread": ["bagel", "toast"]},
    "machine": {"vehicle": ["car", "truck"], "tool": ["saw", "drill"]},
    "animal": {"animal": ["cat", "dog"]},
}
PATHS = {thing: (top, kind) for top, kinds in TREE.items() for kind, things in kinds.items() for thing in things}
KINDS = [kind for kinds in TREE.values() for kind in kinds]
SIZES = (LevelSize(name="coarse", num_clusters=3), LevelSize(name="fine", num_clusters=5))
COUNTS = {thing: 20 - place for place, thing in enumerate(PATHS)}
AIM = Aim(track=load_track("general"), criterion="kind of thing", num_clusters=5, seed=3)


class TreeExpert(Expert):
    """Knows the tree, and errs about some labels in some proposals; of other numbers of clusters it knows nothing.

    Attributes:
        wrong: numbers of proposals, and the labels that it misplaces in them.
        names_by_label: whether it calls a group by its first label, so that no two names are the same.
        named: what it was asked of groups, in order.
    """

    def __init__(self, wrong: frozenset[tuple[int, str]] = frozenset(), *, names_by_label: bool = False) -> None:
        super().__init__()
        self.wrong = wrong
        self.names_by_label = names_by_label
        self.named: list[Any] = []

    def propose(self, inputs: Mapping[str, Any]) -> Sequence[str]:
        names = {3: list(TREE), 5: KINDS}.get(inputs["num_clusters"], [f"n{n}" for n in range(9)])
        return names[: inputs["num_clusters"]]

    def choose(self, number: int, label: str, letters: Mapping[str, str]) -> str:
        known = next((name for name in PATHS.get(label, ()) if name in letters), None)
        if known is None or (number, label) in self.wrong:
            return Random(f"{number} {label} {len(letters)}").choice(sorted(letters.values()))
        return letters[known]

    def name(self, inputs: Mapping[str, Any]) -> str:
        self.named.append(inputs)
        first = inputs["labels"][0]["label"]
        return first if self.names_by_label else PATHS.get(first, (first, first))["parent" in inputs]


def nest(
    expert: TreeExpert,
    counts: dict[str, int] = COUNTS,
    *,
    levels: tuple[LevelSize, ...] = SIZES,
    guide: Guide | None = None,
) -> Synthesis:
    task = SynthesizeTask(
        aim=AIM.of(levels[-1].num_clusters),
        labels=build_histogram(counts),
        num_labels=60,
        num_proposals=5,
        levels=levels,
        guide=guide or Guide(),
    )
    return asyncio.run(task.run(expert))


def groups_by_level(result: Synthesis) -> list[dict[str, int]]:
    """Return the cluster of each label on each level."""
    groups = [{one.label: one.cluster_id for one in result.placed}]
    for level in reversed(result.levels[1:]):
        groups.insert(0, {label: level.parents[number - 1] for label, number in groups[0].items()})
    return groups


def test_each_level_is_what_proposals_of_its_size_agree_on() -> None:
    expert = TreeExpert(frozenset({(1, "apple"), (2, "car"), (4, "saw")}))
    result = nest(expert)
    paths = find_paths(result.levels)
    assert {one.label: paths[one.cluster_id] for one in result.placed} == PATHS
    assert [len(level.clusters) for level in result.levels] == [3, 5]
    assert result.definitions == result.levels[-1].clusters
    assert result.levels[-1].parents == tuple(sorted(result.levels[-1].parents))  # those of one parent are neighbors
    assert not list(iter_problems(result.levels))


def test_a_finer_group_is_named_in_sight_of_its_parent_and_siblings() -> None:
    expert = TreeExpert()
    nest(expert)
    fruit = next(one for one in expert.named if "parent" in one and one["labels"][0]["label"] == "apple")
    assert fruit["parent"] == {"name": "food", "description": "All that is a food."}
    assert fruit["others"] == [["bagel", "toast"]]
    assert fruit["taken"][0] == "food"
    coarse = [one for one in expert.named if "parent" not in one]
    assert [len(one["others"]) for one in coarse] == [2, 2, 2]
    assert expert.asked[Task.NAME] == 3 + 4  # an only child has the name of its parent


def test_the_order_of_labels_changes_nothing() -> None:
    wrong = frozenset({(1, "apple"), (2, "apple"), (5, "pear")})
    assert nest(TreeExpert(wrong)) == nest(TreeExpert(wrong), dict(reversed(COUNTS.items())))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_levels_nest_and_what_is_known_holds_on_each(data: st.DataObject) -> None:
    numbers = sorted(data.draw(st.sets(st.integers(2, 9), min_size=2, max_size=4)))
    levels = tuple(LevelSize(name=f"L{number}", num_clusters=number) for number in numbers)
    things = data.draw(st.permutations(sorted(COUNTS)))
    is_apart = data.draw(st.booleans())
    named = data.draw(st.integers(0, min(2, numbers[-1] - numbers[-2])))
    clusters = tuple(GuideCluster(name=f"Given {n}", labels=(things[n],)) for n in range(named))
    pair = (things[3], things[4])
    guide = Guide(clusters=clusters, **{"apart" if is_apart else "together": (pair,)})
    wrong = frozenset(data.draw(st.sets(st.tuples(st.integers(1, 5), st.sampled_from(sorted(COUNTS))))))
    result = nest(TreeExpert(wrong, names_by_label=True), levels=levels, guide=guide)
    assert not list(iter_problems(result.levels))
    assert [len(level.clusters) for level in result.levels] == numbers
    groups = groups_by_level(result)
    assert all(set(group) == set(COUNTS) for group in groups)
    assert all((group[pair[0]] != group[pair[1]]) == is_apart for group in groups)
    for thing, cluster in zip(things, clusters, strict=False):
        assert result.definitions[groups[-1][thing] - 1].name == cluster.name


def test_clusters_of_a_guide_that_lie_in_one_coarser_one_are_apart_on_the_finest_level() -> None:
    clusters = tuple(GuideCluster(name=name, labels=(name.lower(),)) for name in ("Apple", "Pear"))
    result = nest(TreeExpert(names_by_label=True), guide=Guide(clusters=clusters))
    paths = find_paths(result.levels)
    of_label = {one.label: paths[one.cluster_id] for one in result.placed}
    assert (of_label["apple"][1], of_label["pear"][1]) == ("Apple", "Pear")
    assert of_label["apple"][0] == of_label["pear"][0]


def test_what_does_not_fit_into_the_levels_is_told() -> None:
    names = ("apple", "pear", "bagel", "toast", "car")
    guide = Guide(clusters=tuple(GuideCluster(name=name) for name in names))
    with pytest.raises(GroupingError, match="need 6 groups inside the coarser ones, and there are 5"):
        nest(TreeExpert(names_by_label=True), guide=guide)
    joined = Guide(together=(("apple", "pear", "bagel"), ("car", "truck", "saw"), ("cat", "dog", "drill")))
    with pytest.raises(GroupingError, match="leave 4 of 5 groups: ask for fewer groups"):
        nest(TreeExpert(), guide=joined)


def test_a_level_that_the_model_can_not_make_ends_the_step() -> None:
    class Limited(TreeExpert):
        def answer(self, request: GenerationRequest) -> str:
            is_fine = request.task == Task.SYNTHESIZE and request.inputs["num_clusters"] == 5
            return "no clusters" if is_fine else super().answer(request)

    with pytest.raises(StageError, match="no 5 distinct clusters"):
        nest(Limited())


COARSE, FINE = make_level("coarse", "AB"), make_level("fine", "xyz", (1, 2, 2))


def test_levels_are_written_and_read() -> None:
    for level in (COARSE, FINE):
        assert level_from_row(level_to_row(level)) == level
    coarse, fine = list_levels((COARSE, FINE), {1: 5, 3: 2, None: 9})
    assert [one["size"] for one in coarse["clusters"]] == [5, 2]
    assert [one["size"] for one in fine["clusters"]] == [5, 0, 2]
    assert find_paths((COARSE, FINE)) == {1: ("A", "x"), 2: ("B", "y"), 3: ("B", "z")}
    assert find_paths(()) == {}


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([COARSE], "fewer than two levels"),
        ([COARSE, replace(FINE, name="Coarse")], "2 levels are called 'coarse'"),
        ([COARSE, replace(FINE, parents=(1, 2))], "level 'fine': 1 clusters have no parent"),
        ([COARSE, replace(FINE, parents=(1, 2, 3))], "has the parent 3, which level 'coarse' does not have"),
        ([COARSE, replace(FINE, parents=(1, 1, 1))], "no cluster lies in 'B' of level 'coarse'"),
        ([replace(COARSE, parents=(1, 1)), FINE], "it is the coarsest, and its clusters have parents"),
        ([COARSE, make_level("fine", "xyX", (1, 2, 2))], "2 clusters have the same name 'x'"),
        ([COARSE, replace(FINE, clusters=FINE.clusters[::-1])], "not numbered from 1 to 3"),
    ],
)
def test_what_does_not_nest_is_named(levels: list[ClusterLevel], words: str) -> None:
    assert words in "; ".join(iter_problems(levels))


def test_paths_follow_the_parents_over_several_levels() -> None:
    finest = make_level("finest", "pqrst", (3, 1, 1, 2, 3))
    paths = find_paths((COARSE, FINE, finest))
    assert paths[1] == ("B", "z", "p")
    assert [path[:2] for path in paths.values()] == [("B", "z"), ("A", "x"), ("A", "x"), ("B", "y"), ("B", "z")]
    assert all(len(one) == len(other) for one, other in pairwise(paths.values()))
