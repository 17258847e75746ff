"""`--evidence`: quotes that stand in what is known of each image, and rules of clusters that Step 3 is shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.cli import Ictc, exported_bytes, load
from support.faulty_disk import Fault
from support.fork_server import ForkServer
from support.scripted_run import ScriptedRun, run_undisturbed
from support.step_configs import make_config

import ictc as package
from ictc.engines.base import GenerationRequest, GenerationResult, ItemError, ItemErrorKind, Task
from ictc.engines.scripted import ScriptedEngine
from ictc.planning.prompts import ESTIMATE, count_text_tokens
from ictc.records import Caption, ClusterDefinition
from ictc.runs.verify import verify
from ictc.steps.options import list_options, make_options
from ictc.steps.results import Results
from ictc.steps.synthesize import digest_clusters
from ictc.steps.table import STEPS
from ictc.storage.journal import decode_line, encode_line
from ictc.storage.keys import digest
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import load_track
from ictc.tracks.evidence import find_quote, iter_quotable
from ictc.tracks.rules import RuledClusterAnswer, with_rules

WANTED = "--evidence"
MISQUOTING = ("--engine_options", '{"misquote": 0.3}')


def quotes_of(out: Path) -> dict[str, tuple[str | None, str | None]]:
    """Return the quote of each image with the field that it is said to stand in."""
    entries = load(out, "step3b_evidence.json").items()
    return {image_id: (one["evidence"], one["evidence_field"]) for image_id, one in entries}


def check_quotes(out: Path) -> Counter[str]:
    """Check that each quote stands where it says, and that all files agree; return how many images have one."""
    quotes, captions = quotes_of(out), load(out, "step1_captions.json")
    assert all(quote in captions[image_id][field] for image_id, (quote, field) in quotes.items() if quote is not None)
    assert all((quote is None) == (field is None) for quote, field in quotes.values())
    rows, table = load(out, "ictc_final_results.json")["results"], pq.read_table(out / "results.parquet").to_pylist()
    assert [{name: row[name] for name in table[0]} for row in rows] == table
    told = {row["image_id"]: (row["evidence"], row["evidence_field"]) for row in rows}
    assert {image_id: told[image_id] for image_id in quotes} == quotes
    assert all(told[row["image_id"]] == (None, None) for row in rows if row["cluster"] is None)
    assert set(quotes) == {row["image_id"] for row in rows if row["cluster"] is not None}
    counts = load(out, "step3b_metadata.json")["quotes"]
    assert counts["quoted"] == sum(quote is not None for quote, _ in quotes.values())
    assert sum(counts.values()) == load(out, "step3b_metadata.json")["step3b"]["done"]
    return Counter(counts)


words = st.text("abcé 日.-'\n", max_size=30)
captions = st.builds(
    lambda text, summary, brand, tone: Caption(
        "1", category="", brand=brand, text=text, summary=summary, analysis={"tone": tone}
    ),
    words,
    words,
    words,
    words,
)


class TestFinding:
    @given(caption=captions, quote=words)
    @example(caption=Caption("1", category="", brand="", text="a  b", summary="a b"), quote="a b")
    def test_what_is_found_stands_in_its_field_and_differs_in_space_alone(self, caption: Caption, quote: str) -> None:
        found = find_quote(quote, caption)
        if found is not None:
            assert found.words in dict(iter_quotable(caption))[found.field]
            assert found.words.split() == quote.split()

    @given(caption=captions, data=st.data())
    def test_whole_words_that_stand_there_are_found(self, caption: Caption, data: st.DataObject) -> None:
        fields = list(iter_quotable(caption))
        if not fields:
            return
        there = data.draw(st.sampled_from(fields))[1].split()
        start = data.draw(st.integers(0, len(there) - 1))
        quote = " ".join(there[start : data.draw(st.integers(start + 1, len(there)))])
        found = find_quote(quote, caption)
        assert found is not None
        assert found.words.split() == quote.split()

    @pytest.mark.parametrize("quote", ["", "  ", "art", "tart sal", "Start sale", "50", "sale .", "start"])
    def test_parts_of_words_other_words_and_nothing_are_not(self, quote: str) -> None:
        assert find_quote(quote, Caption("1", category="", brand="", text="Start SALE 5000", summary="")) is None

    def test_a_word_within_another_does_not_hide_the_word_itself(self) -> None:
        found = find_quote("art", Caption("1", category="", brand="", text="start art", summary=""))
        assert found is not None

    def test_scripts_without_spaces_are_quoted_anywhere(self) -> None:
        found = find_quote("限时", Caption("1", category="", brand="", text="今日限时优惠", summary=""))
        assert found is not None


class TestRuns:
    @given(salt=st.text("abc", min_size=1, max_size=4), misquote=st.sampled_from([0.0, 0.3, 1.0]))
    @settings(max_examples=3, deadline=None)
    def test_every_quote_stands_where_it_says(
        self, salt: str, misquote: float, drawn_ads: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        out = tmp_path_factory.mktemp("quotes") / "out"
        scripted = {"salt": salt, "misquote": misquote}
        run = package.cluster(
            drawn_ads, output_dir=out, engine="scripted", num_clusters=3, evidence=True, allow_none=True,
            engine_options=scripted,
        )  # fmt: skip
        counts = check_quotes(out)
        assert bool(counts["dropped"]) is (misquote > 0)
        assert bool(counts["quoted"]) is (misquote < 1)
        assert not list(verify(RunDirectory(out)))
        assert run.results["evidence"].notna().sum() == counts["quoted"]
        assert {"include", "exclude"} <= set(run.clusters)

    def test_what_was_dropped_is_told_and_nothing_rejected(self, ictc: Ictc, drawn_ads: Path, out: Path) -> None:
        outcome = ictc.succeed(drawn_ads, out, WANTED, *MISQUOTING)
        counts = check_quotes(out)
        total = sum(counts.values())
        told = f"{counts['quoted']} of {total} images are backed with a quote; of {counts['dropped']} it was dropped"
        assert counts["dropped"]
        assert told in outcome.stderr
        assert not (out / "rejected.jsonl").read_bytes()
        (status,) = json.loads(ictc("status", out, "--json").stdout.join("[]"))
        assert status["steps"][-1]["dropped"] == counts["dropped"]
        assert "DROPPED" in ictc("status", out).stdout

    def test_a_quote_that_stands_nowhere_is_asked_for_twice_more(
        self, ictc: Ictc, drawn_ads: Path, out: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, out, WANTED, "--engine_options", '{"misquote": 1}')
        distinct = asked[Task.ASSIGN]
        assert asked[Task.EVIDENCE] == 3 * distinct
        asked.clear()
        ictc.succeed(drawn_ads, out, WANTED, "--engine_options", '{"misquote": 1}')
        assert not asked

    def test_an_image_whose_request_fails_is_rejected_there_and_keeps_its_cluster(
        self, ictc: Ictc, drawn_ads: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = ScriptedEngine._answer

        async def refuse(engine: ScriptedEngine, request: GenerationRequest) -> GenerationResult:
            if request.task == Task.EVIDENCE and request.request_id == "ad_007":
                return ItemError("ad_007", ItemErrorKind.REFUSED, message="no")
            return await answer(engine, request)

        monkeypatch.setattr(ScriptedEngine, "_answer", refuse)
        ictc.succeed(drawn_ads, out, WANTED)
        assert '"stage":"evidence"' in (out / "rejected.jsonl").read_text()
        run = package.open(out)
        assert "ad_007" in set(run.results["image_id"])
        assert "ad_007" not in set(run.rejected["image_id"])
        assert quotes_of(out)["ad_007"] == (None, None)
        assert ictc("verify", out).exit_code == 0

    def test_they_are_planned(self, ictc: Ictc, drawn_ads: Path) -> None:
        command = ("plan", "--ads_dir", drawn_ads, "--engine", "scripted", "--json")
        plain, wanted = (json.loads(ictc(*command, *flags).stdout) for flags in ((), (WANTED,)))
        requests = [{step["step"]: step["requests"] for step in plan["steps"]} for plan in (plain, wanted)]
        assert requests[1] == {**requests[0], "evidence": requests[0]["assign"]}
        plain_tokens, tokens = (
            count_text_tokens([make_config(evidence=wanted)], ESTIMATE)["assign"].prompt for wanted in (False, True)
        )
        assert tokens > plain_tokens  # the rules


class TestRules:
    @pytest.mark.parametrize("flags", [(), ("--synthesize_runs", 3)], ids=["one request", "several proposals"])
    def test_each_cluster_has_two_that_step_3_is_shown(
        self, ictc: Ictc, drawn_ads: Path, out: Path, flags: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prompts: list[str] = []
        answer = ScriptedEngine._answer

        async def listen(engine: ScriptedEngine, request: GenerationRequest) -> GenerationResult:
            if request.task == Task.ASSIGN and not request.request_id.startswith("place"):
                prompts.append(request.messages[-1].text)
            return await answer(engine, request)

        monkeypatch.setattr(ScriptedEngine, "_answer", listen)
        ictc.succeed(drawn_ads, out, WANTED, *flags)
        clusters = load(out, "step2b_dynamic_clusters.json")
        assert len(clusters) == 3
        for one in clusters:
            line = f"{one['name']}: {one['description']} Belongs here: {one['include']} Does not belong here: "
            assert all(f"{line}{one['exclude']}\n" in f"{prompt}\n" for prompt in prompts)
        assert load(out, "step3_metadata.json")["clusters"][0]["include"]

    def test_clusters_of_a_guide_get_theirs(self, ictc: Ictc, drawn_ads: Path, tmp_path: Path) -> None:
        guide = tmp_path / "guide.yaml"
        guide.write_text("clusters:\n- name: Food\n  description: What is eaten.\n- name: Travel\n")
        ictc.succeed(drawn_ads, tmp_path / "out", WANTED, "--guide", guide)
        clusters = load(tmp_path / "out", "step2b_dynamic_clusters.json")
        assert {"Food", "Travel"} <= {one["name"] for one in clusters}
        assert all(one["include"] and one["exclude"] for one in clusters)
        assert "What is eaten." in {one["description"] for one in clusters}

    def test_people_write_them_themselves(self, ictc: Ictc, drawn_ads: Path, tmp_path: Path) -> None:
        edited, out = tmp_path / "edited.json", tmp_path / "out"
        food = {"name": "Food", "description": "", "include": "It  is\neaten.", "exclude": "Soap."}
        edited.write_text(json.dumps([food, {"name": "Travel"}]))
        command = ("run", "--ads_dir", drawn_ads, "--output_dir", out, "--engine", "scripted", "--clusters", edited)
        assert ictc(*command, WANTED).exit_code == 0
        clusters = load(out, "step2b_dynamic_clusters.json")
        assert clusters[0] == {"cluster_id": 1, **food, "include": "It is eaten."}
        assert clusters[1] == {"cluster_id": 2, "name": "Travel", "description": ""}
        assert load(out, "ictc_final_results.json")["cluster_definitions"] == clusters
        assert ictc("verify", out).exit_code == 0

    def test_without_them_everything_is_as_before(self) -> None:
        plain = [ClusterDefinition(1, name="b", description="a"), ClusterDefinition(2, name="d", description="")]
        assert digest_clusters(plain) == "989e459d6cdbf14e"  # as before there were rules
        ruled = [ClusterDefinition(1, name="b", description="a", include="x"), plain[1]]
        assert digest_clusters(ruled) != digest_clusters(plain)
        options = make_options(plain, allow_none=False)
        assert list_options({"A": options[0], "B": options[1]}) == "A. b: a\nB. d: "
        assert options[0].to_row() == {"cluster_id": 1, "name": "b", "description": "a"}

    def test_a_track_asks_for_them_where_they_stay(self) -> None:
        track = load_track("marketing")
        at_once, in_groups = (with_rules(track, groups_first=first) for first in (False, True))
        assert at_once.synthesize.answer is in_groups.naming.answer is RuledClusterAnswer
        assert (at_once.naming, in_groups.synthesize) == (track.naming, track.synthesize)
        assert at_once.prompts["assign"] == track.prompts["assign"]
        assert digest(at_once.prompts["synthesize"]) != digest(track.prompts["synthesize"])


class TestAgain:
    def test_keys_without_the_flag_are_those_of_before(self, tmp_path: Path) -> None:
        results = Results(Manifest(tmp_path / "manifest.jsonl", {}, 0))
        (tmp_path / "manifest.jsonl").touch()
        for step in STEPS:
            plain, wanted = (step.key(make_config(evidence=wanted), results) for wanted in (False, True))
            assert plain == wanted  # what differs is the track that is asked for rules

    def test_it_is_added_to_a_finished_run_whose_clusters_are_kept(
        self, ictc: Ictc, drawn_ads: Path, out: Path, tmp_path: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, out)
        before = exported_bytes(out)
        kept = tmp_path / "kept.json"
        kept.write_bytes(before["step2b_dynamic_clusters.json"])
        asked.clear()
        command = ("run", "--ads_dir", drawn_ads, "--output_dir", out, "--engine", "scripted", "--clusters", kept)
        assert ictc(*command, WANTED).exit_code == 0
        assert set(asked) == {Task.EVIDENCE}
        check_quotes(out)
        assert exported_bytes(out)["step3_final_assignment.json"] == before["step3_final_assignment.json"]

    def test_going_back_and_forth_costs_nothing(
        self, ictc: Ictc, drawn_ads: Path, out: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, out)
        without = exported_bytes(out)
        ictc.succeed(drawn_ads, out, WANTED)
        wanted = exported_bytes(out)
        asked.clear()
        outcome = ictc.succeed(drawn_ads, out)
        assert "Step 3b evidence: left out, without --evidence" in outcome.stderr
        assert exported_bytes(out) == without
        assert ictc("verify", out).stdout == f"{out}: in order\n"
        assert "3b" not in ictc("status", out).stdout
        ictc.succeed(drawn_ads, out, WANTED)
        assert exported_bytes(out) == wanted
        assert not asked
        assert ictc("verify", out).stdout == f"{out}: in order\n"

    def test_it_is_asked_again_where_the_cluster_is_another(
        self, ictc: Ictc, drawn_ads: Path, out: Path, tmp_path: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, out, WANTED)
        clusters = load(out, "step2b_dynamic_clusters.json")
        before = load(out, "step3_final_assignment.json")
        clusters[0]["name"] += " and more"
        edited = tmp_path / "edited.json"
        edited.write_text(json.dumps(clusters))
        asked.clear()
        command = ("run", "--ads_dir", drawn_ads, "--output_dir", out, "--engine", "scripted", "--clusters", edited)
        assert ictc(*command, WANTED).exit_code == 0
        now = load(out, "step3_final_assignment.json")
        kept = {image_id for image_id in now if now[image_id] == before[image_id]}
        assert kept
        assert asked[Task.EVIDENCE] <= len(now) - len(kept)
        check_quotes(out)

    @pytest.mark.parametrize("lost", ["results.parquet", "step3b_evidence.json", "step3b_metadata.json"])
    def test_a_lost_file_is_written_again_with_all_that_belongs_there(
        self, ictc: Ictc, drawn_ads: Path, out: Path, lost: str
    ) -> None:
        ictc.succeed(drawn_ads, out, WANTED)
        before = exported_bytes(out)
        (out / lost).unlink()
        ictc.succeed(drawn_ads, out, WANTED)
        assert exported_bytes(out) == before
        (out / lost).unlink()
        ictc.succeed(drawn_ads, out)
        ictc.succeed(drawn_ads, out, WANTED)
        assert exported_bytes(out) == before

    @pytest.mark.parametrize(
        "fault",
        [
            Fault("evidence current.json: replace", when=when)  # type: ignore[arg-type]
            for when in ("before", "after")
        ]
        + [Fault("results.parquet: delete", when="after"), Fault("step3b_evidence.json: delete", when="after")],
        ids=str,
    )
    def test_killed_while_it_is_left_out(
        self, fork_server: ForkServer, drawn_ads: Path, tmp_path: Path, fault: Fault
    ) -> None:
        reference = run_undisturbed(ScriptedRun(fork_server, drawn_ads, tmp_path / "plain"))
        run = ScriptedRun(fork_server, drawn_ads, tmp_path / "out")
        run.finish(WANTED)
        wanted = exported_bytes(tmp_path / "out")
        assert run.interrupt(fault=fault)
        run.check(reference)
        run.finish(WANTED)
        assert exported_bytes(tmp_path / "out") == wanted

    def test_step_3b_alone(self, ictc: Ictc, drawn_ads: Path, out: Path, asked: Counter[Task]) -> None:
        refused = ictc.run(drawn_ads, out, "--steps", "3b")
        assert refused.exit_code == 2
        assert "--steps 3b: Step 3b is for --evidence; add that" in refused.stderr
        ictc.succeed(drawn_ads, out, WANTED, "--steps", "1,2a,2b,3")
        assert not (out / "step3b_evidence.json").exists()
        asked.clear()
        ictc.succeed(drawn_ads, out, WANTED, "--steps", "3b")
        assert set(asked) == {Task.EVIDENCE}
        check_quotes(out)
        ictc.succeed(drawn_ads, out, "--steps", "1")
        check_quotes(out)


class TestParts:
    def test_a_merge_gives_what_one_run_gives(
        self, ictc: Ictc, drawn_ads: Path, tmp_path: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, tmp_path / "whole", WANTED, *MISQUOTING)
        for index in (0, 1, 2):
            shard = ("--num_shards", 3, "--shard_index", index, WANTED, "--max_broken", 1, *MISQUOTING)
            ictc.succeed(drawn_ads, tmp_path / "shards", *shard)
        assert ictc("merge", tmp_path / "shards", "--output_dir", tmp_path / "merged").exit_code == 0
        assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "whole")
        # Steps 3 and 3b divided, too: of the same clusters.
        given = ("--clusters", tmp_path / "merged" / "step2b_dynamic_clusters.json")
        for start, end in pairwise((0, 2, 9, 27)):
            part = ("--start_index", start, "--end_index", end, "--shard_id", f"part_{start}", "--max_broken", 1)
            arguments = ("run", "--ads_dir", drawn_ads, "--output_dir", tmp_path / "parts", "--engine", "scripted")
            outcome = ictc(*arguments, *part, *given, WANTED, *MISQUOTING)
            assert outcome.exit_code == 0, outcome.stderr
        asked.clear()
        assert ictc("merge", tmp_path / "parts", "--output_dir", tmp_path / "divided").exit_code == 0
        assert not asked
        assert quotes_of(tmp_path / "divided") == quotes_of(tmp_path / "whole")
        assert ictc("verify", tmp_path / "divided").exit_code == 0

    def test_reclustering_does_as_the_source_unless_told_otherwise(
        self, ictc: Ictc, drawn_ads: Path, tmp_path: Path
    ) -> None:
        ictc.succeed(drawn_ads, tmp_path / "source", WANTED)
        for name, flags, is_wanted in (("same", (), True), ("plain", ("--evidence=false",), False)):
            target = tmp_path / name
            command = ("recluster", "--source_dir", tmp_path / "source", "--output_dir", target, "--num_clusters", 2)
            outcome = ictc(*command, *flags)
            assert outcome.exit_code == 0, outcome.stderr
            assert (target / "step3b_evidence.json").exists() is is_wanted
            assert ("include" in load(target, "step2b_dynamic_clusters.json")[0]) is is_wanted
            assert ictc("verify", target).exit_code == 0


class TestVerifying:
    @pytest.mark.parametrize(
        ("edit", "problem"),
        [
            (lambda data: {**data, "quote": f"{data['quote']} and more"}, "words that do not stand in their caption"),
            (lambda data: {**data, "field": "nowhere"}, "words that do not stand in their caption"),
            (lambda data: {**data, "dropped": True}, "words that do not stand in their caption"),
            (lambda data: {"quote": None, "field": "text"}, "words that do not stand in their caption"),
            (lambda data: {}, "words that do not stand in their caption"),
        ],
    )
    def test_records_are_proved(
        self, ictc: Ictc, drawn_ads: Path, out: Path, edit: Callable[[dict[str, Any]], dict[str, Any]], problem: str
    ) -> None:
        ictc.succeed(drawn_ads, out, WANTED)
        (segment,) = out.glob("state/evidence/*/*.jsonl")
        lines = segment.read_bytes().splitlines(keepends=True)
        record = decode_line(lines[-1])
        assert record is not None
        segment.write_bytes(b"".join(lines[:-1]) + encode_line({**record, "data": edit(record["data"])}))
        verified = ictc("verify", out)
        assert verified.exit_code == 1
        assert problem in verified.stdout

    def test_files_are_proved(self, ictc: Ictc, drawn_ads: Path, out: Path) -> None:
        ictc.succeed(drawn_ads, out, WANTED)
        plain = exported_bytes(out)
        for name in ("ictc_final_results.json", "step3b_evidence.json"):
            assert b'"evidence":"' in plain[name]
            (out / name).write_bytes(plain[name].replace(b'"evidence":"', b'"evidence":"x', 1))
            assert f"{name}: says something else" in ictc("verify", out).stdout
            (out / name).write_bytes(plain[name])
        assert ictc("verify", out).exit_code == 0
