"""`ictc evaluate --judge`: a model is asked for the odd one out, and what it says is told of each cluster and level."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli import Ictc, load

from ictc.engines.base import Answer, GenerationRequest, GenerationResult, Task
from ictc.engines.scripted import ScriptedEngine
from ictc.intrusion.drawing import iter_triples, shuffle_clusters

pytest.importorskip("pandas", reason="judging reads results, with the extra analysis")


@pytest.fixture
def finished(ictc: Ictc, drawn_ads: Path, out: Path) -> Path:
    """A finished run with two levels."""
    ictc.succeed(drawn_ads, out, "--num_clusters", "2,4", "--levels", "coarse,fine")
    return out


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch, finished: Path) -> None:
    """Let the model know in which of the finest clusters each caption is."""
    captions, clusters = (load(finished, f"{name}.json") for name in ("step1_captions", "step3_final_assignment"))
    cluster_of = {one["summary"]: clusters[image_id] for image_id, one in captions.items() if image_id in clusters}
    answer = ScriptedEngine._answer

    async def know(engine: ScriptedEngine, request: GenerationRequest) -> GenerationResult:
        if request.task != Task.INTRUDER:
            return await answer(engine, request)
        found = {letter: cluster_of[image["summary"]] for letter, image in request.inputs["options"].items()}
        counts = Counter(found.values())
        odd = [letter for letter, cluster in found.items() if counts[cluster] == 1]
        return Answer(request.request_id, text=odd[0] if odd else "A")

    monkeypatch.setattr(ScriptedEngine, "_answer", know)


@pytest.mark.usefixtures("knowing")
def test_a_model_that_knows_the_clusters_is_right_where_they_are_and_not_where_they_are_shuffled(
    ictc: Ictc, finished: Path
) -> None:
    outcome = ictc("evaluate", finished, "--judge", "--triples", 12)
    assert outcome.exit_code == 0, outcome.stderr
    told = load(finished / "judge", "judge.json")
    coarse, fine = told["levels"]
    assert (coarse["level"], fine["level"]) == ("coarse", "fine")
    assert fine["share"] == 1
    assert fine["low"] > 0.85
    assert coarse["share"] < 1  # two images of one coarse cluster may lie in two finer ones
    assert told["shuffled"]["share"] < 0.75
    assert told["unanswered"] == 0
    for level in told["levels"]:
        shares = [row["share"] for row in level["clusters"] if row["asked"]]
        assert shares == sorted(shares)
        assert level["asked"] == sum(row["asked"] for row in level["clusters"])
    assert "of shuffled clusters" in outcome.stdout


def test_what_was_answered_is_not_asked_again(ictc: Ictc, finished: Path, asked: Counter[Task]) -> None:
    assert ictc("evaluate", finished, "--judge", "--triples", 5).exit_code == 0
    first, before = load(finished / "judge", "judge.json"), asked[Task.INTRUDER]
    assert before > 0
    assert ictc("evaluate", finished, "--judge", "--triples", 5).exit_code == 0
    assert asked[Task.INTRUDER] == before
    assert load(finished / "judge", "judge.json") == first
    assert ictc("evaluate", finished, "--judge", "--triples", 6).exit_code == 0
    assert 0 < asked[Task.INTRUDER] - before <= 12  # one more of each cluster, and of the shuffled ones
    assert ictc("verify", finished).exit_code == 0


def test_a_judge_that_died_goes_on(
    ictc: Ictc, finished: Path, asked: Counter[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ictc.suggesting.progress.REQUESTS_AT_A_TIME", 4)
    odd = '{"die_on": ["odd-fine-1-2"]}'
    died = ictc("evaluate", finished, "--judge", "--triples", 5, "--engine_options", odd)
    assert died.exit_code == 1
    assert not (finished / "judge" / "judge.json").exists()
    kept = asked[Task.INTRUDER]
    outcome = ictc("evaluate", finished, "--judge", "--triples", 5)
    assert outcome.exit_code == 0, outcome.stderr
    whole = load(finished / "judge", "judge.json")
    total = sum(level["asked"] for level in whole["levels"]) + whole["shuffled"]["asked"]
    assert asked[Task.INTRUDER] - kept < total


def test_answers_that_are_none_are_left_out_and_counted(ictc: Ictc, finished: Path) -> None:
    options = '{"fail": ["odd-fine-0-0", "odd-shuffled-0-1"]}'
    outcome = ictc("evaluate", finished, "--judge", "--triples", 4, "--engine_options", options)
    assert outcome.exit_code == 0, outcome.stderr
    assert "left out: 2 questions without a valid answer" in outcome.stdout


def test_one_level_alone_and_another_folder(ictc: Ictc, finished: Path, tmp_path: Path) -> None:
    outcome = ictc("evaluate", finished, "--judge", "--level", "coarse", "--output_dir", tmp_path / "judged")
    assert outcome.exit_code == 0, outcome.stderr
    assert [level["level"] for level in load(tmp_path / "judged", "judge.json")["levels"]] == ["coarse"]
    assert ictc("evaluate", finished, "--judge", "--level", "all", "--output_dir", tmp_path / "all").exit_code == 0
    assert [level["level"] for level in load(tmp_path / "all", "judge.json")["levels"]] == ["coarse", "fine"]
    assert not (finished / "judge").exists()


def test_what_cannot_be_judged_is_said_in_a_line(ictc: Ictc, finished: Path, tmp_path: Path) -> None:
    for arguments, reason in (
        (("--judge", "--truth", tmp_path / "truth.csv"), "one at a time"),
        (("--judge", "--steps", "3"), "--steps"),
        (("--judge", "--level", "middle"), "has the levels"),
        (("--engine", "scripted"), "add --judge"),
        (("--triples", 5), "--triples is about what --judge asks"),
    ):
        outcome = ictc("evaluate", finished, *arguments)
        assert outcome.exit_code == 2
        assert reason in outcome.stderr
    (finished / "state").rename(tmp_path / "state")
    assert "has no state/" in ictc("evaluate", finished, "--judge").stderr


@given(
    cluster_of=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 3), max_size=20), seed=st.integers(0, 9)
)
def test_two_of_three_are_of_the_cluster_and_the_odd_one_is_not(cluster_of: dict[str, int], seed: int) -> None:
    triples = list(iter_triples(cluster_of, level="", num_triples=3, seed=seed))
    backwards = dict(reversed(cluster_of.items()))
    assert triples == list(iter_triples(backwards, level="", num_triples=3, seed=seed))
    for triple in triples:
        inside = [cluster_of[image_id] == triple.cluster for image_id in triple.images]
        assert inside == [place != triple.odd for place in range(3)]
        assert len(set(triple.images)) == 3
    sizes = Counter(cluster_of.values())
    able = {cluster for cluster, size in sizes.items() if size > 1 and size < len(cluster_of)}
    assert {triple.cluster for triple in triples} == able
    assert Counter(shuffle_clusters(cluster_of, seed=seed).values()) == sizes
