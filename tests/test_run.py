"""`ictc run` from end to end with the scripted engine: outputs, resume, staleness, refusals."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cli import Ictc, exported_bytes, load, start_ictc
from support.collections import draw_flat, draw_image, draw_observation

from ictc.cli.main import run_command
from ictc.steps.result_rows import RESULT_FIELDS

SLOW_ANSWERS = '{"latency_s": 0.05, "window": 4}'


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    """Twenty images and two broken files."""
    draw_flat(tmp_path / "ads", 20)
    (tmp_path / "ads" / "empty.jpg").touch()
    (tmp_path / "ads" / "text.jpg").write_text("no image")
    return tmp_path / "ads"


def ictc_in_process(ads: Path, out: Path) -> int:
    """Run with the output of other processes not taken away."""
    command = ["run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--num_clusters", 3]
    return run_command([str(word) for word in command])


class TestOutputs:
    def test_every_documented_file_is_there_and_agrees_with_the_others(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        captions, ui_only, broken = (
            load(out, f"{name}.json") for name in ("step1_captions", "ui_only_images", "broken_images")
        )
        final = load(out, "ictc_final_results.json")
        clusters = load(out, "step2b_dynamic_clusters.json")
        assert set(captions) | set(ui_only) | set(broken) == set(load(out, "image_mapping.json"))
        assert set(broken) == {"empty", "text"}
        assert all(entry["reason"] for entry in [*ui_only.values(), *broken.values()])
        assert set(load(out, "step2a_hooks.json")) == set(captions)
        assert len(clusters) == len({cluster["name"] for cluster in clusters}) == 3
        assert final["cluster_definitions"] == clusters
        assert [tuple(row) for row in final["results"]] == [RESULT_FIELDS] * len(captions)
        assert {row["image_id"]: row["cluster"] for row in final["results"]} == load(out, "step3_final_assignment.json")
        sizes = Counter(row["cluster_id"] for row in final["results"])
        assert {row["cluster_id"]: row["size"] for row in load(out, "step3_metadata.json")["clusters"]} == dict(sizes)
        assert pq.read_table(out / "results.parquet").to_pylist() == final["results"]
        assert {path.name for path in (out / "categorized_images" / "valid_ads").iterdir()} == {
            f"{name}.png" for name in captions
        }
        assert {path.name for path in (out / "categorized_images" / "broken").iterdir()} == {"empty.jpg", "text.jpg"}
        assert list((out / "logs").glob("ictc_*.log"))

    def test_the_way_it_was_made_lies_beside_the_results(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--criterion", "Emotional Tone", "--track", "marketing", "--seed", 7)
        run_info = load(out, "run.json")
        assert (run_info["status"], run_info["track"], run_info["criterion"]) == (
            "finished",
            "marketing",
            "Emotional Tone",
        )
        assert run_info["versions"]["ictc"]
        assert (
            set(run_info["prompt_hashes"])
            == set(load(out, "prompts.json"))
            == {"caption", "label", "synthesize", "assign"}
        )
        assert yaml.safe_load((out / "config.yaml").read_text())["seed"] == 7

    def test_equal_runs_give_equal_bytes(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "one")
        ictc.succeed(
            ads, tmp_path / "two", "--engine_options", '{"window": 3}', "--batch_vlm", 2, "--decode_workers", 1
        )
        assert exported_bytes(tmp_path / "one") == exported_bytes(tmp_path / "two")

    def test_metadata_reaches_the_results_and_demographics_do_not(self, ictc: Ictc, tmp_path: Path, out: Path) -> None:
        for number in range(8):
            draw_observation(
                tmp_path / "ads",
                f"observation-{number}",
                number,
                observation={"platform": "Facebook", "ad_format": "FEED_BASED", "observed_on_device_at": 1714564800},
                observer={"age": "secret-demographic", "gender": "secret-demographic"},
            )
        ictc.succeed(tmp_path / "ads", out)
        for row in load(out, "ictc_final_results.json")["results"]:
            assert (row["platform"], row["ad_format"], row["timestamp"]) == (
                "Facebook",
                "FEED_BASED",
                "2024-05-01T12:00:00Z",
            )
        files = [path for path in out.rglob("*") if path.is_file()]
        assert not any(b"secret-demographic" in path.read_bytes() for path in files)

    def test_the_summary_names_each_cluster_with_its_size(self, ictc: Ictc, ads: Path, out: Path) -> None:
        printed = ictc.succeed(ads, out).stdout
        for cluster in load(out, "step3_metadata.json")["clusters"]:
            assert f"{cluster['size']:,}" in printed
            assert cluster["name"] in printed
        assert "2 broken" in printed
        assert str(out) in printed

    def test_many_images_are_linked_by_a_process_of_its_own(
        self, ictc: Ictc, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ictc.succeed(ads, tmp_path / "here")
        monkeypatch.setattr("ictc.steps.image_links.LINKS_WORTH_A_PROCESS", 1)
        ictc.succeed(ads, tmp_path / "apart")
        here, apart = (
            {path.relative_to(out) for path in (out / "categorized_images").rglob("*")}
            for out in (tmp_path / "here", tmp_path / "apart")
        )
        assert here == apart
        assert len(apart) > 20

    def test_what_keeps_that_process_from_its_work_is_one_line(
        self, ads: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("ictc.steps.image_links.LINKS_WORTH_A_PROCESS", 1)
        (out / "categorized_images").mkdir(parents=True)
        (out / "categorized_images" / "valid_ads").write_text("no folder")
        assert ictc_in_process(ads, out) == 1
        stderr = capfd.readouterr().err
        assert "Traceback" not in stderr
        assert f"cannot write {out / 'categorized_images'}" in stderr

    def test_foreign_ids_never_become_paths(self, ictc: Ictc, tmp_path: Path, out: Path) -> None:
        for number, hostile in enumerate(
            ["../../escape", "/etc/passwd", "a\nb", "x" * 300, ".hidden", "OK", "ok", "<b>"]
        ):
            folder = draw_observation(tmp_path / "ads", f"folder-{number}", number)
            (folder / "full_data.json").write_bytes(orjson.dumps({"observation_id": hostile}))
        ictc.succeed(tmp_path / "ads", out, "--num_clusters", 2)
        linked = [path for path in (out / "categorized_images").rglob("*") if not path.is_dir()]
        assert len(linked) == len({path.name.casefold() for path in linked}) == 8
        assert not (tmp_path / "escape.jpg").exists()
        assert all(path.name.isprintable() and len(path.name) < 120 for path in linked)

    def test_links_that_the_run_makes_are_no_images_for_it(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--steps", "1")
        valid = out / "categorized_images" / "valid_ads"
        before = sorted(valid.iterdir())
        refused = ictc.run(valid, out)
        assert refused.exit_code == 2
        assert "holds links that a run into" in refused.stderr
        assert sorted(valid.iterdir()) == before

    def test_names_as_long_as_a_disk_allows_are_cut_in_whole_characters(
        self, ictc: Ictc, tmp_path: Path, out: Path
    ) -> None:
        for number in range(4):
            draw_image(tmp_path / "ads" / f"{'夏季新品特惠活动' * 10}{number}.jpg", number)
        ictc.succeed(tmp_path / "ads", out, "--num_clusters", 2)
        linked = [path for path in (out / "categorized_images").rglob("*") if not path.is_dir()]
        assert len(linked) == 4
        assert all(path.name.startswith("夏季新品") and len(path.name.encode()) <= 143 for path in linked)
        assert ictc("verify", out).exit_code == 0


class TestAccounting:
    @given(
        kinds=st.lists(
            st.sampled_from(["image", "empty", "text", "truncated", "rejected", "unanswerable"]),
            min_size=1,
            max_size=12,
        )
    )
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_nothing_is_lost(
        self, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], kinds: list[str]
    ) -> None:
        root = tmp_path_factory.mktemp("accounting")
        names = {f"{number:02d}-{kind}": kind for number, kind in enumerate(kinds)}
        for number, (name, kind) in enumerate(names.items()):
            path = draw_image(root / "ads" / f"{name}.png", number)
            if kind in ("empty", "text", "truncated"):
                path.write_bytes({"empty": b"", "text": b"text", "truncated": path.read_bytes()[:60]}[kind])
        fail = [name for name, kind in names.items() if kind == "rejected"]
        invalid = [name for name, kind in names.items() if kind == "unanswerable"]
        options = orjson.dumps({"fail": fail, "invalid": invalid}).decode()
        tolerant = ("--steps", "1", "--max_broken", 1, "--max_rejected", 1)
        outcome = Ictc(capsys).run(root / "ads", root / "out", *tolerant, "--engine_options", options)

        assert outcome.exit_code == 0
        rejected = [orjson.loads(line) for line in (root / "out" / "rejected.jsonl").read_bytes().splitlines()]
        parts = [
            *load(root / "out", "step1_captions.json"),
            *load(root / "out", "ui_only_images.json"),
            *load(root / "out", "broken_images.json"),
            *(entry["image_id"] for entry in rejected),
        ]
        assert sorted(parts) == sorted(names)
        assert {entry["image_id"] for entry in rejected} == {*fail, *invalid}

    def test_a_rejection_keeps_what_the_model_said(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--engine_options", '{"invalid": ["ad_003"]}')
        rejections = [orjson.loads(line) for line in (out / "rejected.jsonl").read_bytes().splitlines()]
        assert [(entry["image_id"], entry["stage"], entry["raw_text"]) for entry in rejections] == [
            ("ad_003", "caption", "scripted nonsense")
        ]
        assert "not valid" in rejections[0]["reason"]


class TestResume:
    def test_a_second_run_changes_nothing_and_asks_nothing(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        before = exported_bytes(out)
        again = ictc.succeed(
            ads, out, "--engine_options", '{"die_on": ["ad_000", "synthesize"]}'
        )  # a request would end it
        assert "up to date" in again.stderr
        assert exported_bytes(out) == before

    def test_a_damaged_record_is_told_and_made_again(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        before = exported_bytes(out)
        (segment,) = out.glob("state/label/*/*.jsonl")
        content = bytearray(segment.read_bytes())
        content[content.index(b"\n") + 20] ^= 1
        segment.write_bytes(content)
        assert "Step 2a labels: 1 damaged records are made again" in ictc.succeed(ads, out).stderr
        assert exported_bytes(out) == before

    def test_a_trial_run_does_not_cap_the_full_run(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "grown", "--max_images", 10)
        assert len(load(tmp_path / "grown", "image_mapping.json")) == 10
        grown = ictc.succeed(ads, tmp_path / "grown")
        assert "Step 1 captions: 10/22" in grown.stderr
        ictc.succeed(ads, tmp_path / "direct")
        assert exported_bytes(tmp_path / "grown") == exported_bytes(tmp_path / "direct")

    @pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_a_signal_stops_the_run_and_the_same_command_resumes(
        self, ictc: Ictc, ads: Path, tmp_path: Path, number: int, exit_code: int
    ) -> None:
        arguments = (
            "run",
            "--ads_dir",
            ads,
            "--output_dir",
            tmp_path / "out",
            "--engine",
            "scripted",
            "--num_clusters",
            3,
        )
        process = start_ictc(*arguments, "--engine_options", '{"latency_s": 0.2, "window": 2}')
        wait_for_records(tmp_path / "out", 4)
        started = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == exit_code
        assert time.monotonic() - started < 10
        assert "To resume:" in stderr
        assert load(tmp_path / "out", "run.json")["status"] == "stopped"
        finished = ictc.succeed(ads, tmp_path / "out").stderr
        assert "Step 1 captions: 0/22" not in finished
        ictc.succeed(ads, tmp_path / "direct")
        assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "direct")

    def test_a_stop_does_not_wait_for_an_answer_that_never_comes(self, ads: Path, out: Path) -> None:
        options = '{"hang_on": ["ad_005"], "window": 4}'
        arguments = ("run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--engine_options", options)
        process = start_ictc(*arguments)
        wait_for_records(out, 21)
        started = time.monotonic()
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 143
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize("records", [3, 30, 50])
    def test_a_killed_run_resumes_to_the_same_bytes(self, ictc: Ictc, ads: Path, tmp_path: Path, records: int) -> None:
        arguments = (
            "run",
            "--ads_dir",
            ads,
            "--output_dir",
            tmp_path / "out",
            "--engine",
            "scripted",
            "--num_clusters",
            3,
        )
        process = start_ictc(*arguments, "--engine_options", SLOW_ANSWERS)
        wait_for_records(tmp_path / "out", records)
        process.kill()
        process.communicate()
        ictc.succeed(ads, tmp_path / "out")
        ictc.succeed(ads, tmp_path / "direct")
        assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "direct")


def count_records(output_dir: Path) -> int:
    """Return how many records the journals of a run hold."""
    return sum(path.read_bytes().count(b"\n") - 1 for path in output_dir.glob("state/*/*/*.jsonl"))


def wait_for_records(output_dir: Path, count: int, timeout_s: float = 30) -> None:
    """Wait until the journals of a running run hold `count` records."""
    deadline = time.monotonic() + timeout_s
    while count_records(output_dir) < count:
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.01)


class TestStaleness:
    def test_a_new_k_reuses_captions_and_labels(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        labels = (out / "step2a_hooks.json").read_bytes()
        changed = ictc.succeed(ads, out, "--num_clusters", 4, "--steps", "2b,3").stderr
        assert "num_clusters 3 → 4" in changed
        assert len(load(out, "step2b_dynamic_clusters.json")) == 4
        assert (out / "step2a_hooks.json").read_bytes() == labels

    def test_a_new_criterion_makes_new_labels_unless_told_not_to(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        captions, labels = ((out / name).read_bytes() for name in ("step1_captions.json", "step2a_hooks.json"))
        ictc.succeed(ads, out, "--criterion", "Emotional Tone", "--steps", "2b,3")
        assert load(out, "ictc_final_results.json")["metadata"]["criterion"] == "Emotional Tone"
        assert (out / "step2a_hooks.json").read_bytes() == labels
        ictc.succeed(ads, out, "--criterion", "Emotional Tone")
        assert (out / "step2a_hooks.json").read_bytes() != labels
        assert (out / "step1_captions.json").read_bytes() == captions  # this track's captions don't ask for it

    def test_going_back_costs_nothing(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        before = exported_bytes(out)
        ictc.succeed(ads, out, "--num_clusters", 4)
        ictc.succeed(ads, out, "--engine_options", '{"die_on": ["ad_000", "synthesize"]}')
        assert exported_bytes(out) == before

    def test_another_seed_asks_again(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        assert "Step 1 captions: 0/22" in ictc.succeed(ads, out, "--seed", 43).stderr

    def test_a_replaced_image_is_captioned_again_with_all_that_follows(
        self, ictc: Ictc, ads: Path, tmp_path: Path
    ) -> None:
        ictc.succeed(ads, tmp_path / "out")
        draw_image(ads / "ad_004.png", 99, size=(300, 300))
        shutil.rmtree(tmp_path / "out" / "state" / "manifest.jsonl", ignore_errors=True)
        (tmp_path / "out" / "state" / "manifest.jsonl").unlink()
        assert "Step 1 captions: 21/22" in ictc.succeed(ads, tmp_path / "out").stderr
        ictc.succeed(ads, tmp_path / "direct")
        assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "direct")

    def test_fewer_images_leave_no_file_about_more(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "out")
        ictc.succeed(ads, tmp_path / "out", "--max_images", 12)
        ictc.succeed(ads, tmp_path / "direct", "--max_images", 12)
        assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "direct")

    def test_forced_steps_run_again(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        forced = ictc.succeed(ads, out, "--steps", "2b,3", "--force_steps", "2b,3").stderr
        assert "Step 2b clusters: 3 from" in forced
        assert "Step 3 assignments: 0/" in forced

    def test_an_unfinished_change_leaves_no_stale_file(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        records = count_records(out)
        arguments = ("run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--num_clusters", 4)
        process = start_ictc(*arguments, "--engine_options", SLOW_ANSWERS)
        wait_for_records(out, records + 3)
        process.kill()
        process.communicate()
        assert len(load(out, "step2b_dynamic_clusters.json")) == 4
        assert not (out / "ictc_final_results.json").exists()
        assert not (out / "results.parquet").exists()


class TestTracks:
    def test_several_tracks_go_into_folders_of_their_own(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--track", "1,2,3")
        for directory, criterion in (
            ("full_run", "Marketing Strategy"),
            ("track2_identity", "Algorithmic Identity Profiling"),
            ("track3_cultural", "Cultural Representation & Social Values"),
        ):
            metadata = load(out / directory, "ictc_final_results.json")["metadata"]
            assert metadata["criterion"] == criterion
        assert "lifestyle" in next(iter(load(out / "track2_identity", "step1_captions.json").values()))

    def test_a_track_alone_gives_the_same_as_together(self, ictc: Ictc, ads: Path, out: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, out, "--track", "1,2")
        ictc.succeed(ads, tmp_path / "alone", "--track", "identity")
        assert exported_bytes(out / "track2_identity") == exported_bytes(tmp_path / "alone")

    def test_a_criterion_alone_means_the_general_track(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--criterion", "the musical instrument")
        metadata = load(out, "ictc_final_results.json")["metadata"]
        assert (metadata["track"], metadata["criterion"]) == ("general", "the musical instrument")
        assert "the musical instrument" not in load(out, "prompts.json")["label"]["user"]

    def test_a_folder_holds_one_track(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        before = exported_bytes(out)
        refused = ictc.run(ads, out, "--track", "2")
        assert refused.exit_code == 2
        assert "--shard_id track2_identity" in refused.stderr
        assert exported_bytes(out) == before

    def test_runs_that_a_command_leaves_as_they_are_are_told_of(self, ictc: Ictc, ads: Path, out: Path) -> None:
        told = "left as they are: the results of earlier runs in"
        assert told not in ictc.succeed(ads, out).stderr
        before = exported_bytes(out)
        (ads / "ad_000.png").unlink()
        for _ in range(2):
            assert f"{told} {out}\n" in ictc.succeed(ads, out, "--track", "1,2").stderr
        assert exported_bytes(out) == before
        assert f"{told} {out}/full_run, {out}/track2_identity\n" in ictc.succeed(ads, out).stderr
        assert len(load(out, "image_mapping.json")) == len(load(out / "full_run", "image_mapping.json"))
        assert told not in ictc.succeed(ads, out, "--track", "2", "--shard_id", "track2_identity").stderr


class TestParts:
    def test_a_part_does_steps_1_and_2a(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--start_index", 5, "--end_index", 9, "--shard_id", "shard_1")
        assert sorted(load(out / "shard_1", "image_mapping.json")) == ["ad_005", "ad_006", "ad_007", "ad_008"]
        assert (out / "shard_1" / "step2a_hooks.json").exists()
        assert not (out / "shard_1" / "step2b_dynamic_clusters.json").exists()

    def test_parts_make_up_the_whole(self, ictc: Ictc, ads: Path, out: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "whole", "--steps", "1,2a")
        labels: dict[str, str] = {}
        for start, end in ((0, 7), (7, 8), (8, 99)):
            ictc.succeed(ads, out, "--start_index", start, "--end_index", end, "--shard_id", f"s{start}")
            labels |= load(out / f"s{start}", "step2a_hooks.json")
        assert labels == load(tmp_path / "whole", "step2a_hooks.json")

    def test_an_empty_part_is_finished(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out, "--start_index", 50, "--shard_id", "last")
        assert load(out / "last", "step1_captions.json") == {}
