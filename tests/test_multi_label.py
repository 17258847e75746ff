"""`--multi_label`: all clusters that fit an image, with a score each, on every way to the results and back."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import Ictc, exported_bytes, load
from support.fork_server import ForkServer
from support.scripted_run import ScriptedRun, run_undisturbed
from support.step_configs import make_config

import ictc as package
from ictc.analytics.several import evaluate_sets
from ictc.engines.base import JsonAnswer, Task
from ictc.engines.lite.schema import properties_of
from ictc.errors import InvalidAnswer
from ictc.runs.verify import verify
from ictc.steps.assign import ASSIGN
from ictc.steps.options import option_letters
from ictc.steps.results import Results
from ictc.storage.journal import decode_line, encode_line
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks.fitting import fits_answer, parse_fits

SEVERAL = "--multi_label"


def check_fitting(out: Path) -> Counter[int]:
    """Check that all files agree on what fits; return how many images have how many clusters."""
    rows, table = load(out, "ictc_final_results.json")["results"], pq.read_table(out / "results.parquet").to_pylist()
    assert [{name: row[name] for name in table[0]} for row in rows] == table
    metadata = load(out, "step3_metadata.json")
    assert metadata["multi_label"] is True
    for row in rows:
        assert row["cluster"] == next(iter(row["clusters"]), None)
        assert row["runner_up"] == next(iter(row["clusters"][1:]), None)
        assert row["cluster_scores"] == sorted(row["cluster_scores"], reverse=True)
        assert len(set(row["clusters"])) == len(row["clusters"]) == len(row["cluster_scores"])
        assert all(1 <= score <= 5 for score in row["cluster_scores"])
        assert row["confidence"] is None
    assert load(out, "step3_final_assignment.json") == {row["image_id"]: row["cluster"] for row in rows}
    best, fitting = Counter(row["cluster"] for row in rows), Counter(name for row in rows for name in row["clusters"])
    for one in metadata["clusters"]:
        assert (one["size"], one["size_all"]) == (best[one["name"]], fitting[one["name"]])
    counts = metadata["step3"]
    assert counts["done"] + counts.get("none", 0) == len(rows)
    return Counter(len(row["clusters"]) for row in rows)


class TestAnswers:
    LETTERS = option_letters(4)

    def parse(self, *pairs: tuple[str, Any], allow_none: bool = False) -> dict[str, int]:
        text = json.dumps({"clusters": [{"cluster": letter, "score": score} for letter, score in pairs]})
        return parse_fits(text, fits_answer(self.LETTERS, allow_none=allow_none), letters=self.LETTERS)

    @given(st.lists(st.tuples(st.sampled_from(LETTERS), st.integers(1, 5)), min_size=1, unique_by=lambda pair: pair[0]))
    def test_what_fits_comes_by_score_and_then_as_the_model_has_it(self, pairs: list[tuple[str, int]]) -> None:
        assert list(self.parse(*pairs).items()) == sorted(pairs, key=lambda pair: -pair[1])

    def test_what_is_said_twice_is_said_once(self) -> None:
        assert self.parse(("B", 3), ("B", 3), ("A", "4")) == {"A": 4, "B": 3}
        assert self.parse(allow_none=True) == {}

    @pytest.mark.parametrize(
        "pairs", [(), (("E", 3),), (("A", 0),), (("A", 6),), (("A", 2), ("A", 3)), (("A", None),), (("a", 3),)]
    )
    def test_what_is_no_answer_is_refused(self, pairs: tuple[tuple[str, Any], ...]) -> None:
        with pytest.raises(InvalidAnswer):
            self.parse(*pairs)

    def test_the_form_names_the_letters(self) -> None:
        schema = JsonAnswer(fits_answer(self.LETTERS, allow_none=False).model_json_schema()).schema
        clusters = properties_of(schema, schema)["clusters"]
        assert (clusters["minItems"], clusters["maxItems"]) == (1, 4)
        (cluster,) = schema["$defs"].values()
        assert cluster["properties"]["cluster"]["enum"] == self.LETTERS


class TestRuns:
    @given(salt=st.text("abc", min_size=1, max_size=4), allow_none=st.booleans())
    @settings(max_examples=4, deadline=None)
    def test_all_files_agree(
        self, salt: str, allow_none: bool, drawn_ads: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        out = tmp_path_factory.mktemp("several") / "out"
        given: dict[str, Any] = {"evidence": True, "allow_none": allow_none, "engine_options": {"salt": salt}}
        run = package.cluster(drawn_ads, output_dir=out, engine="scripted", num_clusters=4, multi_label=True, **given)
        counts = check_fitting(out)
        assert len(counts) > 2
        assert bool(counts[0]) <= allow_none
        assert not list(verify(RunDirectory(out)))
        assert len(run.results) == sum(counts.values()) - counts[0]
        assert len(run.results.explode("clusters")) == sum(number * count for number, count in counts.items())
        assert len(run.none) == counts[0]

    def test_the_summary_and_the_report_tell_both_numbers(self, ictc: Ictc, drawn_ads: Path, out: Path) -> None:
        outcome = ictc.succeed(drawn_ads, out, SEVERAL)
        for one in load(out, "step3_metadata.json")["clusters"]:
            assert f"  {one['name']} (fits {one['size_all']})\n" in outcome.stdout
        told = ictc("report", out, "--output", out / "page.html", "--embeddings", "tfidf")
        assert told.exit_code == 0, told.stderr
        page = (out / "page.html").read_text()
        assert "all that fit, with a score from 1 to 5" in page
        assert '"fitting":[[[' in page

    def test_copies_follow_and_levels_hold(self, ictc: Ictc, drawn_ads: Path, out: Path) -> None:
        outcome = ictc.run(drawn_ads, out, SEVERAL, "--num_clusters", "2,4")
        assert outcome.exit_code == 0, outcome.stderr
        check_fitting(out)
        rows = {row["image_id"]: row for row in load(out, "ictc_final_results.json")["results"]}
        assert rows["ad_010"]["clusters"] == rows["ad"]["clusters"]
        assert all(row["cluster_path"][-1] == row["cluster"] for row in rows.values())


class TestAgain:
    def test_the_key_without_the_flag_is_that_of_before(self, tmp_path: Path) -> None:
        results = Results(Manifest(tmp_path / "manifest.jsonl", {}, 0))
        plain, several = (ASSIGN.key(make_config(multi_label=one), results) for one in (False, True))
        assert "multi_label" not in plain
        assert several["prompt"] != plain["prompt"]

    def test_step_3_alone_is_done_again_and_going_back_costs_nothing(
        self, ictc: Ictc, drawn_ads: Path, out: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, out)
        without = exported_bytes(out)
        asked.clear()
        ictc.succeed(drawn_ads, out, SEVERAL)
        assert set(asked) == {Task.ASSIGN}
        several = exported_bytes(out)
        asked.clear()
        ictc.succeed(drawn_ads, out)
        assert exported_bytes(out) == without
        ictc.succeed(drawn_ads, out, SEVERAL)
        assert exported_bytes(out) == several
        assert not asked

    @pytest.mark.parametrize("seed", range(2))
    def test_killed_at_random_instants_it_ends_as_if_nothing_had_happened(
        self, fork_server: ForkServer, drawn_ads: Path, tmp_path: Path, seed: int
    ) -> None:
        flags = (SEVERAL, "--evidence", "--allow_none")
        reference = run_undisturbed(ScriptedRun(fork_server, drawn_ads, tmp_path / "reference", flags=flags))
        run = ScriptedRun(fork_server, drawn_ads, tmp_path / "out", quickly=False, flags=flags)
        for part in (2, 3, 5):
            run.interrupt(kill_after_s=(1 + seed) * reference.seconds / part)
        run.check(reference)

    def test_a_merge_gives_what_one_run_gives(
        self, ictc: Ictc, drawn_ads: Path, tmp_path: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, tmp_path / "whole", SEVERAL)
        for index in (0, 1, 2):
            shard = ("--num_shards", 3, "--shard_index", index, SEVERAL, "--max_broken", 1)
            ictc.succeed(drawn_ads, tmp_path / "shards", *shard)
        assert ictc("merge", tmp_path / "shards", "--output_dir", tmp_path / "merged").exit_code == 0
        assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "whole")
        given = ("--clusters", tmp_path / "merged" / "step2b_dynamic_clusters.json")
        for start, end in pairwise((0, 9, 27)):
            part = ("--start_index", start, "--end_index", end, "--shard_id", f"part_{start}", "--max_broken", 1)
            arguments = ("run", "--ads_dir", drawn_ads, "--output_dir", tmp_path / "parts", "--engine", "scripted")
            assert ictc(*arguments, *part, *given, SEVERAL).exit_code == 0
        asked.clear()
        assert ictc("merge", tmp_path / "parts", "--output_dir", tmp_path / "divided").exit_code == 0
        assert not asked
        assert check_fitting(tmp_path / "divided") == check_fitting(tmp_path / "whole")

    def test_reclustering_does_as_the_source_unless_told_otherwise(
        self, ictc: Ictc, drawn_ads: Path, tmp_path: Path
    ) -> None:
        ictc.succeed(drawn_ads, tmp_path / "source", SEVERAL)
        command = ("recluster", "--source_dir", tmp_path / "source", "--num_clusters", "2,3", "--output_dir")
        outcome = ictc(*command, tmp_path / "same")
        assert outcome.exit_code == 0, outcome.stderr
        assert "No comparison: images may be in several clusters" in outcome.stdout
        check_fitting(tmp_path / "same" / "k2")
        assert ictc(*command, tmp_path / "plain", "--multi_label=false").exit_code == 0
        assert "clusters" not in load(tmp_path / "plain" / "k2", "ictc_final_results.json")["results"][0]

    @pytest.mark.parametrize("fitting", [[[1, 2], [1, 1]], [[9, 3]], [[1, 6]], [[1, 1], [2, 4]], [], None], ids=str)
    def test_records_are_proved(self, ictc: Ictc, drawn_ads: Path, out: Path, fitting: list[list[int]] | None) -> None:
        ictc.succeed(drawn_ads, out, SEVERAL)
        (segment,) = out.glob("state/assign/*/*.jsonl")
        lines = segment.read_bytes().splitlines(keepends=True)
        record = decode_line(lines[-1])
        assert record is not None
        data = {**record["data"], "cluster_id": 1, "fitting": fitting}
        if fitting is None:
            del data["fitting"]
        segment.write_bytes(b"".join(lines[:-1]) + encode_line({**record, "data": data}))
        verified = ictc("verify", out)
        assert verified.exit_code == 1
        assert "are assigned to no existing cluster" in verified.stdout or "to another question" in verified.stdout


class TestAnalyses:
    def test_what_compares_divisions_refuses_in_one_line(self, ictc: Ictc, drawn_ads: Path, tmp_path: Path) -> None:
        ictc.succeed(drawn_ads, tmp_path / "one")
        ictc.succeed(drawn_ads, tmp_path / "several", SEVERAL)
        refused = ictc("consensus", tmp_path / "one", tmp_path / "several", "--output_dir", tmp_path / "consensus")
        assert refused.exit_code == 2
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("ictc: error: ")]
        assert "ictc recluster --multi_label=false" in line

    def test_csv_has_all_in_one_cell(self, ictc: Ictc, drawn_ads: Path, out: Path, tmp_path: Path) -> None:
        ictc.succeed(drawn_ads, out, SEVERAL)
        for form in ("csv", "huggingface", "fiftyone", "datamap"):
            target = tmp_path / form
            exported = ictc("export", out, "--format", form, "--output", target, "--ads_dir", drawn_ads)
            assert exported.exit_code == 0, exported.stderr
        with (tmp_path / "csv").open(encoding="utf-8") as file:
            cells = {row["image_id"]: row["clusters"].split(";") for row in csv.DictReader(file)}
        assert cells == {row["image_id"]: row["clusters"] for row in load(out, "ictc_final_results.json")["results"]}
        assert ictc("sample", out, "--output_dir", tmp_path / "sample").exit_code == 0

    def test_sets_are_compared_with_sets(self, ictc: Ictc, drawn_ads: Path, out: Path, tmp_path: Path) -> None:
        ictc.succeed(drawn_ads, out, SEVERAL)
        rows = load(out, "ictc_final_results.json")["results"]
        truth = tmp_path / "truth.csv"
        lines = [f"{row['image_id']},{'; '.join(f'class {name}' for name in row['clusters'])}" for row in rows]
        truth.write_text("\n".join(["image_id,truth", *lines, "gone,class x"]))
        outcome = ictc("evaluate", out, "--truth", truth, "--output_dir", tmp_path / "evaluation")
        assert outcome.exit_code == 0, outcome.stderr
        scores = load(tmp_path / "evaluation", "evaluation.json")["scores"]
        assert set(scores.values()) == {1.0}
        assert "23 images compared, 1 with a class but no cluster" in outcome.stdout

    def test_scores_of_a_case_by_hand(self) -> None:
        fitting = pd.Series({"a": ["x"], "b": ["x", "y"], "c": ["y", "z"], "d": ["z"]})
        truth = pd.Series({"a": "food", "b": "travel;food", "c": "travel", "d": "travel"})
        found = evaluate_sets(fitting, truth=truth)
        assert found.matches == {"x": "food", "y": "travel"}
        scores = found.scores
        assert (scores.precision, scores.recall) == (4 / 6, 4 / 5)
        assert scores.f1 == pytest.approx(8 / 11)
        assert scores.jaccard == pytest.approx((1 + 1 + 0.5 + 0) / 4)
        assert (scores.exact, scores.best) == (0.5, 0.75)
