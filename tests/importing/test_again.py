"""The same `ictc import` again: after a kill, after an end, and of a source that has changed."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from support.cli import exported_bytes, load
from support.faulty_disk import Fault
from support.fork_server import Finished, ForkServer
from support.reference_directory import described_files, write_reference

from ictc.errors import InputError
from ictc.importing.columns import Columns
from ictc.importing.texts import open_texts
from ictc.importing.writing import caption_key, check_source, write_captions, write_labels
from ictc.storage.journal import decode_line
from ictc.storage.rundir import RunDirectory

CRITERION = ("--criterion", "what is complained about")
WINDOW = 4
OPTIONS = orjson.dumps({"window": WINDOW}).decode()
REJECTING = orjson.dumps({"window": WINDOW, "fail": ["r2"]}).decode()

Rows = list[dict[str, str]]


@dataclass
class Import:
    """A source, a run directory, and the command that imports the one into the other."""

    server: ForkServer
    source: Path
    out: Path

    def run(self, *arguments: object, fault: Fault | None = None, options: str = OPTIONS) -> Finished:
        """Run the command once, and check that it asks for nothing twice."""
        engine = ("--engine", "scripted", "--engine_options", options, "--ckpt_llm", 5)
        clusters = () if "--criterion" in arguments else CRITERION
        command = ("import", self.source, "--output_dir", self.out, "--num_clusters", 3, *clusters, *engine, *arguments)
        finished = self.server.run(*command, root=self.out, fault=fault)
        assert len(set(finished.asked)) == len(finished.asked), "asked twice"
        return finished

    def finish(self, *arguments: object, options: str = OPTIONS) -> Finished:
        """Run the command once and check that it finishes, and that what it leaves is in order."""
        finished = self.run(*arguments, options=options)
        assert finished.exit_code == 0, finished.stderr
        verified = self.server.run("verify", self.out, root=self.out)
        assert verified.exit_code == 0, verified.stdout
        assert verified.stdout.endswith(f"{self.out}: in order\n")
        return finished

    def write(self, rows: Sequence[dict[str, str]]) -> Rows:
        """Write the table, and return its rows."""
        with self.source.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return [dict(row) for row in rows]

    def labeled(self) -> list[str]:
        """Return the ids of the records of labels, in their order."""
        segments = sorted(self.out.glob("state/label/*/*.jsonl"))
        records = (decode_line(line) for path in segments for line in path.read_bytes().splitlines(keepends=True))
        return [record["id"] for record in records if record and "id" in record]


@pytest.fixture
def run(fork_server: ForkServer, tmp_path: Path) -> Import:
    return Import(fork_server, tmp_path / "posts.csv", tmp_path / "out")


@pytest.fixture
def rows(run: Import) -> Rows:
    """Twenty rows, written."""
    return run.write(
        [{"id": f"r{n}", "text": f"Complaint {n}", "city": f"City {n % 5}", "topic": ""} for n in range(20)]
    )


def labels_asked(finished: Finished) -> list[str]:
    return [name for stage, name in map(str.split, finished.asked) if stage == "label"]


class TestKills:
    def test_while_step_2a_runs(self, run: Import, rows: Rows) -> None:
        killed = run.run(fault=Fault("label journal: write record", nth=9))
        assert killed.was_killed
        recorded = run.labeled()
        assert len(recorded) >= 7
        resumed = labels_asked(run.finish())
        assert sorted([*recorded, *resumed]) == sorted(row["id"] for row in rows)
        assert sorted(run.labeled()) == sorted(row["id"] for row in rows)
        assert len(labels_asked(killed)) + len(resumed) <= len(rows) + WINDOW

    def test_at_every_write(self, run: Import, rows: Rows, fork_server: ForkServer, tmp_path: Path) -> None:
        run.write([{**row, "topic": "known" if n % 4 == 0 else ""} for n, row in enumerate(rows)])
        labeled = ("--label_column", "topic")
        reference = Import(fork_server, run.source, tmp_path / "reference")
        points = list(dict.fromkeys(reference.finish(*labeled).points))
        assert any(point.startswith("manifest") for point in points)
        for point in points:
            for when in ("before", "after"):
                run.run(*labeled, fault=Fault(point, when=when))
        run.finish(*labeled)
        assert exported_bytes(run.out) == exported_bytes(reference.out)

    def test_of_a_reference(self, fork_server: ForkServer, tmp_path: Path) -> None:
        source = write_reference(tmp_path / "full_run", step2a_hooks=None)
        one, other = (Import(fork_server, source, tmp_path / name) for name in ("one", "other"))
        one.finish()
        for point in ("caption journal: write record", "label journal: write record", "assign journal: write record"):
            assert other.run(fault=Fault(point, nth=6)).was_killed
        other.finish()
        assert exported_bytes(one.out) == exported_bytes(other.out)


class TestUnchanged:
    def test_a_finished_import_asks_for_nothing(self, run: Import, rows: Rows) -> None:
        run.finish()
        exported, kept = exported_bytes(run.out), ("step1_captions.json", "step2a_hooks.json", "results.parquet")
        before = [(run.out / name).stat().st_mtime_ns for name in kept]
        assert run.finish().asked == []
        assert [(run.out / name).stat().st_mtime_ns for name in kept] == before
        assert exported_bytes(run.out) == exported

    def test_a_source_that_was_moved_is_the_same(self, run: Import, rows: Rows) -> None:
        run.finish()
        run.source = run.source.rename(run.source.with_name("moved.csv"))
        assert run.finish().asked == []

    def test_what_was_rejected_is_tried_again_when_asked(self, run: Import, rows: Rows) -> None:
        run.finish(options=REJECTING)
        assert labels_asked(run.finish()) == []
        assert labels_asked(run.run("--retry_rejected")) == ["r2"]
        assert load(run.out, "step2a_hooks.json")["r2"]


class TestChanges:
    """Each ends with what an import into an empty folder gives, and asks for what is new only."""

    @pytest.fixture(autouse=True)
    def imported(self, run: Import, rows: Rows) -> None:
        run.finish()

    @staticmethod
    def check(run: Import, *arguments: object) -> None:
        fresh = Import(run.server, run.source, run.out.with_name("fresh"))
        fresh.finish(*arguments)
        assert exported_bytes(run.out) == exported_bytes(fresh.out)

    def test_of_a_text(self, run: Import, rows: Rows) -> None:
        rows[3]["text"] = "Another complaint"
        run.write(rows)
        assert labels_asked(run.finish()) == ["r3"]
        self.check(run)

    def test_of_metadata_alone(self, run: Import, rows: Rows) -> None:
        rows[3]["city"] = "Bonn"
        run.write(rows)
        assert run.finish().asked == []
        assert load(run.out, "ictc_final_results.json")["results"][3]["metadata.city"] == "Bonn"
        self.check(run)

    def test_of_a_row_that_is_added_one_that_is_removed_and_their_order(self, run: Import, rows: Rows) -> None:
        run.write([{"id": "new", "text": "New", "city": "", "topic": ""}, *reversed(rows[:7]), *rows[8:]])
        assert labels_asked(run.finish()) == ["new"]
        self.check(run)

    def test_of_a_row_that_comes_back(self, run: Import, rows: Rows) -> None:
        before = exported_bytes(run.out)
        run.write(rows[:-1])
        run.finish()
        run.write(rows)
        assert labels_asked(run.finish()) == []
        assert exported_bytes(run.out) == before

    def test_of_numbers_that_are_ids(self, run: Import, rows: Rows) -> None:
        run.out = run.out.with_name("numbered")
        numbers = ("--id_column", "")
        run.finish(*numbers)
        run.write([{"id": "new", "text": "New", "city": "", "topic": ""}, *rows])
        assert labels_asked(run.finish(*numbers)) == ["1"]
        self.check(run, *numbers)

    def test_of_the_column_of_texts(self, run: Import, rows: Rows) -> None:
        assert len(labels_asked(run.finish("--text_column", "city"))) == 5
        self.check(run, "--text_column", "city")

    def test_of_labels_that_come_change_and_go(self, run: Import, rows: Rows) -> None:
        labeled = ("--label_column", "topic")
        rows[3]["topic"], rows[4]["topic"] = "price", "price"
        run.write(rows)
        assert set(labels_asked(run.finish(*labeled))) == {row["id"] for row in rows} - {"r3", "r4"}
        self.check(run, *labeled)
        rows[3]["topic"], rows[4]["topic"], rows[5]["topic"] = "value", "", "price"
        run.write(rows)
        assert labels_asked(run.run(*labeled)) == ["r4"]
        labels = load(run.out, "step2a_hooks.json")
        assert (labels["r3"], labels["r5"]) == ("value", "price")
        fresh = Import(run.server, run.source, run.out.with_name("fresh_again"))
        fresh.finish(*labeled)
        assert exported_bytes(run.out) == exported_bytes(fresh.out)

    def test_of_what_can_not_be_understood_leaves_all_as_it_is(self, run: Import, rows: Rows) -> None:
        before = exported_bytes(run.out)
        run.write([*rows, rows[0]])
        refused = run.run()
        assert refused.exit_code == 1
        assert "rows 1 and 21 both have the id 'r0'" in refused.stderr
        assert exported_bytes(run.out) == before
        verified = run.server.run("verify", run.out, root=run.out)
        assert verified.exit_code == 0


def test_imports_without_clustering_go_on_later(run: Import, rows: Rows) -> None:
    alone = run.finish("--no_cluster")
    assert alone.asked == []
    assert "20 texts, 20 imported" in alone.stdout
    assert not (run.out / "step2a_hooks.json").exists()
    assert len(load(run.out, "step1_captions.json")) == 20
    assert len(labels_asked(run.finish())) == 20


def test_labels_that_were_imported_alone_go_with_their_column(run: Import, rows: Rows) -> None:
    run.write([{**row, "topic": f"topic {n % 4}"} for n, row in enumerate(rows)])
    run.finish("--no_cluster", "--label_column", "topic")
    assert len(load(run.out, "step2a_hooks.json")) == 20
    run.run("--no_cluster")
    assert load(run.out, "step2a_hooks.json") == {}
    assert len(labels_asked(run.finish())) == 20


def test_the_label_of_a_row_without_a_text_stands_in_for_no_other(run: Import, rows: Rows) -> None:
    run.write(
        [
            {**rows[0], "topic": ""},
            {**rows[1], "text": "", "topic": "topic"},
            *({**row, "topic": f"topic {row['id']}"} for row in rows[2:]),
        ]
    )
    assert labels_asked(run.finish("--label_column", "topic")) == ["r0"]


def test_labels_that_come_back_are_no_copies(run: Import, rows: Rows) -> None:
    run.write([{**row, "topic": f"topic {n % 4}"} for n, row in enumerate(rows)])
    for column in ("topic", "city", "topic"):
        run.finish("--label_column", column)


def test_labels_that_are_imported_are_not_made_anew(run: Import, rows: Rows) -> None:
    run.write([{**row, "topic": f"topic {n % 4}"} for n, row in enumerate(rows)])
    refused = run.run("--label_column", "topic", "--force_steps", "2a")
    assert refused.exit_code == 2
    assert "--force_steps 2a: all labels are imported" in refused.stderr
    assert labels_asked(run.finish("--label_column", "topic", "--force_steps", "3")) == []


@pytest.mark.parametrize("added", [{}, {"id": "new", "text": "new", "city": "", "topic": "new topic"}])
def test_labels_of_a_source_that_changes_while_it_is_read(run: Import, rows: Rows, added: dict[str, str]) -> None:
    run.write([{**row, "topic": "topic"} for row in rows])
    source, stop = open_texts(run.source, given=Columns(label="topic"), base=None), asyncio.Event()
    target, checked = RunDirectory(run.out), check_source(source, stop)
    _, captions = write_captions(source, checked, target, stop)
    run.write([added or {**rows[0], "topic": "another"}, *rows[1:]])
    key = caption_key(source)
    with (
        closing(captions),
        closing(target.open_journal("label", key, sync_records=1)) as journal,
        pytest.raises(InputError, match="has changed while it was read; run the same command again"),
    ):
        write_labels(source, checked, target, stop, journal=journal, captions=captions)


def test_a_reference_that_changes(fork_server: ForkServer, tmp_path: Path) -> None:
    run = Import(fork_server, write_reference(tmp_path / "full_run"), tmp_path / "out")
    files = described_files()
    del files["step2a_hooks.json"]["ad_003"]
    run.finish("--criterion", "Marketing Strategy")
    write_reference(run.source, files)
    assert labels_asked(run.finish("--criterion", "Marketing Strategy")) == ["ad_003"]
    files["step1_captions.json"]["ad_004"]["text"] = "changed"
    files["ui_only_images.json"]["ad_005"] = {"reason": "menu"}
    write_reference(run.source, files)
    assert labels_asked(run.finish("--criterion", "Marketing Strategy")) == []
    assert len(load(run.out, "step1_captions.json")) == 23
