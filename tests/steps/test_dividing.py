"""More clusters than one answer can hold: asked for in parts, none of which is long."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.cli import Ictc, exported_bytes, load
from support.expert import Expert

from ictc.config.levels import MOST_AT_ONCE
from ictc.engines.base import Task
from ictc.steps.histogram import build_histogram
from ictc.steps.synthesis.dividing import share_out
from ictc.steps.synthesis.proposing import Aim
from ictc.steps.synthesis.task import SynthesizeTask
from ictc.tracks import load_track

BREEDS = {
    f"breed{breed} of {animal}": [f"{adjective} breed{breed} {animal}" for adjective in ("old", "young")]
    for animal in (f"animal{number}" for number in range(10))
    for breed in range(12)
}
"""120 kinds of things, each with two labels."""


class Breeder(Expert):
    """Tells animals apart where few clusters are asked for, and breeds where all labels are of one animal.

    Attributes:
        most: clusters that it was ever asked for or shown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def propose(self, inputs: Mapping[str, Any]) -> Sequence[str]:
        self.most = max(self.most, inputs["num_clusters"])
        labels = [one["label"].split()[1:] for one in inputs["labels"]]
        animals = list(dict.fromkeys(animal for _, animal in labels))
        breeds = list(dict.fromkeys(" ".join(words) for words in labels))
        names = breeds if len(animals) == 1 else animals
        return (names + [f"other {number}" for number in range(MOST_AT_ONCE)])[: inputs["num_clusters"]]

    def choose(self, number: int, label: str, letters: Mapping[str, str]) -> str:
        self.most = max(self.most, len(letters))
        _, breed, animal = label.split()
        return letters.get(f"{breed} {animal}") or letters.get(animal) or min(letters.values())

    def name(self, inputs: Mapping[str, Any]) -> str:
        label: str = inputs["labels"][0]["label"]
        return label


def test_more_clusters_than_one_answer_holds_are_found_in_parts() -> None:
    labels = [label for kinds in BREEDS.values() for label in kinds]
    task = SynthesizeTask(
        aim=Aim(track=load_track("general"), criterion="breed", num_clusters=len(BREEDS), seed=3),
        labels=build_histogram(dict.fromkeys(labels, 5)),
        num_labels=len(labels),
        num_proposals=3,
    )
    breeder = Breeder()
    result = asyncio.run(task.run(breeder))
    assert len(result.definitions) == len(BREEDS)
    assert breeder.most <= MOST_AT_ONCE
    groups: dict[int, set[str]] = {}
    for one in result.placed:
        groups.setdefault(one.cluster_id, set()).add(one.label)
    wanted = {frozenset(kinds) for kinds in BREEDS.values()}
    found = {frozenset(group) for group in groups.values()}
    assert found == wanted
    assert breeder.asked[Task.ASSIGN] <= 2 * 3 * len(labels)


@given(
    sizes=st.dictionaries(st.integers(1, 40), st.integers(1, 300), min_size=1, max_size=40), total=st.integers(1, 1000)
)
def test_parts_are_shared_out_to_the_last(sizes: dict[int, int], total: int) -> None:
    shares = share_out(sizes, total)
    assert shares.keys() == sizes.keys()
    assert all(1 <= shares[one] <= min(size, MOST_AT_ONCE) for one, size in sizes.items())
    room = sum(min(size, MOST_AT_ONCE) for size in sizes.values())
    assert sum(shares.values()) == max(len(sizes), min(total, room))


def test_a_run_makes_them_and_is_in_order(ictc: Ictc, tmp_path: Path) -> None:
    rows = "".join(f"t{number},text {number},topic {number % 140}\n" for number in range(200))
    (tmp_path / "texts.csv").write_text("id,text,label\n" + rows)
    command = (
        "import",
        tmp_path / "texts.csv",
        "--label_column",
        "label",
        "--criterion",
        "topic",
        "--engine",
        "scripted",
    )
    flags = ("--num_clusters", 110, "--synthesize_runs", 2)
    made = ictc(*command, *flags, "--output_dir", tmp_path / "out")
    assert made.exit_code == 0, made.stderr
    assert len(load(tmp_path / "out", "step2b_dynamic_clusters.json")) == 110
    assert ictc("verify", tmp_path / "out").exit_code == 0
    assert ictc(*command, *flags, "--output_dir", tmp_path / "again").exit_code == 0
    assert exported_bytes(tmp_path / "again") == exported_bytes(tmp_path / "out")


def test_one_answer_is_told_that_it_cannot_hold_them(ictc: Ictc, tmp_path: Path) -> None:
    flags = ("--ads_dir", tmp_path, "--output_dir", tmp_path / "out", "--num_clusters", 101, "--synthesize_runs", 1)
    refused = ictc("run", *flags)
    assert refused.exit_code == 2
    assert "--synthesize_runs 1 makes at most 100 clusters" in refused.stderr
    assert "1000" in ictc("run", *flags[:4], "--num_clusters", 1001).stderr
