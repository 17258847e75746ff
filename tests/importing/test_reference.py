"""`ictc import` of directories of the reference: every shape of their files, and what is refused by file and id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import Ictc, exported_bytes, load
from support.reference_directory import HOOKS, NUM_ADS, ad, described_files, write_reference, written_files

from ictc.importing.items import Item
from ictc.importing.reference import Reference
from ictc.stages.outcome import Status

SCRIPTED = ("--engine", "scripted", "--num_clusters", 3)
CAPTION = {"category": "c", "brand": "b", "text": "t", "summary": "s"}


def read(folder: Path, images_dir: Path | None = None) -> dict[str, Item]:
    """Return the items of a reference by id."""
    return {item.image.image_id: item for item in Reference(folder, images_dir=images_dir).iter_items()}


def only(folder: Path, **files: Any) -> dict[str, Item]:
    """Return the items of a reference that has these files only, by id."""
    return read(write_reference(folder, {}, **files))


def run_import(ictc: Ictc, source: Path, out: Path, *arguments: object) -> str:
    outcome = ictc("import", source, "--output_dir", out, *SCRIPTED, *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout + outcome.stderr


class TestWhatComesOut:
    def test_of_the_files_that_are_described(self, ictc: Ictc, tmp_path: Path) -> None:
        source = write_reference(tmp_path / "reference")
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.iterdir()}
        said = run_import(ictc, source, tmp_path / "out")
        assert "24 captions, 2 interface only, 1 broken, 24 labels" in said
        assert "Step 2a" not in said
        files = described_files()
        assert load(tmp_path / "out", "step1_captions.json") == files["step1_captions.json"]
        assert load(tmp_path / "out", "step2a_hooks.json") == files["step2a_hooks.json"]
        assert load(tmp_path / "out", "broken_images.json") == files["broken_images.json"]
        assert load(tmp_path / "out", "ui_only_images.json")["screen_0"]["reason"] == "settings menu"
        assert load(tmp_path / "out", "image_mapping.json")[ad(3)]["path"] == f"{ad(3)}/image.jpg"
        row = load(tmp_path / "out", "ictc_final_results.json")["results"][0]
        assert (row["metadata.platform_version"], row["metadata.country"]) == ("3", "AU")
        assert len(load(tmp_path / "out", "step3_final_assignment.json")) == NUM_ADS
        assert load(tmp_path / "out", "run.json")["track"] == "marketing"
        assert ictc("verify", tmp_path / "out").exit_code == 0
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.iterdir()} == before

    def test_of_the_files_that_it_writes(self, ictc: Ictc, tmp_path: Path) -> None:
        source = write_reference(tmp_path / "full_run", written_files())
        assert "26 images lie outside of" in run_import(ictc, source, tmp_path / "out")
        captions = load(tmp_path / "out", "step1_captions.json")
        assert captions[ad(3)] == {
            "category": "",
            "brand": "Brand 3",
            "text": "Feel at home (3)",
            "summary": "An ad that says: Feel at home.",
        }
        assert captions[ad(5)]["summary"] == ""
        assert load(tmp_path / "out", "step2a_hooks.json") == {ad(n): HOOKS[n % 4] for n in range(NUM_ADS)}
        assert load(tmp_path / "out", "broken_images.json") == {"torn_0": {"reason": "Failed to process image.jpg"}}
        (screen,) = load(tmp_path / "out", "ui_only_images.json").values()
        assert (screen["text"], screen["visual_summary"]) == ("Settings", "A settings menu.")
        row = load(tmp_path / "out", "ictc_final_results.json")["results"][0]
        assert (row["platform"], row["ad_format"]) == ("FACEBOOK", None)
        assert (row["timestamp"], row["metadata.cluster"]) == ("2025-03-15T17:52:02Z", "Scarcity")
        assert ictc("verify", tmp_path / "out").exit_code == 0

    def test_of_captions_alone_and_twice_the_same(self, ictc: Ictc, tmp_path: Path) -> None:
        captions = described_files()["step1_captions.json"]
        source = write_reference(tmp_path / "reference", {}, step1_captions=captions)
        for name in ("one", "two"):
            assert "Step 2a labels: 24/24" in run_import(ictc, source, tmp_path / name)
        assert exported_bytes(tmp_path / "one") == exported_bytes(tmp_path / "two")

    def test_exports_of_a_run_without_its_state_can_be_imported(self, ictc: Ictc, tmp_path: Path) -> None:
        first = tmp_path / "first"
        run_import(ictc, write_reference(tmp_path / "reference"), first)
        copy = tmp_path / "copy"
        copy.mkdir()
        for path in first.glob("*.json"):
            if path.name != "run.json":
                (copy / path.name).write_bytes(path.read_bytes())
        run_import(ictc, copy, tmp_path / "again")
        for name in ("step1_captions.json", "step2a_hooks.json", "ui_only_images.json", "broken_images.json"):
            assert load(tmp_path / "again", name) == load(first, name), name

    @pytest.mark.parametrize(
        ("folder", "noted", "track"),
        [
            ("full_run", None, "marketing"),
            ("track2_identity", None, "identity"),
            ("track3_k10", None, "cultural"),
            ("somewhere", "Algorithmic Identity Profiling", "identity"),
            ("somewhere", None, "marketing"),
        ],
    )
    def test_its_track_is_told_by_its_notes_or_its_name(
        self, tmp_path: Path, folder: str, noted: str | None, track: str
    ) -> None:
        settings = None if noted is None else {"criterion": noted}
        assert Reference(write_reference(tmp_path / folder, step2b_metadata=settings)).track == track

    def test_labels_of_another_criterion_are_made_again(self, ictc: Ictc, tmp_path: Path) -> None:
        source = write_reference(tmp_path / "full_run")
        said = run_import(ictc, source, tmp_path / "out", "--criterion", "Emotional Tone")
        assert "its labels were made for 'Marketing Strategy', not for 'Emotional Tone'" in said
        assert "Step 2a labels: 24/24" in said
        assert set(load(tmp_path / "out", "step2a_hooks.json").values()).isdisjoint(HOOKS)

    def test_images_are_found_where_they_were_moved_to_or_among_its_copies(self, tmp_path: Path) -> None:
        source = write_reference(tmp_path / "full_run", written_files())
        for name in (ad(0), ad(1)):
            (tmp_path / "moved" / name).mkdir(parents=True)
            (tmp_path / "moved" / name / "image.jpg").write_bytes(b"")
        moved = read(source, tmp_path / "moved")
        assert moved[ad(1)].image.path == f"{ad(1)}/image.jpg"
        assert moved[ad(2)].image.path == f"file:///data/ads/{ad(2)}/image.jpg"
        for folder, name in (("valid_ads", ad(0)), ("ui_only", "screen_0")):
            (source / "categorized_images" / folder).mkdir(parents=True)
            (source / "categorized_images" / folder / f"{name}.jpg").write_bytes(b"")
        copies = read(source)
        assert copies[ad(0)].image.path == f"categorized_images/valid_ads/{ad(0)}.jpg"
        assert copies["screen_0"].image.path == "categorized_images/ui_only/screen_0.jpg"
        assert copies[ad(1)].image.path == f"file:///data/ads/{ad(1)}/image.jpg"


class TestShapes:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("A caption alone", {"summary": "A caption alone"}),
            ({"text": "t", "visual_summary": "v"}, {"text": "t", "analysis": {"visual_summary": "v"}}),
            ({"text": "t", "analysis": "deep"}, {"text": "t", "analysis": {"analysis": "deep"}}),
            (
                {"text": "t", "analysis": {"text": "in", "n": 1}},
                {"text": "t", "analysis": {"analysis_text": "in", "n": "1"}},
            ),
            ({"brand_name": "b", "main_text": "m"}, {"brand": "b", "text": "m"}),
            (
                {"text": "t", "description": "d", "summary": "s"},
                {"text": "t", "summary": "s", "analysis": {"description": "d"}},
            ),
            (
                {"text": "t", "lifestyle": "sporty", "tags": ["a", 1]},
                {"text": "t", "analysis": {"lifestyle": "sporty", "tags": '["a",1]'}},
            ),
            ({"text": None, "category": "ADVERTISEMENT", "brand": "b"}, {"brand": "b"}),
            (
                {"text": "t", "observer": {"age": 33}, "meta": {"Observer": 1, "x": 2}},
                {"text": "t", "analysis": {"meta": '{"x":2}'}},
            ),
        ],
    )
    def test_of_captions(self, tmp_path: Path, value: Any, expected: dict[str, Any]) -> None:
        empty = {"category": "", "brand": "", "text": "", "summary": "", "ui_only": False, "analysis": {}}
        item = only(tmp_path, step1_captions={"a": value})["a"]
        assert item.outcome.status is Status.DONE
        assert item.outcome.data == {**empty, **expected}

    @pytest.mark.parametrize(
        ("value", "status"),
        [
            ({**CAPTION, "ui_only": True}, Status.UI_ONLY),
            ({**CAPTION, "category": "UI_ONLY"}, Status.UI_ONLY),
            ({**CAPTION, "status": "broken"}, Status.BROKEN),
            ({**CAPTION, "status": "valid"}, Status.DONE),
            ({"text": None, "brand": "  "}, Status.REJECTED),
            ("", Status.REJECTED),
            ({}, Status.REJECTED),
        ],
    )
    def test_of_how_an_image_was_sorted(self, tmp_path: Path, value: Any, status: Status) -> None:
        assert only(tmp_path, step1_captions={"a": value})["a"].outcome.status is status

    @pytest.mark.parametrize(
        "captions",
        [
            [{"image_id": "a", **CAPTION}],
            [{"observation_id": "a", **CAPTION}],
            [{"id": "a", **CAPTION}],
            {"a": CAPTION},
        ],
    )
    def test_a_list_of_objects_says_what_an_object_by_id_says(self, tmp_path: Path, captions: Any) -> None:
        assert only(tmp_path, step1_captions=captions)["a"].outcome.data["text"] == "t"

    @pytest.mark.parametrize(
        "labels",
        [
            {"a": "the label"},
            {"a": {"hook": "the label"}},
            {"a": {"label": "the label"}},
            [{"image_id": "a", "hook": "the label"}],
        ],
    )
    def test_of_labels(self, tmp_path: Path, labels: Any) -> None:
        assert only(tmp_path, step1_captions={"a": CAPTION}, step2a_hooks=labels)["a"].label == "the label"

    @pytest.mark.parametrize("label", [None, "", {}, {"hook": None}, {"hook": "no description"}])
    def test_of_no_label(self, tmp_path: Path, label: Any) -> None:
        item = only(tmp_path, step1_captions={"a": CAPTION}, step2a_hooks={"a": label})["a"]
        assert (item.label, item.has_odd_label) == ("", False)

    @pytest.mark.parametrize(
        "listed",
        [
            ["a"],
            {"a": "a reason"},
            {"a": True},
            {"a": None},
            {"a": CAPTION},
            [{"image_id": "a"}],
            {"a": {"raw_response": "x"}},
        ],
    )
    def test_a_listed_interface_screen_is_no_ad_whatever_its_caption(self, tmp_path: Path, listed: Any) -> None:
        item = only(
            tmp_path, step1_captions={"a": CAPTION, "b": CAPTION}, ui_only_images=listed, step2a_hooks={"a": "x"}
        )["a"]
        assert item.outcome.status is Status.UI_ONLY
        assert item.outcome.data["text"] == "t"
        assert item.label == ""

    @pytest.mark.parametrize(
        ("listed", "reason"),
        [
            (["a"], "broken in the reference"),
            ({"a": "torn"}, "torn"),
            ({"a": {"error": "torn"}}, "torn"),
            ({"a": {"raw_response": {"visual_summary": "torn"}}}, "torn"),
            ([{"image_id": "a", "reason": "torn"}], "torn"),
        ],
    )
    def test_of_broken_images(self, tmp_path: Path, listed: Any, reason: str) -> None:
        item = only(tmp_path, step1_captions={"b": CAPTION}, broken_images=listed)["a"]
        assert (item.outcome.status, item.outcome.data) == (Status.BROKEN, {"reason": reason})

    @pytest.mark.parametrize(
        "mapping",
        [
            {"a": "x/a.jpg"},
            {"a": {"path": "x/a.jpg"}},
            {"a": {"image_path": "x/a.jpg", "metadata": {"k": "https://u:pw@x.org/1", "observer": {"age": 9}}}},
            [{"image_id": "a", "path": "x/a.jpg"}],
        ],
    )
    def test_of_paths(self, tmp_path: Path, mapping: Any) -> None:
        image = only(tmp_path, step1_captions={"a": CAPTION}, image_mapping=mapping)["a"].image
        assert image.path == "x/a.jpg"
        assert image.metadata in (None, {"k": "https://x.org/1"})

    @pytest.mark.parametrize(
        "results",
        [
            [{"observation_id": "a", "hook": "the label", "cluster": "C"}],
            {"a": {"label": "the label", "cluster": "C"}},
            {"metadata": {"x": 1}, "results": [{"image_id": "a", "initial_label": "the label", "final_cluster": "C"}]},
            {"metadata": {"x": 1}, "results": {"a": {"label": "the label", "cluster": "C"}}},
        ],
    )
    def test_of_results_that_say_what_no_other_file_does(self, tmp_path: Path, results: Any) -> None:
        item = only(tmp_path, step1_captions={"a": CAPTION}, ictc_final_results=results)["a"]
        assert item.label == "the label"
        assert item.image.metadata == {"cluster": "C"}

    def test_an_image_without_a_caption_is_accounted_for(self, ictc: Ictc, tmp_path: Path) -> None:
        files = described_files()
        files["image_mapping.json"]["forgotten"] = {"path": "forgotten.jpg"}
        source = write_reference(tmp_path / "reference", files)
        assert "1 without a caption" in run_import(ictc, source, tmp_path / "out")
        (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
        assert json.loads(line)["reason"] == "step1_captions.json has no caption of it"
        assert ictc("verify", tmp_path / "out").exit_code == 0

    def test_hostile_ids_and_words_reach_the_exports(self, ictc: Ictc, tmp_path: Path) -> None:
        files = described_files()
        hostile = {
            "../../up": "<script>",
            "a\nb\u202e\x00": "\x1b[2J",
            "half \ud800": "half \udfff",
            "x" * 300: "y" * 100_000,
        }
        for name, text in hostile.items():
            files["step1_captions.json"][name] = {"text": text, "summary": text, "own\u2028": text}
        source = tmp_path / "reference"
        source.mkdir()
        (source / "step1_captions.json").write_text(json.dumps(files["step1_captions.json"]))
        run_import(ictc, source, tmp_path / "out")
        captions = load(tmp_path / "out", "step1_captions.json")
        for name, text in hostile.items():
            image_id, told = (one.encode("utf-8", "backslashreplace").decode() for one in (name, text))
            assert captions[image_id] == {"category": "", "brand": "", "text": told, "summary": told, "own\u2028": told}
        assert ictc("verify", tmp_path / "out").exit_code == 0


class TestRefusals:
    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({"step1_captions": {"a": [1]}}, "step1_captions.json: entry 1 (line 2): 'a' is a list where an object"),
            ({"step1_captions": {"a": 3}}, "'a' is a number where an object or a caption"),
            ({"step1_captions": [CAPTION]}, "step1_captions.json: entry 1 (line 2) has no id"),
            ({"step1_captions": {"": CAPTION}}, "entry 1 (line 2) has no id"),
            (
                {"step1_captions": [{"id": "a", **CAPTION}, {"id": "a"}]},
                "entry 1 and entry 2 (line 9) both have the id 'a'",
            ),
            ({"step1_captions": {"a": {"image_id": "b"}}}, "'a' names itself 'b'"),
            ({"step2a_hooks": {"a": ["x"]}}, "step2a_hooks.json: entry 1 (line 2): 'a' is a list"),
            (
                {"step2a_hooks": {"stranger": "x"}},
                "step2a_hooks.json: 'stranger' has a label, and no other file knows it",
            ),
            (
                {"ui_only_images": ["a"], "broken_images": ["a"]},
                "ui_only_images.json and broken_images.json both have 'a'",
            ),
            ({"image_mapping": {"a": 7}}, "image_mapping.json: entry 1 (line 2): 'a' is a number"),
            ({"ictc_final_results": {"results": [{"x": 1}]}}, "ictc_final_results.json: entry 1 (line 3) has no id"),
            ({"step1_captions": {}}, "nothing is left to be clustered (it is empty)\n"),
            ({"step1_captions": "text"}, "step1_captions.json: line 1: { or [ is missing"),
        ],
    )
    def test_with_file_and_id(self, ictc: Ictc, tmp_path: Path, files: dict[str, Any], words: str) -> None:
        source = write_reference(tmp_path / "reference", {}, **{"step1_captions": {"a": CAPTION}, **files})
        refused = ictc("import", source, "--output_dir", tmp_path / "out", *SCRIPTED)
        assert refused.exit_code == 1
        assert words in refused.stderr
        assert not (tmp_path / "out" / "state" / "manifest.jsonl").exists()

    def test_of_files_that_are_not_of_one_state(self, ictc: Ictc, tmp_path: Path) -> None:
        """Else labels of what is no longer there would be taken for those of what is."""
        table, run = tmp_path / "posts.csv", tmp_path / "run"
        criterion = ("--criterion", "the color")
        table.write_text("id,text\n1,red\n2,green\n3,blue\n")
        run_import(ictc, table, run, *criterion)
        table.write_text("id,text\n1,gold\n2,pink\n3,grey\n")
        run_import(ictc, table, run, *criterion, "--no_cluster")
        refused = ictc("import", run, "--output_dir", tmp_path / "out", *SCRIPTED)
        assert refused.exit_code == 2
        assert f"{run}: its files from Step 2a on are of an earlier state" in refused.stderr
        run_import(ictc, table, run, *criterion)
        run_import(ictc, run, tmp_path / "out")

    def test_what_an_import_rejects_is_not_said_to_be_tried_again(self, ictc: Ictc, tmp_path: Path) -> None:
        captions = {"empty": {}, **{name: {**CAPTION, "text": name} for name in "abc"}}
        source = write_reference(tmp_path / "reference", {}, step1_captions=captions)
        said = run_import(ictc, source, tmp_path / "out")
        assert f"1 rejected in the caption step; see {tmp_path / 'out' / 'rejected.jsonl'}\n" in said

    def test_of_a_name_that_a_file_has_twice(self, ictc: Ictc, tmp_path: Path) -> None:
        (tmp_path / "step1_captions.json").write_text('{"a": "one",\n"b": "two",\n"a": "three"}')
        refused = ictc("import", tmp_path, "--output_dir", tmp_path.with_name("out"), *SCRIPTED)
        assert "entry 1 and entry 3 (line 3) both have the id 'a'" in refused.stderr

    def test_of_a_file_that_is_cut(self, ictc: Ictc, tmp_path: Path) -> None:
        source = write_reference(tmp_path / "reference")
        path = source / "step1_captions.json"
        path.write_bytes(path.read_bytes()[:-40])
        refused = ictc("import", source, "--output_dir", tmp_path / "out", *SCRIPTED)
        assert f"{path}: line " in refused.stderr

    def test_of_results_inside_of_the_source(self, ictc: Ictc, tmp_path: Path) -> None:
        source = write_reference(tmp_path / "reference")
        before = sorted(source.rglob("*"))
        for command in (("import", source), ("recluster", "--source_dir", source)):
            for target in (source, source / "inside"):
                refused = ictc(*command, "--output_dir", target)
                assert refused.exit_code == 2
                assert "never written to" in refused.stderr
        assert sorted(source.rglob("*")) == before

    def test_of_a_directory_of_tracks(self, ictc: Ictc, tmp_path: Path) -> None:
        write_reference(tmp_path / "all" / "full_run")
        refused = ictc("import", tmp_path / "all", "--output_dir", tmp_path / "out", *SCRIPTED)
        assert f"import the directory of one track, such as {tmp_path / 'all' / 'full_run'}" in refused.stderr

    def test_of_columns_of_a_directory(self, ictc: Ictc, tmp_path: Path) -> None:
        source = write_reference(tmp_path / "reference")
        refused = ictc("import", source, "--output_dir", tmp_path / "out", "--text_column", "text")
        assert "which has no columns" in refused.stderr
