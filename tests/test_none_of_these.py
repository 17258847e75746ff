"""`--allow_none`: images that no cluster fits are an outcome of their own, on every way to the results and back."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat
from support.fault_server import MODEL, Reply, completion, say, serving
from support.fork_server import ForkServer
from support.scripted_run import ScriptedRun, run_undisturbed
from support.step_configs import make_config

import ictc as package
from ictc.engines.base import Task
from ictc.records import ClusterDefinition
from ictc.steps.assign import ASSIGN
from ictc.steps.none_of_these import NONE_NAME, is_named_none, name_none
from ictc.steps.options import make_options
from ictc.steps.results import Results
from ictc.storage.manifest import Manifest

ALLOWED = "--allow_none"


def options(**scripted: Any) -> tuple[str, str]:
    return "--engine_options", orjson.dumps(scripted).decode()


def clusters_of(out: Path) -> dict[str, str | None]:
    """Return the cluster of each image that was judged."""
    assigned: dict[str, str | None] = load(out, "step3_final_assignment.json")
    return assigned


def none_of(out: Path) -> set[str]:
    return {image_id for image_id, cluster in clusters_of(out).items() if cluster is None}


def check_accounting(out: Path) -> Counter[str]:
    """Check that each image has one outcome, which all files agree on; return how many have which."""
    names = [cluster["name"] for cluster in load(out, "step2b_dynamic_clusters.json")]
    outcomes: list[tuple[str, str]] = [
        *((image_id, "none" if name is None else "cluster") for image_id, name in clusters_of(out).items()),
        *((image_id, "ui_only") for image_id in load(out, "ui_only_images.json")),
        *((image_id, "broken") for image_id in load(out, "broken_images.json")),
        *((row["image_id"], "rejected") for row in read_rejections(out) if row["stage"] != "label"),
    ]
    assert sorted(image_id for image_id, _ in outcomes) == sorted(load(out, "image_mapping.json"))
    assert set(clusters_of(out).values()) <= {*names, None}
    final, metadata = load(out, "ictc_final_results.json"), load(out, "step3_metadata.json")
    rows, table = final["results"], pq.read_table(out / "results.parquet").to_pylist()
    assert [{name: row[name] for name in table[0]} for row in rows] == table
    assert {row["image_id"]: row["cluster"] for row in rows} == clusters_of(out)
    assert all((row["cluster_id"] is None) == (row["cluster"] is None) for row in rows)
    assert all(row["runner_up"] in names for row in rows if row["cluster"] is None)
    counted = Counter(outcome for _, outcome in outcomes)
    step3 = metadata["step3"]
    assert (step3["done"], step3.get("none", 0)) == (counted["cluster"], counted["none"])
    sizes = Counter(clusters_of(out).values())
    assert {one["name"]: one["size"] for one in metadata["clusters"]} == {name: sizes[name] for name in names}
    return counted


def read_rejections(out: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (out / "rejected.jsonl").read_bytes().splitlines()]


class TestAccounting:
    @given(
        salt=st.text("abcdef", min_size=1, max_size=6),
        num_clusters=st.integers(2, 4),
        failing=st.frozensets(st.integers(0, 21), max_size=4),
        dedupe=st.sampled_from(["off", "exact", "near"]),
    )
    @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_every_image_has_exactly_one_outcome_in_every_file(
        self,
        salt: str,
        num_clusters: int,
        failing: frozenset[int],
        dedupe: str,
        drawn_ads: Path,
        capsys: pytest.CaptureFixture[str],
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        ictc, out = Ictc(capsys), tmp_path_factory.mktemp("accounting") / "out"
        scripted = options(salt=salt, fail=[f"ad_{number:03d}" for number in failing])
        more = ("--num_clusters", num_clusters, "--dedupe", dedupe, "--max_rejected", 1, ALLOWED)
        ictc.succeed(drawn_ads, out, *scripted, *more)
        check_accounting(out)
        assert ictc("verify", out).stdout == f"{out}: in order\n"
        run = package.open(out)
        assert {*run.results["image_id"], *run.rejected["image_id"]} == set(load(out, "image_mapping.json"))
        assert set(run.none["image_id"]) == none_of(out) == ids(run.rejected, "none")
        assert run.results["cluster"].notna().all()
        assert run.clusters["size"].sum() == len(run.results)

    def test_some_images_of_the_fixed_collection_fit_none(self, ictc: Ictc, drawn_ads: Path, out: Path) -> None:
        outcome = ictc.succeed(drawn_ads, out, ALLOWED)
        counted = check_accounting(out)
        assert min(counted[name] for name in ("cluster", "none", "broken")) > 0
        share = counted["none"] / (counted["none"] + counted["cluster"])
        assert f"\n{counted['none']:>7}  {share:>4.0%}  {NONE_NAME}: no cluster fits\n" in outcome.stdout
        assert load(out, "step3_metadata.json")["allow_none"] is True
        assert "allow_none" not in load(out, "step2b_metadata.json")

    def test_copies_follow(self, ictc: Ictc, drawn_ads: Path, out: Path) -> None:
        for salt in "abcdefgh":
            ictc.succeed(drawn_ads, out, ALLOWED, *options(salt=salt))
            if none_of(out) & {"ad_003_copy", "ad", "ad_020_copy"}:
                break
        clusters = clusters_of(out)
        for original, copy in (("ad_003", "ad_003_copy"), ("ad_010", "ad"), ("ad_020", "ad_020_copy")):
            assert clusters.get(original) == clusters.get(copy)
        assert none_of(out) & {"ad_003_copy", "ad", "ad_020_copy"}


def ids(table: Any, outcome: str) -> set[str]:
    return set(table.loc[table["outcome"] == outcome, "image_id"])


class TestWithoutTheFlag:
    def test_the_key_and_the_requests_are_those_of_before(self, tmp_path: Path) -> None:
        results = Results(Manifest(tmp_path / "manifest.jsonl", {}, 0))
        plain, allowed = (ASSIGN.key(make_config(allow_none=allow), results) for allow in (False, True))
        assert {name: value for name, value in allowed.items() if name != "allow_none"} == plain
        assert "allow_none" not in plain
        clusters = [ClusterDefinition(number, name=f"c{number}", description="") for number in (1, 2)]
        assert [option.cluster_id for option in make_options(clusters, allow_none=False)] == [1, 2]

    def test_nothing_but_step_3_is_done_again_and_going_back_costs_nothing(
        self, ictc: Ictc, drawn_ads: Path, out: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, out)
        without = exported_bytes(out)
        asked.clear()
        outcome = ictc.succeed(drawn_ads, out, ALLOWED)
        assert set(asked) == {Task.ASSIGN}
        assert "allow_none changed" in outcome.stderr
        allowed = exported_bytes(out)
        asked.clear()
        ictc.succeed(drawn_ads, out)
        assert exported_bytes(out) == without
        ictc.succeed(drawn_ads, out, ALLOWED)
        assert exported_bytes(out) == allowed
        assert not asked

    def test_a_record_that_fits_none_is_noticed(self, ictc: Ictc, drawn_ads: Path, out: Path) -> None:
        ictc.succeed(drawn_ads, out, ALLOWED)
        allowed = json.loads((out / "state" / "assign" / "current.json").read_bytes())
        (folder,) = (path for path in (out / "state" / "assign").iterdir() if path.is_dir())
        ictc.succeed(drawn_ads, out)
        (plain,) = (path for path in (out / "state" / "assign").iterdir() if path.is_dir() and path != folder)
        for segment in plain.glob("*.jsonl"):
            segment.unlink()
        for segment in folder.glob("*.jsonl"):
            (plain / segment.name).write_bytes(segment.read_bytes())
        verified = ictc("verify", out)
        assert "allow_none" in allowed
        assert verified.exit_code == 1
        assert f"{len(none_of_journal(plain))} images fit no cluster, which the key does not allow" in verified.stdout


def none_of_journal(folder: Path) -> set[bytes]:
    lines = (line for segment in folder.glob("*.jsonl") for line in segment.read_bytes().splitlines())
    return {line.split(b'"id":"')[1].split(b'"')[0] for line in lines if b'"status":"none"' in line}


class TestAgain:
    def test_what_fits_none_is_neither_rejected_nor_tried_again(
        self, ictc: Ictc, drawn_ads: Path, out: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, out, ALLOWED, "--max_rejected", 0.01)
        none = none_of(out)
        assert none
        asked.clear()
        assert ictc("retry", out).exit_code == 0
        assert not asked[Task.ASSIGN]
        assert none_of(out) == none
        assert not read_rejections(out)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_run_killed_at_random_instants_ends_as_if_nothing_had_happened(
        self, fork_server: ForkServer, drawn_ads: Path, tmp_path: Path, seed: int
    ) -> None:
        reference = run_undisturbed(ScriptedRun(fork_server, drawn_ads, tmp_path / "reference", flags=(ALLOWED,)))
        run, random = (
            ScriptedRun(fork_server, drawn_ads, tmp_path / "out", quickly=False, flags=(ALLOWED,)),
            Random(seed),
        )
        assert none_of(tmp_path / "reference")
        for _ in range(3):
            run.interrupt(kill_after_s=random.uniform(0, reference.seconds / 2))
        run.check(reference)

    def test_a_merge_gives_what_one_run_gives(
        self, ictc: Ictc, drawn_ads: Path, tmp_path: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(drawn_ads, tmp_path / "whole", ALLOWED)
        for index in (0, 1, 2):
            shard = ("--num_shards", 3, "--shard_index", index, ALLOWED, "--max_broken", 1)
            ictc.succeed(drawn_ads, tmp_path / "shards", *shard)
        assert ictc("merge", tmp_path / "shards", "--output_dir", tmp_path / "merged").exit_code == 0
        assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "whole")
        # Step 3 divided, too: of the same clusters, and some shards may have nothing that fits.
        given = ("--clusters", tmp_path / "merged" / "step2b_dynamic_clusters.json")
        for start, end in pairwise((0, 2, 9, 27)):
            part = ("--start_index", start, "--end_index", end, "--shard_id", f"part_{start}", "--max_broken", 1)
            arguments = ("run", "--ads_dir", drawn_ads, "--output_dir", tmp_path / "parts", "--engine", "scripted")
            outcome = ictc(*arguments, *part, *given, ALLOWED)
            assert outcome.exit_code == 0, outcome.stderr
        asked.clear()
        assert ictc("merge", tmp_path / "parts", "--output_dir", tmp_path / "divided").exit_code == 0
        assert not asked
        assert clusters_of(tmp_path / "divided") == clusters_of(tmp_path / "whole")


class TestRecluster:
    def test_it_does_as_the_source_unless_told_otherwise(self, ictc: Ictc, drawn_ads: Path, tmp_path: Path) -> None:
        ictc.succeed(drawn_ads, tmp_path / "allowed", ALLOWED)
        ictc.succeed(drawn_ads, tmp_path / "plain")
        for source, flags, is_allowed in (
            ("allowed", (), True),
            ("allowed", ("--allow_none=false",), False),
            ("plain", (ALLOWED,), True),
            ("plain", (), False),
        ):
            target = tmp_path / f"of_{source}_{is_allowed}"
            command = ("recluster", "--source_dir", tmp_path / source, "--output_dir", target, "--num_clusters", 2)
            outcome = ictc(*command, *flags)
            assert outcome.exit_code == 0, outcome.stderr
            assert bool(none_of(target)) is is_allowed
            check_accounting(target)
        same = [exported_bytes(tmp_path / f"of_{source}_True") for source in ("allowed", "plain")]
        assert same[0] == same[1]

    def test_from_python(self, drawn_ads: Path, tmp_path: Path) -> None:
        run = package.cluster(
            drawn_ads, output_dir=tmp_path / "out", engine="scripted", num_clusters=3, allow_none=True
        )
        assert len(run.none)
        assert len(run.recluster(output_dir=tmp_path / "plain", num_clusters=2, allow_none=False).none) == 0
        assert len(run.recluster(output_dir=tmp_path / "same", num_clusters=2).none)

    @pytest.mark.parametrize("name", ["None of these", "  none of THESE. "])
    def test_clusters_that_are_given_are_not_called_so(
        self, ictc: Ictc, drawn_ads: Path, tmp_path: Path, name: str
    ) -> None:
        edited = tmp_path / "edited.json"
        edited.write_text(json.dumps([{"name": "Food"}, {"name": "Travel"}, {"name": name}], indent=1))
        command = (
            "run",
            "--ads_dir",
            drawn_ads,
            "--output_dir",
            tmp_path / "out",
            "--engine",
            "scripted",
            "--clusters",
            edited,
        )
        refused = ictc(*command, ALLOWED)
        assert refused.exit_code == 2
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("ictc: error: ")]
        assert f"--clusters {edited}: line 8: " in line
        assert "is what --allow_none calls images that no cluster fits" in line
        assert ictc(*command).exit_code == 0
        recluster = ("recluster", "--source_dir", tmp_path / "out", "--output_dir", tmp_path / "other")
        assert ictc(*recluster, "--clusters", edited, ALLOWED).exit_code == 2
        assert ictc(*recluster, "--num_clusters", 2, ALLOWED).exit_code == 0


def test_a_guide_asks_for_no_cluster_called_so(ictc: Ictc, drawn_ads: Path, tmp_path: Path) -> None:
    guide = tmp_path / "guide.yaml"
    guide.write_text("clusters:\n- name: none of THESE\n- name: Food\n")
    command = (
        "run",
        "--ads_dir",
        drawn_ads,
        "--output_dir",
        tmp_path / "out",
        "--engine",
        "scripted",
        "--guide",
        guide,
    )
    refused = ictc(*command, ALLOWED)
    assert refused.exit_code == 2
    assert f"--guide {guide}: clusters: 'None of these' is what --allow_none calls" in refused.stderr
    assert not (tmp_path / "out" / "step1_captions.json").exists()


def letter_of(request: Mapping[str, Any], name: str) -> str:
    """Return the letter under which a prompt lists an option."""
    words = "\n".join(str(message["content"]) for message in request["messages"])
    found = re.findall(rf"^(\w+)\. {re.escape(name)}: ", words, re.MULTILINE)
    assert len(found) == 1, words
    return str(found[0])


def answering(choose: Callable[[Mapping[str, Any]], str], *names: str) -> Callable[[Mapping[str, Any]], Reply]:
    """Answer as a model would, Step 2b with clusters of these names and Step 3 as `choose` does."""

    def answer(body: Mapping[str, Any]) -> Reply:
        properties = body["response_format"]["json_schema"]["schema"]["properties"]
        if "clusters" in properties:
            clusters = [{"name": name, "description": f"About {name}."} for name in names]
            return completion(json.dumps({"clusters": clusters}))
        return completion(json.dumps({"answer": choose(body)})) if "answer" in properties else say(body)

    return answer


class TestOnAServer:
    def run(self, ictc: Ictc, drawn_ads: Path, out: Path, answer: Callable[[Mapping[str, Any]], Reply]) -> str:
        with serving(answer) as server:
            place = ("--base_url", server.url, "--vlm_model", MODEL)
            outcome = ictc.run(drawn_ads, out, *place, "--num_clusters", 2, "--report", "off", ALLOWED, engine="openai")
        assert outcome.exit_code == 0, outcome.stderr
        return outcome.stdout

    def test_a_model_may_find_that_nothing_fits_any(self, ictc: Ictc, tmp_path: Path, out: Path) -> None:
        ads = draw_flat(tmp_path / "ads", 4)
        answer = answering(lambda request: letter_of(request, NONE_NAME), "Food", "Travel")
        assert f"4  100%  {NONE_NAME}: no cluster fits" in self.run(ictc, ads, out, answer)
        assert check_none(out, ["Food", "Travel"]) == 4
        assert ictc("verify", out).exit_code == 0
        refused = ictc("sample", out)
        assert refused.exit_code == 2
        assert "no image has a cluster" in refused.stderr

    def test_it_may_say_so_in_words(self, ictc: Ictc, tmp_path: Path, out: Path) -> None:
        self.run(ictc, draw_flat(tmp_path / "ads", 4), out, answering(lambda _: "none of these", "Food", "Travel"))
        assert check_none(out, ["Food", "Travel"]) == 4

    def test_a_cluster_that_a_model_calls_so_is_none_the_less_one(self, ictc: Ictc, tmp_path: Path, out: Path) -> None:
        ads, turns = draw_flat(tmp_path / "ads", 6), iter(range(100))

        def choose(request: Mapping[str, Any]) -> str:
            apart, cluster = f"{NONE_NAME} (no cluster)", NONE_NAME
            return letter_of(request, (apart, cluster)[next(turns) % 2])

        said = self.run(ictc, ads, out, answering(choose, NONE_NAME, "Travel"))
        assert check_none(out, [NONE_NAME, "Travel"]) == 3
        assert Counter(clusters_of(out).values()) == {NONE_NAME: 3, None: 3}
        assert f"3   50%  {NONE_NAME}\n" in said
        assert f"3   50%  {NONE_NAME} (no cluster): no cluster fits" in said
        assert ictc("verify", out).exit_code == 0


def check_none(out: Path, names: list[str]) -> int:
    """Check the files of a run without scores; return how many images fit none."""
    assert [cluster["name"] for cluster in load(out, "step2b_dynamic_clusters.json")] == names
    rows = load(out, "ictc_final_results.json")["results"]
    assert {(row["confidence"], row["runner_up"]) for row in rows} == {(None, None)}
    count = len(none_of(out))
    assert load(out, "step3_metadata.json")["step3"].get("none", 0) == count
    return count


@pytest.mark.parametrize("names", [["a"], [NONE_NAME], ["NONE OF THESE", "none of these (no cluster)"]])
def test_no_cluster_has_the_name(names: list[str]) -> None:
    name = name_none(names)
    assert name.startswith(NONE_NAME)
    assert name.lower() not in {one.lower() for one in names}
    assert is_named_none(name) is not any(map(is_named_none, names))


@pytest.fixture(scope="module")
def finished(drawn_ads: Path, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, some of whose images fit no cluster."""
    path = tmp_path_factory.mktemp("finished") / "out"
    ScriptedRun(fork_server, drawn_ads, path, flags=(ALLOWED,)).finish()
    return path


class TestLaterCommands:
    def test_status_counts_them_beside_what_is_done(
        self, ictc: Ictc, finished: Path, drawn_ads: Path, tmp_path: Path
    ) -> None:
        steps = {step["stage"]: step for step in orjson.loads(ictc("status", finished, "--json").stdout)["steps"]}
        num_none = len(none_of(finished))
        assert steps["assign"]["none"] == num_none > 0
        assert (steps["assign"]["done"], steps["assign"]["rejected"]) == (len(clusters_of(finished)), {})
        assert steps["caption"]["none"] == 0
        lines = ictc("status", finished).stdout.splitlines()
        assert "LAST  NO CLUSTER  REJECTED" in lines[0]
        (assigned,) = (line for line in lines if "Step 3" in line)
        assert assigned.split()[-1] == str(num_none)
        ictc.succeed(drawn_ads, tmp_path / "plain")
        assert "NO CLUSTER" not in ictc("status", tmp_path / "plain").stdout

    def test_evaluate_counts_them_as_unassigned_and_the_confusion_shows_them(
        self, ictc: Ictc, finished: Path, tmp_path: Path
    ) -> None:
        clusters = clusters_of(finished)
        # The classes are the clusters, and one more class is that of the images that fit none.
        rows = [(image_id, cluster or "others") for image_id, cluster in clusters.items()]
        truth = write_csv(tmp_path / "truth.csv", ("image_id", "truth"), rows)
        outcome = ictc("evaluate", finished, "--truth", truth, "--output_dir", tmp_path / "evaluated")
        num_none = len(none_of(finished))
        assert outcome.exit_code == 0, outcome.stderr
        assert f"with a class but no cluster: {num_none} ({num_none} no cluster fits)" in outcome.stdout
        evaluated = load(tmp_path / "evaluated", "evaluation.json")
        assert evaluated["with_class_fitting_none"] == num_none
        assert evaluated["scores"]["accuracy"] == 1
        assert evaluated["scores"]["accuracy_of_all"] == pytest.approx(1 - num_none / len(clusters))
        confusion = read_csv(tmp_path / "evaluated" / "confusion.csv")
        assert list(confusion[0])[-1] == NONE_NAME
        assert {row["class"]: int(row[NONE_NAME]) for row in confusion if int(row[NONE_NAME])} == {"others": num_none}
        counted = sum(int(count) for row in confusion for name, count in row.items() if name != "class")
        assert counted == len(clusters)

    def test_a_sample_has_a_block_of_them(self, ictc: Ictc, finished: Path, tmp_path: Path) -> None:
        outcome = ictc("sample", finished, "--per_cluster", 2, "--output_dir", tmp_path / "sample")
        assert outcome.exit_code == 0, outcome.stderr
        assert "clusters and of those that none fits" in outcome.stdout
        rows = read_csv(tmp_path / "sample" / "sample.csv")
        assert {row["image_id"] for row in rows if row["cluster"] == NONE_NAME} <= none_of(finished)
        assert [row["cluster"] for row in rows].count(NONE_NAME) == min(2, len(none_of(finished)))

    def test_exports_have_them_in_the_table_alone(
        self, ictc: Ictc, finished: Path, drawn_ads: Path, tmp_path: Path
    ) -> None:
        assert ictc("export", finished, "--format", "csv", "--output", tmp_path / "all.csv").exit_code == 0
        rows = read_csv(tmp_path / "all.csv")
        assert {row["image_id"]: row["cluster"] or None for row in rows} == clusters_of(finished)
        assert {row["cluster_id"] for row in rows} <= {"", "1", "2", "3"}
        num_none = len(none_of(finished))
        for form in ("huggingface", "fiftyone"):
            arguments = ("--format", form, "--output", tmp_path / form, "--ads_dir", drawn_ads)
            outcome = ictc("export", finished, *arguments)
            assert outcome.exit_code == 0, outcome.stderr
            assert f"{len(rows) - num_none} ads: {tmp_path / form}; {num_none} left out" in outcome.stdout
        kept = pq.read_table(tmp_path / "huggingface" / "train" / "metadata.parquet").to_pylist()
        assert not {row["image_id"] for row in kept} & none_of(finished)

    def test_trends_tell_their_share(self, ictc: Ictc, tmp_path: Path) -> None:
        from support.result_folders import write_results

        ads = [f"ad_{number}" for number in range(40)]
        clusters = {ad: ("Food", "Travel", None, None)[number % 4] for number, ad in enumerate(ads)}
        months = {ad: f"2025-0{1 + number // 20}-03T00:00:00Z" for number, ad in enumerate(ads)}
        run = write_results(tmp_path / "run", clusters, timestamp=months)
        outcome = ictc("trends", run, "--by", "month", "--output_dir", tmp_path / "trends")
        assert outcome.exit_code == 0, outcome.stderr
        assert f"[3] {NONE_NAME}" in outcome.stdout
        rows = load(tmp_path / "trends", "trends_month.json")["shares"]
        assert {row["share"] for row in rows if row["cluster"] == NONE_NAME} == {0.5}
        assert {row["share"] for row in rows if row["cluster"] == "Food"} == {0.25}

    def test_consensus_takes_them_for_missing(
        self, ictc: Ictc, finished: Path, drawn_ads: Path, tmp_path: Path
    ) -> None:
        ictc.succeed(drawn_ads, tmp_path / "plain", "--num_clusters", 2, *options(window=8, fail=["ad_003"]))
        outcome = ictc("consensus", finished, tmp_path / "plain", "--output_dir", tmp_path / "consensus")
        assert outcome.exit_code == 0, outcome.stderr
        assert f"left out: {len(none_of(finished))} (no cluster in some run)" in outcome.stdout
        images = read_csv(tmp_path / "consensus" / "consensus_assignment.csv")
        assert {row["image_id"] for row in images} == set(clusters_of(finished)) - none_of(finished)

    def test_a_plan_reckons_with_the_longer_prompt(self, ictc: Ictc, drawn_ads: Path) -> None:
        command = ("plan", "--ads_dir", drawn_ads, "--gpu", "h100", "--vlm_model", "Qwen/Qwen3.5-9B", "--json")
        plans = [orjson.loads(ictc(*command, *flags).stdout) for flags in ((), (ALLOWED,))]
        plain, allowed = ({step["step"]: step["text_tokens"] for step in plan["steps"]} for plan in plans)
        assert {name for name, count in allowed.items() if count > plain[name]} == {"assign"}
        assert {name for name, count in allowed.items() if count < plain[name]} == set()


def write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
