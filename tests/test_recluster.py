"""`ictc recluster`, and clusters that people edit: new answers from captions that are there."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from support.cli import Ictc, exported_bytes, load, start_ictc
from support.collections import draw_flat, draw_image

from ictc.recluster import DEFAULTS, ReclusterRequest, Target, build_overrides
from ictc.runs.settings import load_settings
from ictc.storage.journal import Journal
from ictc.storage.rundir import RunDirectory

SMALL = DEFAULTS["vllm"]["vlm_model"]
NEVER = '{"die_on": ["synthesize"]}'
"""Engine options under which a request of Step 2b would end the command."""


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_flat(tmp_path_factory.mktemp("collection") / "ads", 20)


@pytest.fixture(scope="module")
def source(ads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with K=3."""
    out = tmp_path_factory.mktemp("source") / "out"
    process = start_ictc(
        "run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--num_clusters", 3, "--track", "1"
    )
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return out


def recluster(ictc: Ictc, source: Path, out: Path, *arguments: object) -> str:
    outcome = ictc("recluster", "--source_dir", source, "--output_dir", out, *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout + outcome.stderr


def contents(root: Path) -> dict[Path, tuple[bytes, int]]:
    """Return bytes and time of every file."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


class TestRecluster:
    def test_a_new_k_gives_what_a_run_with_it_would_give(
        self, ictc: Ictc, ads: Path, source: Path, tmp_path: Path
    ) -> None:
        before = contents(source)
        said = recluster(ictc, source, tmp_path / "k4", "--num_clusters", 4)
        assert "Step 1" not in said
        assert "Step 2a" not in said
        ictc.succeed(ads, tmp_path / "direct", "--num_clusters", 4)
        assert exported_bytes(tmp_path / "k4") == exported_bytes(tmp_path / "direct")
        assert contents(source) == before
        assert ictc("verify", tmp_path / "k4").exit_code == 0

    def test_no_image_is_needed(self, ictc: Ictc, ads: Path, source: Path, tmp_path: Path) -> None:
        hidden = ads.with_name("hidden")
        os.rename(ads, hidden)  # noqa: PTH104 - Path.rename would give the fixture another path
        try:
            recluster(ictc, source, tmp_path / "k4", "--num_clusters", 4)
        finally:
            os.rename(hidden, ads)  # noqa: PTH104
        assert len(load(tmp_path / "k4", "step2b_dynamic_clusters.json")) == 4

    def test_a_new_criterion_makes_labels_again_unless_told_not_to(
        self, ictc: Ictc, ads: Path, source: Path, tmp_path: Path
    ) -> None:
        tone = ("--criterion", "Emotional Tone", "--num_clusters", 3)
        assert "Step 2a labels: 0/" in recluster(ictc, source, tmp_path / "tone", *tone)
        ictc.succeed(ads, tmp_path / "direct", *tone, "--track", "marketing")
        assert exported_bytes(tmp_path / "tone") == exported_bytes(tmp_path / "direct")
        assert "Step 2a" not in recluster(ictc, source, tmp_path / "kept", *tone, "--keep_labels")
        labels = load(tmp_path / "kept", "step2a_hooks.json")
        assert labels == load(source, "step2a_hooks.json") != load(tmp_path / "tone", "step2a_hooks.json")

    def test_labels_are_made_again_when_asked(self, ictc: Ictc, source: Path, tmp_path: Path) -> None:
        said = recluster(ictc, source, tmp_path / "redo", "--num_clusters", 3, "--redo_2a", "--seed", 9)
        assert "Step 2a labels: 0/" in said
        assert load(tmp_path / "redo", "step2a_hooks.json") != load(source, "step2a_hooks.json")

    def test_labels_are_made_again_where_reused_ones_lie_already(
        self, ictc: Ictc, source: Path, tmp_path: Path
    ) -> None:
        arguments = ("--num_clusters", 3)
        recluster(ictc, source, tmp_path / "out", *arguments)
        assert "Step 2a labels: 0/" in recluster(ictc, source, tmp_path / "out", *arguments, "--redo_2a")
        assert "Step 2a labels: 0/" not in recluster(ictc, source, tmp_path / "out", *arguments, "--redo_2a")

    def test_several_k_go_into_folders_of_their_own_with_a_comparison(
        self, ictc: Ictc, source: Path, tmp_path: Path
    ) -> None:
        pytest.importorskip("pandas", reason="the comparison needs the extra analysis")
        said = recluster(ictc, source, tmp_path / "ks", "--num_clusters", "3,4,6")
        recluster(ictc, source, tmp_path / "k4", "--num_clusters", 4)
        assert exported_bytes(tmp_path / "ks" / "k4") == exported_bytes(tmp_path / "k4")
        with (tmp_path / "ks" / "comparison_balance.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["num_clusters"] for row in rows] == ["3", "4", "6"]
        sizes = [cluster["size"] for cluster in load(tmp_path / "k4", "step3_metadata.json")["clusters"]]
        assert rows[1]["sizes"] == " ".join(map(str, sorted(sizes, reverse=True)))
        assert "Agreement" in said

    def test_several_k_load_one_model_without_eyes(
        self, ictc: Ictc, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level("INFO", logger="ictc.engines.provider"):
            recluster(ictc, source, tmp_path / "ks", "--num_clusters", "3,4")
        loads = [record.getMessage() for record in caplog.records if record.name == "ictc.engines.provider"]
        assert loads == ["loading scripted with the scripted engine, text only"]

    def test_the_track_is_chosen_among_several(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "both", "--track", "1,2")
        arguments = ("--source_dir", tmp_path / "both", "--output_dir", tmp_path / "k4", "--num_clusters", 4)
        assert "name one of them with --track" in ictc("recluster", *arguments).stderr
        assert ictc("recluster", *arguments, "--track", "2").exit_code == 0
        assert load(tmp_path / "k4", "ictc_final_results.json")["metadata"]["track"] == "identity"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--num_clusters", "5,x"], "--num_clusters 5,x: must be a number"),
            (["--num_clusters", "1"], "--num_clusters 1: must be a number from 2"),
            (["--redo_2a", "--keep_labels"], "contradict each other"),
            (["--clusters", "nowhere.json"], "nowhere.json: cannot be read"),
            (["--clusters", "c.json", "--num_clusters", "4"], "leave out --num_clusters"),
            (["--track", "3"], "holds marketing"),
            (["--num_clusters", "3", "--synthesize_runs", "0"], "error: --synthesize_runs 0: input should be greater"),
        ],
    )
    def test_a_wrong_command_is_refused_with_the_reason(
        self, ictc: Ictc, source: Path, tmp_path: Path, arguments: list[str], words: str
    ) -> None:
        outcome = ictc("recluster", "--source_dir", source, "--output_dir", tmp_path / "out", *arguments)
        assert outcome.exit_code == 2
        assert words in outcome.stderr

    def test_the_source_is_refused_as_the_target(self, ictc: Ictc, source: Path, tmp_path: Path) -> None:
        before = contents(source)
        for target in (source, source / "inside"):
            refused = ictc("recluster", "--source_dir", source, "--output_dir", target)
            assert refused.exit_code == 2
            assert "never written to" in refused.stderr
        assert contents(source) == before

    def test_an_unfinished_source_is_refused(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "half", "--steps", "1")
        refused = ictc("recluster", "--source_dir", tmp_path / "half", "--output_dir", tmp_path / "out")
        assert refused.exit_code == 2
        assert "the label step has not begun there" in refused.stderr


class TestSourcesOfManyParts:
    """What other commands made is a source, and so is what this command made of it."""

    @pytest.fixture
    def merged(self, ictc: Ictc, ads: Path, tmp_path: Path) -> Path:
        """Three shards, each of which was at work twice, merged."""
        failing = ("--engine_options", '{"fail": ["ad_001", "ad_009", "ad_018"]}')
        for index in range(3):
            shard = ("--num_shards", 3, "--shard_index", index)
            ictc.succeed(ads, tmp_path / "shards", *shard, *failing)
            ictc.succeed(ads, tmp_path / "shards", *shard, "--retry_rejected")
        assert ictc("merge", tmp_path / "shards", "--output_dir", tmp_path / "merged").exit_code == 0
        return tmp_path / "merged"

    def test_of_a_merged_run_of_its_result_and_of_a_merge_of_that(
        self, ictc: Ictc, ads: Path, merged: Path, tmp_path: Path
    ) -> None:
        ictc.succeed(ads, tmp_path / "direct", "--num_clusters", 4)
        recluster(ictc, merged, tmp_path / "once", "--num_clusters", 4)
        recluster(ictc, tmp_path / "once", tmp_path / "twice", "--num_clusters", 4)
        for name, source in (("again", merged), ("of_reclustered", tmp_path / "twice")):
            merge = ("merge", source, "--output_dir", tmp_path / name, "--num_clusters", 4)
            assert ictc(*merge).exit_code == 0
        recluster(ictc, tmp_path / "of_reclustered", tmp_path / "last", "--num_clusters", 4)
        for name in ("once", "twice", "again", "of_reclustered", "last"):
            assert exported_bytes(tmp_path / name) == exported_bytes(tmp_path / "direct"), name
            assert ictc("verify", tmp_path / name).exit_code == 0

    def test_later_records_of_a_source_count(self, ictc: Ictc, ads: Path, merged: Path, tmp_path: Path) -> None:
        for track in merged.glob("state/caption/*/"):
            assert len(list(track.glob("*.jsonl"))) == 6
        (segment,) = merged.glob("state/label/*/part0-000000.jsonl")
        later = Journal(segment.parent)  # its own number is that of another's segment
        record = later.get("ad_001")
        assert record is not None
        later.append({**record, "data": {"label": "said later"}})
        later.close()
        recluster(ictc, merged, tmp_path / "out", "--num_clusters", 3)
        assert load(tmp_path / "out", "step2a_hooks.json")["ad_001"] == "said later"

    def test_a_replaced_image_of_the_source_comes_through(self, ictc: Ictc, tmp_path: Path) -> None:
        ads = draw_flat(tmp_path / "ads", 8)
        for shard in (0, 1):
            ictc.succeed(ads, tmp_path / "shards", "--num_shards", 2, "--shard_index", shard)
        merge = ("merge", tmp_path / "shards", "--output_dir", tmp_path / "merged")
        assert ictc(*merge).exit_code == 0
        recluster(ictc, tmp_path / "merged", tmp_path / "out", "--num_clusters", 3)
        draw_image(ads / "ad_005.png", 77)
        ictc.succeed(ads, tmp_path / "shards", "--num_shards", 2, "--shard_index", 1)
        assert ictc(*merge).exit_code == 0
        recluster(ictc, tmp_path / "merged", tmp_path / "out", "--num_clusters", 3)
        ictc.succeed(ads, tmp_path / "direct")
        assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "direct")
        assert ictc("verify", tmp_path / "out").exit_code == 0


class TestDefaults:
    @pytest.mark.parametrize(
        ("of_source", "given", "expected"),
        [
            ({}, {}, {"vlm_model": SMALL, "llm_model": "unified", "max_model_len": None, "batch_llm": 64}),
            ({"max_model_len": 16384, "batch_llm": 300}, {}, {"max_model_len": 16384, "batch_llm": 300}),
            (
                {"max_model_len": 16384},
                {"max_model_len": 2048, "batch_llm": 8},
                {"max_model_len": 2048, "batch_llm": 8},
            ),
            ({"llm_model": "a/text"}, {}, {"llm_model": "a/text"}),
            ({"llm_model": "a/text"}, {"vlm_model": "b"}, {"vlm_model": "b", "llm_model": "unified"}),
            ({"engine": "lite", "batch_llm": 3}, {"engine": "vllm"}, {"vlm_model": SMALL, "batch_llm": 64}),
        ],
    )
    def test_what_the_source_was_told_holds_unless_told_otherwise(
        self, tmp_path: Path, of_source: dict[str, Any], given: dict[str, Any], expected: dict[str, Any]
    ) -> None:
        flags = {"ads_dir": str(tmp_path), "output_dir": str(tmp_path), "track": "marketing", **of_source}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(flags))
        source, target = RunDirectory(tmp_path), RunDirectory(tmp_path / "out")
        request = ReclusterRequest(source_dir=tmp_path, output_dir=tmp_path / "out", overrides=given)
        settings = load_settings(source, **build_overrides(source, Target(directory=target, num_clusters=10), request))
        flags = settings.engine.model_dump()
        assert {name: flags[name] for name in expected} == expected


class TestEditedClusters:
    @pytest.fixture
    def edited(self, source: Path, tmp_path: Path) -> Path:
        """The clusters of the source, one renamed and one added."""
        clusters = load(source, "step2b_dynamic_clusters.json")
        for cluster in clusters:
            del cluster["cluster_id"]
        clusters[1]["name"] = "Renamed by hand"
        clusters.append({"name": "Added by hand", "description": "Everything else."})
        path = tmp_path / "edited.json"
        path.write_bytes(orjson.dumps(clusters, option=orjson.OPT_INDENT_2))
        return path

    def test_they_are_assigned_to_as_they_are(self, ictc: Ictc, source: Path, edited: Path, tmp_path: Path) -> None:
        recluster(ictc, source, tmp_path / "out", "--clusters", edited, "--engine_options", NEVER)
        names = {cluster["name"] for cluster in load(tmp_path / "out", "step2b_dynamic_clusters.json")}
        assert names == {row["name"] for row in orjson.loads(edited.read_bytes())}
        assert set(load(tmp_path / "out", "step3_final_assignment.json").values()) <= names
        assert ictc("verify", tmp_path / "out").exit_code == 0

    def test_a_run_takes_them_as_well(self, ictc: Ictc, ads: Path, source: Path, edited: Path, tmp_path: Path) -> None:
        recluster(ictc, source, tmp_path / "out", "--clusters", edited)
        arguments = ("--ads_dir", ads, "--output_dir", tmp_path / "run", "--engine", "scripted", "--clusters", edited)
        assert ictc("run", *arguments).exit_code == 0
        assert exported_bytes(tmp_path / "run") == exported_bytes(tmp_path / "out")
        edited.write_text('[{"name": "A"}, {"name": "B"}]')
        again = ictc("run", *arguments, "--steps", "3")
        assert again.exit_code == 0
        assert set(load(tmp_path / "run", "step3_final_assignment.json").values()) <= {"A", "B"}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('{"name": "A"}', "line 1: must be a JSON list"),
            ('[\n  {"name": "A"},\n  {"name": "B",}\n]', "line 3, column"),
            ('[\n  {"name": "A"}\n  {"name": "B"}\n]', "line 3: expected a comma"),
            ('[\n  {"name": "A"},\n  {"nmae": "B"}\n]', "line 3, 'name': Field required"),
            ('[\n  {"name": "A"},\n\n  {"name": "B", "about": 1}\n]', "line 4, 'about': Extra inputs"),
            ('[\n  {"name": "A"},\n  {"name": "  "}\n]', "line 3, 'name': String should have at least 1"),
            ('[\n  {"name": "A"},\n  {"name": "a"}\n]', "line 3: the name 'a' is that of line 2"),
            ('[\n  {"name": "A-Ha"},\n  {"name": "a ha."}\n]', "line 3: the name 'a ha.' is that of line 2"),
            ('[\n  {"name": "A"},\n  {"name": "\u200b"}\n]', "can't be seen"),
            ('[\n  "A",\n  "B"\n]', "line 2: Input should be"),
            ('[{"name": "A"}]', "1 clusters; there must be 2 to 100"),
            ('[{"name": "A", "cluster_id": 1}, {"name": "B", "cluster_id": 3}]', "must be 1 to 2, each once"),
            ('[{"name": "A", "cluster_id": 1}, {"name": "B"}]', "must be 1 to 2, each once"),
            ('[{"name": "A"}, {"name": "B"}\n', "expected a comma or the closing ]"),
            ('[{"name": "A"}, {"name": "B"}]\n\nx', "line 3: something follows the list"),
            ("", "line 1: must be a JSON list"),
        ],
    )
    def test_a_broken_file_is_refused_with_the_line(
        self, ictc: Ictc, ads: Path, tmp_path: Path, text: str, words: str
    ) -> None:
        (tmp_path / "clusters.json").write_text(text)
        refused = ictc(
            *("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", "--engine", "scripted"),
            *("--clusters", tmp_path / "clusters.json"),
        )
        assert refused.exit_code == 2
        assert words in refused.stderr
        assert not (tmp_path / "out" / "state").exists()
