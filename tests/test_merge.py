"""Shards and their merge: what several machines make is what one would have made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.cli import Ictc, exported_bytes, load, start_ictc
from support.collections import draw_flat, draw_image, draw_observation
from test_run import wait_for_records

NUM_ADS = 14


@pytest.fixture(scope="module")
def ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Observations with metadata and a broken image, in an order that no listing gives by itself."""
    root = tmp_path_factory.mktemp("collection") / "ads"
    for number in (9, 3, 12, 0, 7, 1, 11, 5, 13, 2, 10, 4, 8, 6):
        draw_observation(root, f"obs-{number:02d}", number, observation={"platform": "TikTok"})
    next((root / "obs-05").glob("*.jpg")).write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def whole(ads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never divided."""
    out = tmp_path_factory.mktemp("whole") / "out"
    process = start_ictc(*run_arguments(ads, out))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return out


def run_arguments(ads: Path, out: Path, *arguments: object) -> list[object]:
    return ["run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--num_clusters", 3, *arguments]


def make_shard(ictc: Ictc, ads: Path, out: Path, start: int, end: int, *arguments: object) -> Path:
    """Run the shard from `start` to `end` and return its folder."""
    name = f"shard_{start}_{end}"
    ictc.succeed(ads, out, "--start_index", start, "--end_index", end, "--shard_id", name, *arguments)
    return out / name


def merge(ictc: Ictc, out: Path, *arguments: object) -> None:
    outcome = ictc("merge", *arguments, "--output_dir", out)
    assert outcome.exit_code == 0, outcome.stderr


def refusal(ictc: Ictc, out: Path, *arguments: object) -> str:
    """Merge in vain; return the one error line."""
    outcome = ictc("merge", *arguments, "--output_dir", out)
    assert outcome.exit_code == 2, outcome.stderr
    assert not (out / "ictc_final_results.json").exists()
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("ictc: error: ")]
    return line


@st.composite
def splits(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Return uneven ranges that cover the collection, some of them empty, in any order."""
    cuts = sorted(draw(st.lists(st.integers(0, NUM_ADS), min_size=1, max_size=4)))
    ranges = list(zip([0, *cuts], [*cuts, NUM_ADS], strict=True))
    return draw(st.permutations(ranges))


class TestEquality:
    @given(ranges=splits(), killed_after=st.none() | st.integers(1, 6))
    @example(ranges=[(0, 5), (5, 6), (6, NUM_ADS)], killed_after=None)  # one shard has nothing but a broken image
    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_merged_equals_undivided(
        self,
        ranges: list[tuple[int, int]],
        killed_after: int | None,
        ads: Path,
        whole: Path,
        capsys: pytest.CaptureFixture[str],
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        root, ictc = tmp_path_factory.mktemp("split"), Ictc(capsys)
        if killed_after is not None:
            kill_shard(ads, root, *max(ranges, key=lambda one: one[1] - one[0]), killed_after)
        # An empty range has a folder of its own only once.
        shards = {make_shard(ictc, ads, root / "shards", *one, "--max_broken", 1) for one in ranges}
        merge(ictc, root / "merged", *shards)
        assert exported_bytes(root / "merged") == exported_bytes(whole)
        assert links(root / "merged") == links(whole)
        assert ictc("verify", root / "merged").exit_code == 0

    def test_equal_shards_by_number_and_a_folder_of_them(
        self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path
    ) -> None:
        for index in (2, 0, 1):
            ictc.succeed(ads, tmp_path / "shards", "--num_shards", 3, "--shard_index", index)
        merge(ictc, tmp_path / "merged", tmp_path / "shards")
        assert exported_bytes(tmp_path / "merged") == exported_bytes(whole)

    def test_a_merge_that_was_killed_or_is_repeated_gives_the_same(
        self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path
    ) -> None:
        shards = [make_shard(ictc, ads, tmp_path / "shards", *one) for one in ((0, 5), (5, NUM_ADS))]
        slow = ("--engine_options", '{"latency_s": 0.05, "window": 1}')
        process = start_ictc("merge", *shards, "--output_dir", tmp_path / "merged", *slow)
        wait_for_records(tmp_path / "merged", 30)
        process.kill()
        process.communicate()
        for _ in range(2):
            merge(ictc, tmp_path / "merged", *shards)
            assert exported_bytes(tmp_path / "merged") == exported_bytes(whole)

    def test_merging_alone_leaves_the_clusters_to_a_run(
        self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path
    ) -> None:
        shards = [make_shard(ictc, ads, tmp_path / "shards", *one) for one in ((0, 5), (5, NUM_ADS))]
        merge(ictc, tmp_path / "merged", *shards, "--no_cluster")
        assert not (tmp_path / "merged" / "step2b_dynamic_clusters.json").exists()
        assert (tmp_path / "merged" / "step2a_hooks.json").read_bytes() == (whole / "step2a_hooks.json").read_bytes()
        again = ictc.succeed(ads, tmp_path / "merged")  # the merged folder is that of an undivided run
        assert "Step 1 captions: all 14 are up to date" in again.stderr
        assert exported_bytes(tmp_path / "merged") == exported_bytes(whole)

    def test_the_results_may_lie_beside_the_shards(self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path) -> None:
        for one in ((0, 5), (5, NUM_ADS)):
            make_shard(ictc, ads, tmp_path / "out", *one)
        for _ in range(2):  # the second time, the first merge lies among the shards
            merge(ictc, tmp_path / "out" / "merged", tmp_path / "out")
            assert exported_bytes(tmp_path / "out" / "merged") == exported_bytes(whole)

    def test_several_tracks_are_merged_each_into_its_folder(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        for one in ((0, 6), (6, NUM_ADS)):
            make_shard(ictc, ads, tmp_path / "shards", *one, "--track", "1,2")
        merge(ictc, tmp_path / "merged", tmp_path / "shards")
        ictc.succeed(ads, tmp_path / "whole", "--track", "1,2")
        for track in ("full_run", "track2_identity"):
            assert exported_bytes(tmp_path / "merged" / track) == exported_bytes(tmp_path / "whole" / track)

    def test_the_shards_are_only_read(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        shards = [make_shard(ictc, ads, tmp_path / "shards", *one) for one in ((0, 5), (5, NUM_ADS))]
        before = contents(tmp_path / "shards")
        merge(ictc, tmp_path / "merged", *shards)
        assert contents(tmp_path / "shards") == before

    def test_step_3_against_given_clusters_can_be_divided_as_well(
        self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path
    ) -> None:
        clusters = ("--clusters", shutil.copy(whole / "step2b_dynamic_clusters.json", tmp_path / "clusters.json"))
        arguments = ("--ads_dir", ads, "--engine", "scripted", *clusters)
        for index in range(3):
            part = ("--num_shards", 3, "--shard_index", index)
            make = ictc("run", *arguments, "--output_dir", tmp_path / "shards", *part)
            assert make.exit_code == 0, make.stderr
        died = '{"die_on": ["obs-00", "synthesize"]}'  # a request would end it
        merge(ictc, tmp_path / "merged", tmp_path / "shards", "--engine_options", died)
        assert ictc("run", *arguments, "--output_dir", tmp_path / "direct").exit_code == 0
        assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "direct")
        assignments = load(tmp_path / "merged", "step3_final_assignment.json")
        assert assignments == load(whole, "step3_final_assignment.json")

        for one in ((0, 5), (5, NUM_ADS)):  # and a merge takes them, too
            make_shard(ictc, ads, tmp_path / "plain", *one)
        merge(ictc, tmp_path / "given", tmp_path / "plain", *clusters)
        assert exported_bytes(tmp_path / "given") == exported_bytes(tmp_path / "direct")


def kill_shard(ads: Path, root: Path, start: int, end: int, records: int) -> None:
    """Begin a shard and kill it once it has made so many records, or is done."""
    part = ("--start_index", start, "--end_index", end, "--shard_id", f"shard_{start}_{end}")
    slow = ("--engine_options", '{"latency_s": 0.02, "window": 2}')
    process = start_ictc(*run_arguments(ads, root / "shards", *part, *slow))
    wait_for_records(root / "shards" / f"shard_{start}_{end}", min(records, end - start))
    process.kill()
    process.communicate()


def links(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in (out / "categorized_images").rglob("*")}


def contents(root: Path) -> dict[Path, tuple[bytes, int]]:
    """Return bytes and time of every file."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


class TestRefusals:
    @pytest.fixture(autouse=True)
    def make_shards(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        self.out = tmp_path / "merged"
        self.shards = tmp_path / "shards"
        self.first, self.second = (make_shard(ictc, ads, self.shards, *one) for one in ((0, 5), (5, NUM_ADS)))

    def test_a_gap(self, ictc: Ictc, ads: Path) -> None:
        last = make_shard(ictc, ads, self.shards, 8, NUM_ADS)
        assert f"no shard has 5 to 8, between {self.first} and {last}" in refusal(ictc, self.out, self.first, last)
        assert "no shard has 5 to 14, the end of the collection" in refusal(ictc, self.out, self.first)
        assert "no shard has 0 to 5, between the beginning and" in refusal(ictc, self.out, self.second)

    def test_an_overlap(self, ictc: Ictc, ads: Path) -> None:
        other = make_shard(ictc, ads, self.shards, 3, NUM_ADS)
        line = refusal(ictc, self.out, self.first, other)
        assert f"{self.first} and {other} overlap: both have 3 to 5" in line

    def test_the_same_shard_twice(self, ictc: Ictc) -> None:
        line = refusal(ictc, self.out, self.first, self.second, self.shards / ".." / "shards" / self.first.name)
        assert "is given twice" in line

    @pytest.mark.parametrize("change", [("--seed", 7), ("--criterion", "Emotional Tone"), ("--max_image_tokens", 640)])
    def test_another_model_prompt_or_setting(
        self, ictc: Ictc, ads: Path, tmp_path: Path, change: tuple[object, ...]
    ) -> None:
        other = make_shard(ictc, ads, tmp_path / "other", 5, NUM_ADS, *change, "--track", "marketing")
        assert "were made in different ways (" in refusal(ictc, self.out, self.first, other)

    def test_another_prompt(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        other = make_shard(ictc, ads, tmp_path / "other", 5, NUM_ADS, "--track", "marketing")
        (current,) = other.glob("state/label/current.json")
        key = orjson.loads(current.read_bytes()) | {"prompt": "0123456789abcdef"}
        current.write_bytes(orjson.dumps(key))
        line = refusal(ictc, self.out, self.first, other)
        assert "(label: prompt " in line

    def test_another_collection_with_what_changed(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        grown = Path(shutil.copytree(ads, tmp_path / "grown"))
        first = make_shard(ictc, grown, tmp_path / "later", 0, 5)
        draw_observation(grown, "obs-02b", 40)
        shutil.rmtree(grown / "obs-04")
        second = make_shard(ictc, grown, tmp_path / "later", 5, NUM_ADS)
        line = refusal(ictc, self.out, first, second)
        assert "are of different collections" in line
        assert "1 added in its range (obs-02b)" in line
        assert "1 removed in its range (obs-04)" in line

    def test_results_inside_a_shard(self, ictc: Ictc) -> None:
        for target in (self.first, self.first / "inside"):
            assert "--output_dir" in refusal(ictc, target, self.first, self.second)

    def test_an_unfinished_shard(self, ictc: Ictc, ads: Path) -> None:
        (segment,) = self.second.glob("state/caption/*/*.jsonl")
        segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-2]))
        line = refusal(ictc, self.out, self.first, self.second)
        assert f"{self.second} is not finished: 2 of 9 images" in line

    def test_a_trial_and_a_folder_without_a_run(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "trial", "--max_images", 4, "--steps", "1")
        assert "--max_images 4, so it is a trial" in refusal(ictc, self.out, tmp_path / "trial")
        assert "no run directory" in refusal(ictc, self.out, ads)

    def test_a_shard_goes_on_only_with_its_own_collection(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        grown = Path(shutil.copytree(ads, tmp_path / "grown"))
        arguments = ("--start_index", 5, "--end_index", 9, "--shard_id", "one")
        ictc.succeed(grown, tmp_path / "out", *arguments)
        draw_observation(grown, "obs-00b", 41)
        refused = ictc.run(grown, tmp_path / "out", *arguments)
        assert refused.exit_code == 2
        assert "14 then, 15 now, 1 more before its range" in refused.stderr
        ictc.succeed(grown, tmp_path / "out", *arguments, "--rediscover")


class TestPartialAnswers:
    def test_what_is_missing_is_left_out_and_told(self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path) -> None:
        first = make_shard(ictc, ads, tmp_path / "shards", 0, 5)
        last = make_shard(ictc, ads, tmp_path / "shards", 9, NUM_ADS)
        (segment,) = last.glob("state/caption/*/*.jsonl")
        segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-2]))
        merge(ictc, tmp_path / "merged", first, last, "--allow_missing")
        mapping = load(tmp_path / "merged", "image_mapping.json")
        assert len(mapping) == NUM_ADS - 4 - 2
        metadata = load(tmp_path / "merged", "ictc_final_results.json")["metadata"]
        assert metadata["partial"] == {"missing_images": 6}
        assert "partial" not in load(whole, "ictc_final_results.json")["metadata"]

    def test_a_whole_answer_replaces_a_partial_one(self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path) -> None:
        first = make_shard(ictc, ads, tmp_path / "shards", 0, 5)
        merge(ictc, tmp_path / "merged", first, "--allow_missing")
        last = make_shard(ictc, ads, tmp_path / "shards", 5, NUM_ADS)
        merge(ictc, tmp_path / "merged", first, last)
        assert exported_bytes(tmp_path / "merged") == exported_bytes(whole)

    def test_a_shard_that_was_retried_is_merged_as_it_is_now(
        self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path
    ) -> None:
        first = make_shard(ictc, ads, tmp_path / "shards", 0, 5)
        last = make_shard(ictc, ads, tmp_path / "shards", 5, NUM_ADS, "--engine_options", '{"fail": ["obs-08"]}')
        merge(ictc, tmp_path / "merged", first, last)
        assert "obs-08" not in load(tmp_path / "merged", "step1_captions.json")
        make_shard(ictc, ads, tmp_path / "shards", 5, NUM_ADS, "--retry_rejected")
        merge(ictc, tmp_path / "merged", first, last)
        assert exported_bytes(tmp_path / "merged") == exported_bytes(whole)

    def test_nothing_missing_is_no_partial_answer(self, ictc: Ictc, ads: Path, whole: Path, tmp_path: Path) -> None:
        shards = [make_shard(ictc, ads, tmp_path / "shards", *one) for one in ((0, 5), (5, NUM_ADS))]
        merge(ictc, tmp_path / "merged", *shards, "--allow_missing")
        assert exported_bytes(tmp_path / "merged") == exported_bytes(whole)


class TestShardsFromTheEnvironment:
    @pytest.mark.parametrize(
        ("environment", "extra", "images"),
        [
            (slurm := {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "2"}, (), None),
            (slurm | {"SLURM_ARRAY_TASK_COUNT": "3"}, (), ["2", "3"]),
            ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "1"}, ("--num_shards", 3), ["4", "5", "6"]),
            ({"RANK": "0", "WORLD_SIZE": "3"}, (), ["0", "1"]),
            ({"RANK": "x", "WORLD_SIZE": "3"}, (), None),
            ({"RANK": "3", "WORLD_SIZE": "3"}, (), None),
            (slurm | {"SLURM_ARRAY_TASK_COUNT": "2"}, (), None),
            ({}, (), None),
        ],
    )
    def test_index_and_number_are_taken_or_refused(
        self,
        ictc: Ictc,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        environment: dict[str, str],
        extra: tuple[object, ...],
        images: list[str] | None,
    ) -> None:
        for number in range(7):
            draw_image(tmp_path / "ads" / f"{number}.png", number)
        for name in [name for name in os.environ if name.startswith("SLURM_") or name in ("RANK", "WORLD_SIZE")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        outcome = ictc.run(tmp_path / "ads", tmp_path / "out", "--shard_from", "env", *extra)
        if images is None:
            assert outcome.exit_code == 2
            assert "--shard_from env: " in outcome.stderr
        else:
            (shard,) = (tmp_path / "out").glob("shard_*")
            assert list(load(shard, "image_mapping.json")) == images
            assert "clusters are made from all parts together" in outcome.stderr


def test_the_order_of_the_collection_does_not_depend_on_the_locale(
    ictc: Ictc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["ä", "Z", "a", "é", "_", "10", "9", "ß", "B"]
    draw_flat(tmp_path / "none", 0)
    for number, name in enumerate(names):
        draw_image(tmp_path / "ads" / f"{name}.png", number)
    for number, locale in enumerate(("C", "de_DE.UTF-8")):
        monkeypatch.setenv("LC_ALL", locale)
        ictc.succeed(tmp_path / "ads", tmp_path / f"out{number}", "--steps", "1")
    mapping = load(tmp_path / "out0", "image_mapping.json")
    assert list(mapping) == sorted(names)
    assert list(load(tmp_path / "out1", "image_mapping.json")) == list(mapping)
