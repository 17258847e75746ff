"""`ictc verify` finds whatever was done to a run directory, says where, and calls a sound one sound."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from support.cli import Ictc, load, start_ictc
from support.collections import draw_flat

from ictc.cli.main import run_command
from ictc.steps.synthesize import LEVELS_FILE
from ictc.steps.table import STEPS
from ictc.storage.journal import decode_line, encode_line

Doctor = Callable[[Path], object]
OPTIONS = '{"fail": ["ad_003"], "invalid": ["ad_007"]}'
ALL_FILES = list(dict.fromkeys(file.name for step in STEPS for file in step.files if file.name != LEVELS_FILE))


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images and two broken files."""
    folder = draw_flat(tmp_path_factory.mktemp("collection") / "ads", 20)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def sound(ads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with rejections, interface screens and journals of several segments."""
    out = tmp_path_factory.mktemp("sound") / "out"
    command = ["run", "--ads_dir", str(ads), "--output_dir", str(out), "--engine", "scripted", "--num_clusters", "3"]
    command.append("--evidence")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ictc.storage.journal.MAX_SEGMENT_BYTES", 1500)
        assert run_command([*command, "--engine_options", OPTIONS]) == 0
    assert load(out, "ui_only_images.json")
    return out


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    """A copy of the sound run, to be doctored."""
    return Path(shutil.copytree(sound, tmp_path / "out"))


def findings(ictc: Ictc, out: Path, exit_code: int = 1) -> str:
    """Verify and return what was found, a line each."""
    outcome = ictc("verify", out)
    assert outcome.exit_code == exit_code, outcome.stdout + outcome.stderr
    assert outcome.stderr == ""
    *found, verdict = outcome.stdout.splitlines()
    assert verdict.startswith(f"{out}: ")
    return "\n".join(found)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return everything that writing would change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


# Ways to do harm


def segments(out: Path, stage: str) -> list[Path]:
    return sorted(out.glob(f"state/{stage}/*/*.jsonl"))


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def edit_records(out: Path, stage: str, edit: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Pass the records of a stage through `edit`, with valid checksums; None deletes one."""
    for path in segments(out, stage):
        lines = []
        for line in path.read_bytes().splitlines(keepends=True):
            record = decode_line(line)
            assert record is not None
            edited = record if "id" not in record else edit(record)
            lines += [] if edited is None else [encode_line(edited)]
        path.write_bytes(b"".join(lines))


def change_record(out: Path, stage: str, image_id: str, **changes: Any) -> None:
    edit_records(out, stage, lambda record: {**record, **changes} if record["id"] == image_id else record)


def append_record(out: Path, stage: str, record: dict[str, Any]) -> None:
    path = segments(out, stage)[-1]
    path.write_bytes(path.read_bytes() + encode_line(record))


def edit_json(path: Path, edit: Callable[[Any], object]) -> None:
    """Change the content of a JSON file in place, in the form in which ictc writes it."""
    value = orjson.loads(path.read_bytes())
    edit(value)
    path.write_bytes(orjson.dumps(value))


def edit_line(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def definitions_path(out: Path) -> Path:
    (path,) = out.glob("state/synthesize/*/definitions.json")
    return path


def drop_line(path: Path, number: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[number]
    path.write_bytes(b"".join(lines))


def truncate(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def copy_first_segment(out: Path) -> None:
    first = segments(out, "caption")[0]
    shutil.copy(first, first.with_name("0-000099.jsonl"))


def bring_old_record_back(out: Path) -> None:
    """Let a record be made anew, then copy the segment of the old one, so that it counts again."""
    (path,) = (path for path in segments(out, "label") if b'"ad_011"' in path.read_bytes())
    valid = path.read_bytes()
    change_record(out, "label", "ad_011", input="0" * 16)
    shutil.copy(path, path.with_name("0-000099.jsonl"))
    path.write_bytes(valid)


def give_two_clusters_one_name(out: Path) -> None:
    edit_json(definitions_path(out), lambda rows: rows[1].update(name=f" {rows[0]['name'].upper()}"))


class TestSoundRuns:
    def test_a_finished_run_is_in_order(self, ictc: Ictc, out: Path) -> None:
        assert findings(ictc, out, exit_code=0) == ""

    def test_nothing_is_written(self, ictc: Ictc, out: Path) -> None:
        path = segments(out, "caption")[0]
        path.write_bytes(path.read_bytes() + b"0000 torn")
        before = snapshot(out)
        findings(ictc, out)
        assert snapshot(out) == before

    def test_tracks_and_shards_are_found_below_the_output_folder(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "all", "--track", "1,2")
        ictc.succeed(ads, tmp_path / "all", "--start_index", 2, "--end_index", 9, "--shard_id", "shard_0")
        outcome = ictc("verify", tmp_path / "all")
        assert outcome.exit_code == 0
        assert outcome.stdout.splitlines() == [
            f"{tmp_path}/all/{name}: in order" for name in ("full_run", "shard_0", "track2_identity")
        ]

    @pytest.mark.parametrize("records", [5, 30, 50])
    def test_a_killed_run_is_unfinished_and_in_order_once_resumed(
        self, ictc: Ictc, ads: Path, tmp_path: Path, records: int
    ) -> None:
        out = tmp_path / "out"
        common = ("--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--num_clusters", 3)
        options = '{"latency_s": 0.05, "window": 4, "fail": ["ad_003"]}'
        with start_ictc("run", *common, "--engine_options", options) as process:
            while sum(path.read_bytes().count(b"\n") - 1 for path in out.glob("state/*/*/*.jsonl")) < records:
                assert process.poll() is None
            process.kill()
        assert "have no record; run again" in findings(ictc, out)
        ictc.succeed(ads, out, "--engine_options", '{"fail": ["ad_003"]}')
        assert findings(ictc, out, exit_code=0) == ""

    def test_changes_and_retries_leave_it_in_order(self, ictc: Ictc, ads: Path, out: Path) -> None:
        for change in (("--num_clusters", 4), ("--criterion", "Emotional Tone"), (), ("--retry_rejected",)):
            ictc.succeed(ads, out, *change)
            assert findings(ictc, out, exit_code=0) == ""

    def test_what_a_larger_collection_left_is_a_note(self, ictc: Ictc, ads: Path, out: Path) -> None:
        for name in ALL_FILES:
            (out / name).unlink()
        ictc.succeed(ads, out, "--max_images", 12)
        found = findings(ictc, out, exit_code=0)
        assert all(line.startswith("note: ") for line in found.splitlines())
        assert "has records of 10 images that did not enter this step ('ad_012', 'ad_013', 'ad_014', …)" in found

    def test_a_run_at_work_is_noted(self, ictc: Ictc, ads: Path, out: Path) -> None:
        options = '{"hang_on": ["ad_003"]}'
        common = ("--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--num_clusters", 3)
        with start_ictc("run", *common, "--seed", 7, "--engine_options", options) as process:
            while len(list(out.glob("state/caption/*"))) < 3:  # the second result, and current.json
                assert process.poll() is None
            assert f"note: {out}/state: process {process.pid} on " in findings(ictc, out)
            process.kill()


class TestJournals:
    @pytest.mark.parametrize(
        ("harm", "words"),
        [
            (lambda out: flip(segments(out, "caption")[0], 300), "0-000000.jsonl: line 2 (byte 23) is damaged: its"),
            (lambda out: flip(segments(out, "label")[0], 200), "is damaged: its checksum does not match"),
            (lambda out: flip(segments(out, "assign")[0], 2), "line 1 (byte 0) is damaged"),
            (lambda out: truncate(segments(out, "assign")[-1], 0.9), "ends in a torn line at byte"),
            (lambda out: drop_line(segments(out, "caption")[1], 0), "0-000001.jsonl: does not begin with its header"),
            (lambda out: segments(out, "caption")[1].unlink(), "segment 000001 is missing, with all its records"),
            (copy_first_segment, "records of earlier segments and has no others: a copy?"),
            (
                lambda out: segments(out, "label")[0].with_name("notes.jsonl").write_text("hello"),
                "notes.jsonl: is no segment of a journal",
            ),
            (
                lambda out: segments(out, "label")[0].write_bytes(encode_line({"journal": 99})),
                "journal format 99, this ictc reads 1",
            ),
        ],
    )
    def test_damage_is_located(self, ictc: Ictc, out: Path, harm: Doctor, words: str) -> None:
        harm(out)
        assert words in findings(ictc, out)

    def test_damage_whose_records_were_made_again_is_only_noted(self, ictc: Ictc, ads: Path, out: Path) -> None:
        flip(segments(out, "label")[0], 200)
        assert findings(ictc, out).endswith("is damaged: its checksum does not match")
        ictc.succeed(ads, out)
        noted = findings(ictc, out, exit_code=0)
        assert "note: " in noted
        assert "what it held was made again" in noted

    def test_images_that_are_rejected_again_are_no_copy(self, ictc: Ictc, ads: Path, out: Path) -> None:
        again = ("--engine_options", OPTIONS, "--retry_rejected")
        for _ in range(2):
            ictc.succeed(ads, out, *again)
        assert findings(ictc, out, exit_code=0) == ""

    def test_much_damage_is_summed_up(self, ictc: Ictc, out: Path) -> None:
        for path in segments(out, "caption"):
            path.write_bytes(path.read_bytes().replace(b'"id":"ad_', b'"id":"xx_'))
        lines = findings(ictc, out).splitlines()
        assert len(lines) < 8 * len(segments(out, "caption"))
        assert any("20 of 22 images ('ad_000', 'ad_001', 'ad_002', …) have no record" in line for line in lines)

    def test_lost_records_are_named(self, ictc: Ictc, out: Path) -> None:
        edit_records(out, "caption", lambda record: None if record["id"] in ("ad_011", "text") else record)
        assert "Step 1 captions: 2 of 22 images ('ad_011', 'text') have no record; run again" in findings(ictc, out)

    def test_a_lost_last_segment_is_noticed_by_its_images(self, ictc: Ictc, out: Path) -> None:
        segments(out, "assign")[-1].unlink()
        assert "Step 3 assignments: " in findings(ictc, out)

    def test_a_copied_segment_that_brings_old_records_back_is_noticed(self, ictc: Ictc, out: Path) -> None:
        bring_old_record_back(out)
        assert "('ad_011') have a record of another caption" in findings(ictc, out)


class TestAccounting:
    @pytest.mark.parametrize(
        ("stage", "changes", "words"),
        [
            (
                "caption",
                {"input": "0" * 16},
                "Step 1 captions: 1 of 22 images ('ad_011') have a record of another image",
            ),
            ("caption", {"status": "lost"}, "('ad_011') have a record without an outcome"),
            ("caption", {"status": "rejected", "data": {}}, "('ad_011') have a record without an outcome"),
            ("label", {"data": {"label": ""}}, "('ad_011') have a record without an outcome"),
            ("label", {"data": {"label": "quite another"}}, "Step 3 assignments: "),
            ("assign", {"data": {"cluster_id": 9}}, "('ad_011') are assigned to no existing cluster"),
            ("assign", {"status": "ui_only"}, "('ad_011') are assigned to no existing cluster"),
        ],
    )
    def test_a_false_record_is_named(
        self, ictc: Ictc, out: Path, stage: str, changes: dict[str, Any], words: str
    ) -> None:
        change_record(out, stage, "ad_011", **changes)
        assert words in findings(ictc, out)

    @pytest.mark.parametrize(
        ("harm", "words"),
        [
            (give_two_clusters_one_name, "2 clusters have the same name"),
            (lambda out: edit_json(definitions_path(out), lambda rows: rows.pop()), "holds 2 clusters, not 3"),
            (lambda out: edit_json(definitions_path(out), list.reverse), "the clusters are not numbered from 1 to 3"),
            (lambda out: definitions_path(out).unlink(), "there are no clusters yet"),
        ],
    )
    def test_false_clusters_are_noticed(self, ictc: Ictc, out: Path, harm: Doctor, words: str) -> None:
        harm(out)
        assert f"definitions.json: {words}" in findings(ictc, out)

    @pytest.mark.parametrize(
        ("harm", "words"),
        [
            (lambda path: drop_line(path, 4), "lists 21 images, and its key file says 22"),
            (lambda path: edit_line(path, "ad_004", "ad_005"), "lists 1 images more than once ('ad_005')"),
            (lambda path: edit_line(path, '"path"', '"path'), "line 1 is damaged"),
            (lambda path: path.with_name("manifest.key.json").unlink(), "is missing or unfinished"),
        ],
    )
    def test_a_false_manifest_is_noticed(self, ictc: Ictc, out: Path, harm: Doctor, words: str) -> None:
        path = out / "state" / "manifest.jsonl"
        harm(path)
        assert f"{path}: {words}" in findings(ictc, out)

    def test_foreign_ids_are_noted_in_a_journal_and_an_error_in_a_result(self, ictc: Ictc, out: Path) -> None:
        record = {"id": "stranger", "input": "0" * 16, "status": "done", "data": {"label": "odd one out"}}
        append_record(out, "label", record)
        assert "images that did not enter this step ('stranger'); no result has them" in findings(ictc, out, 0)
        edit_line(out / "step2a_hooks.json", '"ad_000"', '"stranger": "odd one out",\n"ad_000"')
        assert "step2a_hooks.json: has 'stranger' where the journals have 'ad_000'" in findings(ictc, out)


class TestKeys:
    @pytest.mark.parametrize("stage", ["caption", "label", "synthesize", "assign"])
    def test_an_edited_or_lost_key_is_noticed(self, ictc: Ictc, out: Path, stage: str) -> None:
        path = out / "state" / stage / "current.json"
        edit_json(path, lambda key: key.update(seed=1))
        assert f"{stage}/current.json: names a result (" in findings(ictc, out)
        path.write_text("{")
        assert f"{stage}/current.json: is missing or damaged" in findings(ictc, out)
        path.unlink()
        assert f"{stage}/current.json: is missing or damaged" in findings(ictc, out)

    def test_assignments_to_other_clusters_are_out_of_date(self, ictc: Ictc, out: Path) -> None:
        edit_json(definitions_path(out), lambda rows: rows[0].update(name="Quite another"))
        assert "is out of date: it assigns to other clusters than those in use" in findings(ictc, out)

    def test_clusters_of_other_labels_are_out_of_date(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--criterion", "Emotional Tone", "--steps", "1,2a")
        assert "is out of date: it was made from other labels than those in use" in findings(ictc, out)

    def test_captions_of_a_replaced_image_are_out_of_date(self, ictc: Ictc, ads: Path, out: Path) -> None:
        path, status = ads / "ad_000.png", (ads / "ad_000.png").stat()
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"?")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        found = findings(ictc, out)
        path.write_bytes(content)
        assert "Step 1 captions: 1 of 22 images ('ad_000') have a record of another image" in found


class TestExports:
    @pytest.mark.parametrize("name", [*ALL_FILES, "rejected.jsonl"])
    def test_a_lost_file_is_noticed(self, ictc: Ictc, out: Path, name: str) -> None:
        (out / name).unlink()
        assert f"{out / name}: is missing; run again to write it" in findings(ictc, out)

    @pytest.mark.parametrize("name", [*ALL_FILES, "rejected.jsonl"])
    @pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
    def test_a_file_that_was_cut_off_is_noticed(self, ictc: Ictc, out: Path, name: str, share: float) -> None:
        truncate(out / name, share)
        assert f"{out / name}: " in findings(ictc, out)

    @pytest.mark.parametrize(
        ("name", "edit", "words"),
        [
            ("image_mapping.json", ('"ad_002.png"', '"other.png"'), "says something else of 'ad_002'"),
            ("step1_captions.json", ('"category":"', '"category":"x'), "says something else of 'ad_"),
            ("step1_captions.json", ('"ad_011"', '"ad_x11"'), "has 'ad_x11' where the journals have 'ad_011'"),
            ("broken_images.json", ('"reason":"', '"reason":"x'), "says something else of 'empty'"),
            ("step2a_hooks.json", ('"ad_011": "', '"ad_011": "x'), "says something else of 'ad_011'"),
            ("step2b_dynamic_clusters.json", ('"description": "', '"description": "x'), "says something else of"),
            (
                "step2b_metadata.json",
                ('"num_clusters": 3', '"num_clusters": 4'),
                "says something else of 'num_clusters'",
            ),
            ("step2b_metadata.json", ('"count": ', '"count": 1'), "says something else of 'labels'"),
            ("step3_metadata.json", ('"size": ', '"size": 1'), "says something else of 'clusters'"),
            ("step3_metadata.json", ('"images": 22', '"images": 23'), "says something else of 'images'"),
            ("ictc_final_results.json", ('"confidence":0', '"confidence":1'), "says something else of 'ad_"),
            ("ictc_final_results.json", ('"images":22', '"images":21'), "says something else of 'metadata'"),
            ("rejected.jsonl", ("scripted nonsense", "scripted sense"), "says something else of 'ad_007'"),
            ("prompts.json", ("image", "picture"), "is not the one of run.json"),
        ],
    )
    def test_an_edited_file_is_noticed(
        self, ictc: Ictc, out: Path, name: str, edit: tuple[str, str], words: str
    ) -> None:
        edit_line(out / name, *edit)
        found = findings(ictc, out)
        assert f"{out / name}: " in found
        assert words in found

    @pytest.mark.parametrize(
        "name",
        ["image_mapping.json", "step1_captions.json", "step2a_hooks.json", "step3_final_assignment.json"],
    )
    def test_a_lost_and_a_doubled_entry_are_noticed(self, ictc: Ictc, out: Path, name: str) -> None:
        lines = (out / name).read_bytes().splitlines(keepends=True)
        (out / name).write_bytes(b"".join([*lines[:3], *lines[4:]]))
        assert f"{out / name}: has 'ad_0" in findings(ictc, out)
        (out / name).write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))
        assert f"{out / name}: has 'ad_0" in findings(ictc, out)

    def test_a_table_with_a_row_less_is_noticed(self, ictc: Ictc, out: Path) -> None:
        table = pq.read_table(out / "results.parquet")
        pq.write_table(table.slice(0, len(table) - 1), out / "results.parquet")
        assert "results.parquet: lacks 'ad_019'" in findings(ictc, out)

    def test_sorted_images_are_compared_too(self, ictc: Ictc, out: Path) -> None:
        folder = out / "categorized_images" / "valid_ads"
        (folder / "ad_000.png").rename(folder / "stranger.png")
        found = findings(ictc, out)
        assert "valid_ads: has 1 images that do not belong there ('stranger.png')" in found
        assert "valid_ads: lacks 1 images ('ad_000.png')" in found

    def test_files_without_a_journal_are_unproven(self, ictc: Ictc, out: Path) -> None:
        shutil.rmtree(out / "state" / "assign")
        assert "results.parquet: is there, but no journal that would prove it" in findings(ictc, out)


def test_json_has_an_object_for_each_run(ictc: Ictc, sound: Path, out: Path) -> None:
    (out / "step2a_hooks.json").unlink()
    outcome = ictc("verify", sound, out, "--json")
    assert outcome.exit_code == 1
    first, second = map(orjson.loads, outcome.stdout.splitlines())
    assert first == {"directory": str(sound), "in_order": True, "findings": []}
    assert second["findings"] == [
        {
            "check": "export",
            "path": str(out / "step2a_hooks.json"),
            "problem": "is missing; run again to write it",
            "is_note": False,
        }
    ]


def test_a_folder_without_a_run_is_a_wrong_command(ictc: Ictc, tmp_path: Path) -> None:
    outcome = ictc("verify", tmp_path)
    assert outcome.exit_code == 2
    assert "no run directory here or below" in outcome.stderr
