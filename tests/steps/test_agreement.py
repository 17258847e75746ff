"""`--synthesize_runs`: clusters that several proposals agree on, whatever the order of images, shards and crashes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat
from support.expert import Expert
from support.faulty_disk import Fault
from support.fork_server import ForkServer

from ictc.engines.base import GenerationRequest, Task
from ictc.errors import StageError
from ictc.records import Guide, GuideCluster
from ictc.steps.histogram import build_histogram
from ictc.steps.none_of_these import NONE_NAME
from ictc.steps.synthesis.naming import LabelGroup, meaning_of, name_groups
from ictc.steps.synthesis.proposing import Aim
from ictc.steps.synthesis.task import SynthesizeTask
from ictc.tracks import load_track

RUNS = ("--synthesize_runs", 3)
KINDS = {"fruit": ["apple", "pear", "plum"], "vehicle": ["car", "truck", "bus"], "tool": ["saw", "drill", "file"]}
AIM = Aim(track=load_track("general"), criterion="kind of thing", num_clusters=3, seed=3)


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_flat(tmp_path_factory.mktemp("ads"), 40)


class KindExpert(Expert):
    """Knows which kind each thing is of, and errs about some labels in some proposals.

    Attributes:
        wrong: numbers of proposals, and the labels that it misplaces in them.
        names: what it calls each group, by the kind of its first label; by default the kind, or that label.
    """

    def __init__(
        self,
        wrong: frozenset[tuple[int, str]] = frozenset(),
        *,
        names: dict[str, list[str]] | None = None,
        names_by_label: bool = False,
    ) -> None:
        super().__init__()
        self.wrong = wrong
        self.names_by_label = names_by_label
        self.names = names or {}

    def propose(self, inputs: Mapping[str, Any]) -> Sequence[str]:
        return list(KINDS)

    def choose(self, number: int, label: str, letters: Mapping[str, str]) -> str:
        kind = kind_of(label)
        if (number, label) in self.wrong:
            kind = next(other for other in KINDS if other != kind)
        return letters[kind]

    def name(self, inputs: Mapping[str, Any]) -> str:
        first = inputs["labels"][0]["label"]
        queue = self.names.get(kind_of(first), [])
        return queue.pop(0) if queue else first if self.names_by_label else kind_of(first)


class Muddler(KindExpert):
    """Knows the kinds; of more or fewer clusters than there are kinds, it puts labels anywhere."""

    def propose(self, inputs: Mapping[str, Any]) -> Sequence[str]:
        kinds = [*KINDS, *(f"more {number}" for number in range(20))]
        return kinds[: inputs["num_clusters"]]

    def choose(self, number: int, label: str, letters: Mapping[str, str]) -> str:
        if set(letters) == set(KINDS):
            return letters[kind_of(label)]
        return Random(f"{number} {label} {len(letters)}").choice(sorted(letters.values()))


def kind_of(label: str) -> str:
    return next((kind for kind, things in KINDS.items() if label in things), "tool")


COUNTS = {thing: 10 - place for place, thing in enumerate(thing for things in KINDS.values() for thing in things)}


def agree(expert: Expert, counts: dict[str, int] = COUNTS, num_labels: int = 60, guide: Guide | None = None) -> Any:
    task = SynthesizeTask(
        aim=AIM, labels=build_histogram(counts), num_labels=num_labels, num_proposals=5, guide=guide or Guide()
    )
    return asyncio.run(task.run(expert))


def test_as_many_clusters_are_chosen_as_proposals_agree_on() -> None:
    task = SynthesizeTask(
        aim=AIM.of(6), labels=build_histogram(COUNTS), num_labels=60, num_proposals=5, chooses_number=True
    )
    result = asyncio.run(task.run(Muddler()))
    assert groups_of(result) == WANTED
    assert {one.name for one in result.definitions} == set(KINDS)
    assert [point.num_clusters for point in result.curve] == [2, 3, 4, 5, 6]
    assert max(result.curve, key=lambda point: point.stability).num_clusters == 3
    assert "3 clusters, the fewest on which proposals agree" in task.remark(result)


class MergeJudge(Muddler):
    """Knows, too, whether a small group belongs to the one next to it."""

    def __init__(self, *, belongs: bool) -> None:
        super().__init__()
        self.belongs = belongs

    def choose(self, number: int, label: str, letters: Mapping[str, str]) -> str:
        if NONE_NAME not in letters:
            return super().choose(number, label, letters)
        (other,) = {*letters} - {NONE_NAME}
        return letters[other if self.belongs else NONE_NAME]


@pytest.mark.parametrize(("belongs", "number"), [(True, 2), (False, 3)])
def test_a_group_of_few_images_joins_the_next_one_if_the_model_says_so(belongs: bool, number: int) -> None:
    counts = {thing: 1 if kind_of(thing) == "tool" else 100 for thing in COUNTS}
    task = SynthesizeTask(
        aim=AIM.of(6), labels=build_histogram(counts), num_labels=60, num_proposals=5, chooses_number=True
    )
    result = asyncio.run(task.run(MergeJudge(belongs=belongs)))
    assert len(result.definitions) == number
    assert result.num_merged == 3 - number
    assert (frozenset(KINDS["tool"]) in groups_of(result)) == (not belongs)
    assert {frozenset(KINDS[kind]) for kind in ("fruit", "vehicle")} & groups_of(result)
    assert ("small groups merged with the ones next to them: 1" in task.remark(result)) == belongs
    assert "3 clusters, the fewest" in task.remark(result)


def groups_of(result: Any) -> set[frozenset[str]]:
    numbers = {one.cluster_id for one in result.placed}
    return {frozenset(one.label for one in result.placed if one.cluster_id == number) for number in numbers}


WANTED = {frozenset(things) for things in KINDS.values()}


def test_what_proposals_agree_on_outvotes_what_one_of_them_says() -> None:
    wrong = frozenset({(1, "apple"), (2, "bus"), (3, "bus"), (4, "saw")})
    result = agree(KindExpert(wrong))
    assert groups_of(result) == WANTED
    support = {one.label: one.support for one in result.placed}
    assert support["drill"] > support["saw"] > support["bus"]
    assert {kind_of(one.label): result.definitions[one.cluster_id - 1].name for one in result.placed} == {
        kind: kind for kind in KINDS
    }


@pytest.mark.parametrize("num_failing", [2, 3])
def test_proposals_that_fail_are_left_out_unless_they_are_most(num_failing: int) -> None:
    class Unreliable(KindExpert):
        def answer(self, request: GenerationRequest) -> str:
            failing = {f"synthesize-{number}" for number in range(1, num_failing + 1)}
            return "no clusters" if request.request_id in failing else super().answer(request)

    if num_failing < 3:
        assert groups_of(agree(Unreliable())) == WANTED
    else:
        with pytest.raises(StageError, match="no 3 distinct clusters in 3 attempts"):
            agree(Unreliable())


def test_the_order_of_labels_changes_nothing() -> None:
    backwards = dict(reversed(COUNTS.items()))
    wrong = frozenset({(1, "apple"), (2, "apple"), (5, "pear")})
    assert agree(KindExpert(wrong)) == agree(KindExpert(wrong), backwards)


def test_labels_beyond_one_prompt_are_placed_where_a_proposal_read_them() -> None:
    result = agree(KindExpert(), num_labels=4)
    assert {one.label for one in result.placed} > {label for label, _ in build_histogram(COUNTS).head(4).labels}
    assert all(len({kind_of(label) for label in group}) == 1 for group in groups_of(result))


def test_names_that_mean_the_same_are_asked_for_again() -> None:
    expert = KindExpert(names={"fruit": ["Things & Stuff"], "tool": ["stuff and thing", "Tools"]})
    result = agree(expert)
    assert {one.name for one in result.definitions} == {"Things & Stuff", "vehicle", "Tools"}
    assert expert.asked[Task.NAME] == 4


def test_a_model_that_has_one_name_for_all_is_told_of() -> None:
    groups = [LabelGroup(labels=[(thing, 1) for thing in things]) for things in KINDS.values()]
    expert = KindExpert(names={kind: ["Stuff"] * 9 for kind in KINDS})
    with pytest.raises(StageError, match="gives 2 of 3 groups of labels the names of others; lower --num_clusters"):
        asyncio.run(name_groups(expert, groups, AIM))


def test_names_are_compared_by_their_words() -> None:
    assert meaning_of("Cars & Trucks") == meaning_of("The truck and car")
    assert meaning_of("Men's Shoes") != meaning_of("Women's Shoes")
    assert meaning_of("of the") != meaning_of("and")


def test_every_frequent_label_is_in_exactly_one_cluster(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    told = ictc.succeed(ads, tmp_path / "out", *RUNS)
    assert "what 3 proposals agree on" in told.stderr + told.stdout
    metadata = load(tmp_path / "out", "step2b_metadata.json")
    assert metadata["synthesize_runs"] == 3
    placed = {one["label"]: one["cluster_id"] for one in metadata["placed_labels"]}
    assert len(placed) == len(metadata["placed_labels"])
    assert placed.keys() >= {entry["label"] for entry in metadata["labels"]}
    assert set(placed.values()) == {1, 2, 3}
    assert all(0 <= one["support"] <= 1 for one in metadata["placed_labels"])
    assert len(load(tmp_path / "out", "step2b_dynamic_clusters.json")) == 3
    assert ictc("verify", tmp_path / "out").exit_code == 0
    assert not list((tmp_path / "out").glob("state/synthesize/*/answers"))


def test_shards_merged_agree_on_what_the_whole_does(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "whole", *RUNS)
    shards = [tmp_path / "shards" / str(number) for number in range(3)]
    for number, shard in enumerate(shards):
        ictc.succeed(ads, shard, "--num_shards", 3, "--shard_index", number)
    merged = ictc("merge", *shards, "--output_dir", tmp_path / "merged", "--num_clusters", 3, *RUNS)
    assert merged.exit_code == 0, merged.stderr
    names = ("step2b_dynamic_clusters.json", "step2b_metadata.json", "step3_final_assignment.json")
    whole, other = exported_bytes(tmp_path / "whole"), exported_bytes(tmp_path / "merged")
    assert [whole[name] for name in names] == [other[name] for name in names]


def test_another_number_of_proposals_is_another_question(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out")
    one = exported_bytes(tmp_path / "out")
    told = ictc.succeed(ads, tmp_path / "out", *RUNS)
    assert "proposals" in told.stdout + told.stderr
    ictc.succeed(ads, tmp_path / "out")
    assert exported_bytes(tmp_path / "out") == one
    ictc.succeed(ads, tmp_path / "again", *RUNS)
    ictc.succeed(ads, tmp_path / "out", *RUNS)
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "again")
    told = ictc("recluster", "--source_dir", tmp_path / "out", "--output_dir", tmp_path / "k4", "--num_clusters", 4)
    assert told.exit_code == 0, told.stderr
    assert load(tmp_path / "k4", "step2b_metadata.json")["synthesize_runs"] == 3


SALE = Guide(
    clusters=(GuideCluster(name="Sales", description="All that is cheaper now.", labels=("bus", "Apples")),),
    together=(("car", "truck", "boat"),),
    apart=(("saw", "drill"),),
)


def test_what_is_known_of_the_clusters_holds_whatever_the_proposals_say() -> None:
    expert = KindExpert()
    result = agree(expert, guide=SALE)
    group = {one.label: one.cluster_id for one in result.placed}
    assert group["bus"] == group["apple"]
    sales = result.definitions[group["bus"] - 1]
    assert (sales.name, sales.description) == ("Sales", "All that is cheaper now.")
    assert group["car"] == group["truck"]
    assert group["saw"] != group["drill"]
    assert set(group) == set(COUNTS)  # the name of a cluster is no label
    assert expert.asked[Task.NAME] == 2


@settings(max_examples=40)
@given(st.data())
def test_any_guide_that_can_be_kept_is_kept(data: st.DataObject) -> None:
    """Of clusters with labels of their own, and pairs that do not contradict them."""
    things = data.draw(st.permutations(sorted(COUNTS)))
    named = data.draw(st.integers(0, 3))
    clusters = tuple(GuideCluster(name=f"Given {n}", description="d", labels=(things[n],)) for n in range(named))
    pair = (things[3], things[4])
    is_apart = data.draw(st.booleans())
    guide = Guide(clusters=clusters, **{"apart" if is_apart else "together": (pair,)})
    wrong = frozenset(data.draw(st.sets(st.tuples(st.integers(1, 5), st.sampled_from(sorted(COUNTS))))))
    result = agree(KindExpert(wrong, names_by_label=True), guide=guide)
    group = {one.label: one.cluster_id for one in result.placed}
    assert len(result.definitions) == 3
    assert (group[pair[0]] != group[pair[1]]) == is_apart
    for number, cluster in enumerate(clusters):
        assert result.definitions[group[things[number]] - 1].name == cluster.name
    assert set(group) == set(COUNTS)


GUIDE = """
clusters:
  - name: Odd ones
    labels: [quiet river, no such label]
together:
  - [golden cedar, calm plain]
"""


def test_a_guide_is_a_file_that_people_write(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    (tmp_path / "guide.yaml").write_text(GUIDE)
    told = ictc.succeed(ads, tmp_path / "out", "--guide", tmp_path / "guide.yaml")
    assert "what 5 proposals agree on" in told.stdout + told.stderr
    assert "'no such label'" in told.stdout + told.stderr
    assert "of --guide" in told.stdout + told.stderr
    assert "Odd ones" in {one["name"] for one in load(tmp_path / "out", "step2b_dynamic_clusters.json")}
    (tmp_path / "guide.yaml").write_text(GUIDE.replace("Odd ones", "Even ones"))
    ictc.succeed(ads, tmp_path / "out", "--guide", tmp_path / "guide.yaml")
    assert "Even ones" in {one["name"] for one in load(tmp_path / "out", "step2b_dynamic_clusters.json")}
    edited = ictc(
        *("recluster", "--source_dir", tmp_path / "out", "--output_dir", tmp_path / "edited"),
        *("--clusters", tmp_path / "out" / "step2b_dynamic_clusters.json"),
    )
    assert edited.exit_code == 0, edited.stderr


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("clusters: [{name: A}, {name: a}]", (), "two clusters are named 'a'"),
        ("clusters: [{name: A, label: [b]}]", (), "clusters.1.label: Extra inputs are not permitted"),
        ("clusters: [{name: '...'}]", (), "the name '...' can't be seen"),
        ("together: [[one]]", (), "together: ['one'] needs two labels or more"),
        ("{}", (), "says nothing; give it clusters, together or apart"),
        ("- a", (), "Input should be a valid dictionary"),
        ("a: [", (), "while parsing"),
        ("clusters: [{name: A}, {name: B}, {name: C}, {name: D}]", (), "names 4 clusters, and --num_clusters is 3"),
        ("clusters: [{name: A}]", ("--synthesize_runs", 1), "leave out --synthesize_runs 1"),
    ],
)
def test_a_guide_that_makes_no_sense_is_refused_in_one_line(
    ictc: Ictc, ads: Path, tmp_path: Path, text: str, flags: tuple[object, ...], words: str
) -> None:
    (tmp_path / "guide.yaml").write_text(text)
    told = ictc.run(ads, tmp_path / "out", "--guide", tmp_path / "guide.yaml", *flags)
    assert told.exit_code == 2
    (error,) = [line for line in told.stderr.splitlines() if "--guide" in line]
    assert words in error


def test_a_guide_that_contradicts_itself_is_told_where_its_labels_are_known(
    ictc: Ictc, ads: Path, tmp_path: Path
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    first, second = (entry["label"] for entry in load(tmp_path / "out", "step2b_metadata.json")["labels"][:2])
    (tmp_path / "guide.yaml").write_text(f"together: [[{first}, {second}]]\napart: [[{first}, {second}]]")
    told = ictc.run(ads, tmp_path / "out", "--guide", tmp_path / "guide.yaml")
    assert told.exit_code == 1
    assert "must be both together and apart" in told.stderr
    (tmp_path / "guide.yaml").write_text("together: [[none, nothing]]\napart: [[none, nothing]]")
    ictc.succeed(ads, tmp_path / "out", "--guide", tmp_path / "guide.yaml")  # of labels that are not there


def test_a_missing_guide_is_named(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    told = ictc.run(ads, tmp_path / "out", "--guide", tmp_path / "none.yaml")
    assert (told.exit_code, "none.yaml: cannot be read: No such file" in told.stderr) == (2, True)


def test_numbers_that_the_model_can_not_make_are_not_tried() -> None:
    class Limited(Muddler):
        def answer(self, request: GenerationRequest) -> str:
            inputs: Any = request.inputs
            is_too_much = request.task == Task.SYNTHESIZE and inputs["num_clusters"] > 4
            fails = is_too_much and request.request_id != "synthesize-1"
            return "no clusters" if fails else super().answer(request)

    for num_proposals in (3, 5):
        task = SynthesizeTask(
            aim=AIM.of(6),
            labels=build_histogram(COUNTS),
            num_labels=60,
            num_proposals=num_proposals,
            chooses_number=True,
        )
        result = asyncio.run(task.run(Limited()))
        assert [point.num_clusters for point in result.curve] == [2, 3, 4]
        assert groups_of(result) == WANTED


def test_fewer_labels_than_the_guide_has_clusters_are_told_of(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    names = ", ".join(f"{{name: Given {number}}}" for number in "ABCDEF")
    (tmp_path / "guide.yaml").write_text(f"clusters: [{names}]")
    flags = ("--num_clusters", "auto", "--guide", tmp_path / "guide.yaml", "--max_images", 3)
    told = ictc.run(ads, tmp_path / "out", *flags)
    assert told.exit_code == 1
    assert "distinct labels can't make 6 clusters" in told.stderr


def test_the_number_of_clusters_is_chosen_and_said(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    auto = ("--num_clusters", "auto", "--max_clusters", 4)
    told = ictc.succeed(ads, tmp_path / "out", *auto)
    said = told.stdout + told.stderr
    chosen = len(load(tmp_path / "out", "step2b_dynamic_clusters.json"))
    assert f"{chosen} clusters, the fewest on which proposals agree" in said
    metadata = load(tmp_path / "out", "step2b_metadata.json")
    assert (metadata["num_clusters"], metadata["max_clusters"], metadata["synthesize_runs"]) == (chosen, 4, 5)
    assert [point["num_clusters"] for point in metadata["stability"]] == [2, 3, 4]
    assert load(tmp_path / "out", "step3_metadata.json")["num_clusters"] == chosen
    assert ictc("verify", tmp_path / "out").exit_code == 0
    assert ictc("status", tmp_path / "out").exit_code == 0
    exports = exported_bytes(tmp_path / "out")
    again = ictc.succeed(ads, tmp_path / "out", *auto)
    assert "Step 3 assignments: 0/" not in again.stderr
    assert exported_bytes(tmp_path / "out") == exports
    told = ictc(
        *("recluster", "--source_dir", tmp_path / "out", "--output_dir", tmp_path / "again"),
        *("--num_clusters", "auto", "--max_clusters", 3),
    )
    assert told.exit_code == 0, told.stderr
    assert [point["num_clusters"] for point in load(tmp_path / "again", "step2b_metadata.json")["stability"]] == [2, 3]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--num_clusters", "auto", "--synthesize_runs", 2), "leave out --synthesize_runs, or raise it to 3"),
        (("--num_clusters", "automatic"), "--num_clusters automatic: input should be a valid integer"),
        (
            ("--num_clusters", "auto", "--max_clusters", 1),
            "--max_clusters 1: input should be greater than or equal to 2",
        ),
        (
            ("--num_clusters", "auto", "--max_clusters", 30, "--top_hooks", 20),
            "--max_clusters 30 can't be made from the 20",
        ),
    ],
)
def test_a_choice_that_can_not_be_made_is_refused(
    ictc: Ictc, ads: Path, tmp_path: Path, flags: tuple[object, ...], words: str
) -> None:
    told = ictc.run(ads, tmp_path / "out", *flags)
    assert told.exit_code == 2
    assert words in told.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("scratch")) as server:
        yield server


def test_a_stop_is_heeded_between_the_questions_and_the_same_command_goes_on(
    server: ForkServer, ads: Path, tmp_path: Path
) -> None:
    command = ("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", "--engine", "scripted", "--num_clusters", 3)
    fault = Fault("synthesize journal: sync", effect="stop")
    stopped = server.run(*command, *RUNS, root=tmp_path / "out", fault=fault, quickly=True)
    assert stopped.was_stopped
    assert not [line for line in stopped.asked if " name-" in line]
    resumed = server.run(*command, *RUNS, root=tmp_path / "out", quickly=True)
    assert resumed.exit_code == 0, resumed.stderr
    assert not [line for line in resumed.asked if " synthesize-" in line]


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_step_killed_between_its_answers_asks_none_again(
    server: ForkServer, ads: Path, tmp_path: Path, nth: int
) -> None:
    def run(path: Path, fault: Fault | None = None) -> Any:
        command = ("run", "--ads_dir", ads, "--output_dir", path, "--engine", "scripted", "--num_clusters", 3, *RUNS)
        return server.run(*command, root=path, fault=fault, quickly=True)

    undisturbed = run(tmp_path / "undisturbed")
    assert undisturbed.exit_code == 0, undisturbed.stderr
    # so much is synced before it dies: the proposals, then what was placed, then the names, then all of them
    killed = run(tmp_path / "out", Fault("synthesize journal: sync", nth=nth, when="after"))
    assert killed.was_killed or nth == 4
    resumed = run(tmp_path / "out")
    assert resumed.exit_code == 0, resumed.stderr
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "undisturbed")

    def of_step_2b(asked: list[str]) -> Counter[str]:
        return Counter(line for line in asked if line.split()[1].startswith(("synthesize", "place-", "name-")))

    assert of_step_2b(killed.asked + resumed.asked) == of_step_2b(undisturbed.asked)
