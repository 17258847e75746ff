"""`--assign_target`: some images are asked about and the others inferred, with a bound, on every way to the results."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.cli import Ictc, Outcome, exported_bytes, load
from support.faulty_disk import ANY, Fault
from support.fork_server import ForkServer
from support.step_configs import make_config

import ictc as package
from ictc.engines.base import Task
from ictc.engines.scripted import WORDS
from ictc.records import ClusterDefinition
from ictc.steps.assign import ASSIGN
from ictc.steps.results import Results
from ictc.storage.journal import decode_line, encode_line
from ictc.storage.manifest import Manifest

NUM_TEXTS = 160
TARGET = ("--assign_target", 0.8)
COMMON = ("--criterion", "the topic", "--label_column", "label")
PREDICTABLE = ("--engine", "scripted", "--engine_options", '{"by_label": 1}')
WHIMSICAL = ("--engine", "scripted", "--engine_options", '{"by_label": 0.9}')


def write_table(path: Path, num_texts: int = NUM_TEXTS, *, order: int | None = None) -> Path:
    """Write texts with labels of few first words, in their order or another one."""
    random = Random(7)
    texts = [
        (" ".join(random.choices(WORDS, k=8)), random.choice(WORDS[:9]), random.choice(WORDS)) for _ in range(num_texts)
    ]
    rows = [(f"text_{number:04d}", text, f"{first} {second}") for number, (text, first, second) in enumerate(texts)]
    if order is not None:
        Random(order).shuffle(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text", "label"), *rows])
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("texts") / "texts.csv")


def cluster(ictc: Ictc, table: Path, out: Path, *arguments: object, engine: tuple[str, ...] = PREDICTABLE) -> Outcome:
    """Cluster a table of texts and check that it went well."""
    outcome = ictc("import", table, "--output_dir", out, *COMMON, *engine, *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in load(out, "ictc_final_results.json")["results"]}


def clusters_of(out: Path) -> dict[str, str]:
    return load(out, "step3_final_assignment.json")


def problems(ictc: Ictc, out: Path) -> str:
    verified = ictc("verify", out)
    return verified.stdout if verified.exit_code else ""


class TestResults:
    def test_rows_metadata_and_commands_tell_what_was_asked(
        self, ictc: Ictc, table: Path, tmp_path: Path, asked: Counter[Task]
    ) -> None:
        cluster(ictc, table, tmp_path / "full")
        assert asked.pop(Task.ASSIGN) == NUM_TEXTS
        outcome = cluster(ictc, table, tmp_path / "some", *TARGET)
        certificate = load(tmp_path / "some", "step3_metadata.json")["certificate"]
        rows = rows_of(tmp_path / "some")
        assert certificate["asked"] == certificate["calls"] == asked[Task.ASSIGN] < 0.8 * NUM_TEXTS
        assert Counter(row["inferred"] for row in rows.values()) == {
            **{False: certificate["asked"]},
            **{True: NUM_TEXTS - certificate["asked"]},
        }
        assert all((row["probability"] is None) is not row["inferred"] for row in rows.values())
        assert all(0 <= row["probability"] <= 1 for row in rows.values() if row["inferred"])
        full = clusters_of(tmp_path / "full")
        agrees = sum(name == full[image_id] for image_id, name in clusters_of(tmp_path / "some").items()) / NUM_TEXTS
        assert agrees >= certificate["bound"] >= 0.8
        assert all(rows[image_id]["cluster"] == full[image_id] for image_id in rows if not rows[image_id]["inferred"])
        table_rows = pq.read_table(tmp_path / "some" / "results.parquet").to_pylist()
        assert [{name: row[name] for name in table_rows[0]} for row in rows.values()] == table_rows
        sentence = f"{certificate['asked']} were asked about"
        assert sentence in outcome.stderr
        assert sentence in ictc("status", tmp_path / "some").stdout
        assert problems(ictc, tmp_path / "some") == ""
        page = tmp_path / "page.html"
        assert ictc("report", tmp_path / "some", "--output", page, "--embeddings", "tfidf").exit_code == 0
        assert sentence in page.read_text()

    def test_what_cannot_be_certified_for_less_is_asked(self, ictc: Ictc, table: Path, out: Path) -> None:
        outcome = cluster(ictc, table, out, "--assign_target", 0.999, engine=("--engine", "scripted"))
        certificate = load(out, "step3_metadata.json")["certificate"]
        assert (certificate["asked"], certificate["bound"]) == (NUM_TEXTS, 1.0)
        assert "all 160 images were asked about" in outcome.stderr
        assert not any(row["inferred"] for row in rows_of(out).values())

    def test_none_levels_and_evidence_hold(self, ictc: Ictc, out: Path, tmp_path: Path) -> None:
        table = write_table(tmp_path / "few.csv", 60)
        flags = ("--allow_none", "--evidence", "--num_clusters", "2,4")
        cluster(ictc, table, out, *TARGET, *flags, engine=WHIMSICAL)
        rows = rows_of(out)
        assert {row["inferred"] for row in rows.values()} == {True, False}
        assert any(row["cluster"] is None for row in rows.values())
        assert all(row["cluster_path"][-1] == row["cluster"] for row in rows.values() if row["cluster"])
        assert "evidence" in next(iter(rows.values()))
        assert problems(ictc, out) == ""

    def test_equal_texts_are_asked_about_once(self, ictc: Ictc, tmp_path: Path, asked: Counter[Task]) -> None:
        table = tmp_path / "twice.csv"
        once = write_table(table, 60).read_text().splitlines()
        table.write_text("\n".join([*once, *(f"copy_{number}_{row}" for number in (1, 2) for row in once[1:])]))
        cluster(ictc, table, tmp_path / "out", *TARGET)
        certificate = load(tmp_path / "out", "step3_metadata.json")["certificate"]
        assert asked[Task.ASSIGN] == certificate["calls"] < 60
        assert certificate["asked"] == 3 * certificate["calls"]
        assert problems(ictc, tmp_path / "out") == ""
        cluster(ictc, table, tmp_path / "each", *TARGET, "--dedupe", "off")
        apart = load(tmp_path / "each", "step3_metadata.json")["certificate"]
        assert apart["asked"] == apart["calls"]
        assert problems(ictc, tmp_path / "each") == ""

    def test_it_is_one_cluster_or_all_that_fit(self, ictc: Ictc, table: Path, out: Path) -> None:
        refused = ictc("import", table, "--output_dir", out, *COMMON, *PREDICTABLE, *TARGET, "--multi_label")
        assert refused.exit_code == 2
        assert "--multi_label" in refused.stderr
        assert not out.exists()

    @pytest.mark.parametrize("target", [0, 1.1, -1])
    def test_a_target_is_a_share(self, ictc: Ictc, table: Path, out: Path, target: float) -> None:
        refused = ictc("import", table, "--output_dir", out, *COMMON, *PREDICTABLE, "--assign_target", target)
        assert refused.exit_code == 2


class TestAgain:
    def test_without_a_target_nothing_is_another(self, ictc: Ictc, table: Path, tmp_path: Path) -> None:
        results = Results(Manifest(tmp_path / "manifest.jsonl", {}, 0))
        assert "assign" not in "".join(ASSIGN.key(make_config(), results))
        cluster(ictc, table, tmp_path / "plain")
        cluster(ictc, table, tmp_path / "all", "--assign_target", 1)
        assert exported_bytes(tmp_path / "plain") == exported_bytes(tmp_path / "all")

    def test_targets_share_their_answers(self, ictc: Ictc, table: Path, out: Path, asked: Counter[Task]) -> None:
        cluster(ictc, table, out, *TARGET)
        some, first = exported_bytes(out), asked[Task.ASSIGN]
        cluster(ictc, table, out, "--assign_target", 0.9)
        assert load(out, "step3_metadata.json")["certificate"]["calls"] <= asked[Task.ASSIGN] < NUM_TEXTS
        cluster(ictc, table, out)
        assert asked[Task.ASSIGN] == NUM_TEXTS > first
        assert all(row.keys().isdisjoint({"inferred", "probability"}) for row in rows_of(out).values())
        asked.clear()
        cluster(ictc, table, out, *TARGET)
        assert exported_bytes(out) == some
        assert not asked

    def test_answers_that_are_there_need_no_engine(self, ictc: Ictc, table: Path, out: Path) -> None:
        cluster(ictc, table, out)
        cluster(ictc, table, out, *TARGET)
        before = exported_bytes(out)
        again = cluster(ictc, table, out, *TARGET)
        assert "all 160 are up to date" in again.stderr
        assert exported_bytes(out) == before

    def test_forced_it_asks_again(self, ictc: Ictc, table: Path, out: Path, asked: Counter[Task]) -> None:
        cluster(ictc, table, out, *TARGET)
        before, first = exported_bytes(out), asked[Task.ASSIGN]
        cluster(ictc, table, out, *TARGET, "--force_steps", 3)
        assert asked[Task.ASSIGN] == 2 * first
        assert exported_bytes(out) == before

    def test_the_order_of_images_changes_no_row(self, ictc: Ictc, table: Path, tmp_path: Path) -> None:
        cluster(ictc, table, tmp_path / "one", *TARGET, engine=WHIMSICAL)
        shuffled = write_table(tmp_path / "texts.csv", order=3)
        cluster(ictc, shuffled, tmp_path / "other", *TARGET, engine=WHIMSICAL)
        assert rows_of(tmp_path / "one") == rows_of(tmp_path / "other")

    def test_edits_end_as_a_fresh_run(self, ictc: Ictc, tmp_path: Path) -> None:
        table = write_table(tmp_path / "texts.csv")
        lines = table.read_text().splitlines()
        cluster(ictc, table, tmp_path / "out", *TARGET, engine=WHIMSICAL)
        for kept in (lines[:130], lines[:1] + lines[30:]):
            table.write_text("\n".join(kept) + "\n")
            cluster(ictc, table, tmp_path / "out", *TARGET, engine=WHIMSICAL)
            cluster(ictc, table, tmp_path / f"fresh_{len(kept)}_{kept[1][:9]}", *TARGET, engine=WHIMSICAL)
            assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / f"fresh_{len(kept)}_{kept[1][:9]}")
            assert problems(ictc, tmp_path / "out") == ""

    def test_rejected_images_are_asked_again_where_wanted(
        self, ictc: Ictc, table: Path, tmp_path: Path, asked: Counter[Task]
    ) -> None:
        cluster(ictc, table, tmp_path / "well", *TARGET)
        certificate = load(tmp_path / "well", "step3_metadata.json")["certificate"]
        failing = [image_id for image_id, row in rows_of(tmp_path / "well").items() if not row["inferred"]][:2]
        options = json.dumps({"by_label": 1, "fail": failing})
        broken = ("--engine", "scripted", "--engine_options", options)
        cluster(ictc, table, tmp_path / "out", *TARGET, engine=broken)
        assert load(tmp_path / "out", "step3_metadata.json")["step3"]["rejected"] in (1, 2)
        assert problems(ictc, tmp_path / "out") == ""
        cluster(ictc, table, tmp_path / "out", *TARGET, "--retry_rejected")
        assert load(tmp_path / "out", "step3_metadata.json")["certificate"] == certificate
        assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "well")


class TestKilled:
    @pytest.mark.parametrize("seed", range(3))
    def test_at_random_writes_it_ends_as_if_nothing_had_happened(
        self, ictc: Ictc, fork_server: ForkServer, table: Path, tmp_path: Path, seed: int
    ) -> None:
        cluster(ictc, table, tmp_path / "undisturbed", *TARGET, engine=WHIMSICAL)
        random, out = Random(seed), tmp_path / "out"
        command = ("import", table, "--output_dir", out, *COMMON, *WHIMSICAL, *TARGET)
        fork_server.run(*command[:-2], "--no_cluster", root=out)
        for _ in range(4):
            fault = Fault(ANY, when=random.choice(["before", "midway", "after"]), nth=random.randint(5, 400))
            fork_server.run(*command, root=out, fault=fault)
        finished = fork_server.run(*command, root=out)
        assert finished.exit_code == 0, finished.stderr
        assert exported_bytes(out) == exported_bytes(tmp_path / "undisturbed")
        assert problems(ictc, out) == ""


class TestParts:
    def test_a_merge_gives_what_one_run_gives(self, ictc: Ictc, drawn_ads: Path, tmp_path: Path) -> None:
        flags = ("--assign_target", 0.6, "--engine_options", '{"by_label": 1}', "--max_broken", 1)
        ictc.succeed(drawn_ads, tmp_path / "whole", *flags)
        assert any(row["inferred"] for row in rows_of(tmp_path / "whole").values())
        for index in (0, 1):
            ictc.succeed(drawn_ads, tmp_path / "shards", "--num_shards", 2, "--shard_index", index, *flags)
        assert ictc("merge", tmp_path / "shards", "--output_dir", tmp_path / "merged").exit_code == 0
        assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "whole")

    def test_parts_with_given_clusters_leave_step_3_to_the_merge(
        self, ictc: Ictc, drawn_ads: Path, tmp_path: Path
    ) -> None:
        given = tmp_path / "clusters.json"
        rows = [ClusterDefinition(number, name=f"C{number}", description="x").to_row() for number in (1, 2, 3)]
        given.write_text(json.dumps(rows))
        flags = ("--assign_target", 0.6, "--engine_options", '{"by_label": 1}', "--max_broken", 1, "--clusters", given)
        common = ("run", "--ads_dir", drawn_ads, "--engine", "scripted", *flags, "--output_dir")
        assert ictc(*common, tmp_path / "whole").exit_code == 0
        for index in (0, 1):
            part = ("--num_shards", 2, "--shard_index", index)
            outcome = ictc(*common, tmp_path / "shards" / str(index), *part)
            assert outcome.exit_code == 0, outcome.stderr
            assert not (tmp_path / "shards" / str(index) / "step3_metadata.json").exists()
        merged = ictc("merge", tmp_path / "shards", "--output_dir", tmp_path / "merged")
        assert merged.exit_code == 0, merged.stderr
        assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "whole")

    def test_reclustering_does_as_the_source_unless_told_otherwise(
        self, ictc: Ictc, table: Path, tmp_path: Path
    ) -> None:
        cluster(ictc, table, tmp_path / "source", *TARGET)
        command = ("recluster", "--source_dir", tmp_path / "source", "--num_clusters", 3, "--output_dir")
        assert ictc(*command, tmp_path / "same").exit_code == 0
        assert load(tmp_path / "same", "step3_metadata.json")["certificate"]["target"] == 0.8
        assert ictc(*command, tmp_path / "all", "--assign_target", 1).exit_code == 0
        assert "certificate" not in load(tmp_path / "all", "step3_metadata.json")

    def test_from_python(self, drawn_ads: Path, out: Path) -> None:
        options = {"engine_options": {"by_label": 1}, "assign_target": 0.6, "assign_delta": 0.2}
        run = package.cluster(drawn_ads, output_dir=out, engine="scripted", num_clusters=3, **options)
        assert {"inferred", "probability"} <= {*run.results.columns}
        assert run.results["inferred"].any()


class TestVerify:
    def tamper(self, out: Path, *, inferred: bool, **changes: Any) -> None:
        """Change what the last such record says, in a line whose checksum holds."""
        (certificate,) = out.glob("state/assign/*/certificate.json")
        (segment,) = certificate.parent.glob("*.jsonl")
        lines = segment.read_bytes().splitlines(keepends=True)
        for place in range(len(lines) - 1, 0, -1):
            record = decode_line(lines[place])
            assert record is not None
            if ("probability" in record["data"]) is inferred:
                data = {**record["data"], **{name: value(record["data"].get(name)) for name, value in changes.items()}}
                lines[place] = encode_line({**record, "data": data})
                break
        segment.write_bytes(b"".join(lines))

    def test_an_inferred_row_is_proved(self, ictc: Ictc, table: Path, out: Path) -> None:
        cluster(ictc, table, out, *TARGET)
        self.tamper(out, inferred=True, cluster_id=lambda cluster_id: cluster_id % 5 + 1)
        assert "1 images" in problems(ictc, out)
        assert "not what follows from the answers" in problems(ictc, out)

    def test_a_probability_is_proved(self, ictc: Ictc, table: Path, out: Path) -> None:
        cluster(ictc, table, out, *TARGET)
        self.tamper(out, inferred=True, probability=lambda probability: probability / 2)
        assert "not what follows from the answers" in problems(ictc, out)

    def test_an_answer_is_proved_by_what_follows_from_it(self, ictc: Ictc, table: Path, out: Path) -> None:
        cluster(ictc, table, out, *TARGET)
        self.tamper(out, inferred=False, cluster_id=lambda cluster_id: cluster_id % 5 + 1)
        assert problems(ictc, out)

    def test_the_certificate_is_proved(self, ictc: Ictc, table: Path, out: Path) -> None:
        cluster(ictc, table, out, *TARGET)
        (path,) = out.glob("state/assign/*/certificate.json")
        path.write_text(path.read_text().replace('"bound": 0.', '"bound": 0.9'))
        assert "certificate.json is not what follows" in problems(ictc, out)
