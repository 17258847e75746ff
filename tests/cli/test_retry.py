"""`ictc retry` tries again what a run rejected, with that run's settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.cli import Ictc, exported_bytes
from support.collections import draw_flat

from ictc.config.groups import default_work_dir

TRACKS = ("full_run", "track2_identity")


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 12)


def heal(directory: Path) -> None:
    """Take the scripted failures out of a run's settings: what made them is gone."""
    path = directory / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    del settings["engine_options"]
    path.write_text(yaml.safe_dump(settings))


def test_the_rejected_are_tried_again_as_the_run_was_made(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    own = ("--seed", 5, "--num_clusters", 4, "--criterion", "Emotional Tone")
    ictc.succeed(ads, tmp_path / "out", *own, "--engine_options", '{"fail": ["ad_002"], "invalid": ["ad_009"]}')
    assert (tmp_path / "out" / "rejected.jsonl").read_bytes().count(b"\n") == 2
    heal(tmp_path / "out")
    retried = ictc("retry", tmp_path / "out")
    assert retried.exit_code == 0
    assert "Step 1 captions: 10/12" in retried.stderr
    ictc.succeed(ads, tmp_path / "direct", *own)
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "direct")


def test_all_tracks_and_shards_below_are_retried(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    shard = ("--start_index", 0, "--end_index", 6, "--shard_id", "shard_0", "--track", "1,2")
    ictc.succeed(ads, tmp_path / "out", *shard, "--engine_options", '{"fail": ["ad_002"]}')
    for track in ("full_run", "track2_identity"):
        heal(tmp_path / "out" / "shard_0" / track)
    assert ictc("retry", tmp_path / "out").exit_code == 0
    for track in ("full_run", "track2_identity"):
        assert (tmp_path / "out" / "shard_0" / track / "rejected.jsonl").read_bytes() == b""


def test_tracks_below_a_run_of_one_are_retried_too(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out")
    own = (Path(__file__).parents[1] / "support" / "ads_only_track.py").read_text()
    (tmp_path / "mine.py").write_text(own)
    tracks = ("--track", f"{tmp_path / 'mine.py'},2", "--combine_tracks")
    ictc.succeed(ads, tmp_path / "out", *tracks, "--engine_options", '{"fail": ["ad_002"]}')
    for path in (tmp_path / "out").glob("*/config.yaml"):
        heal(path.parent)
    retried = ictc("retry", tmp_path / "out")
    assert retried.exit_code == 0, retried.stderr
    assert [path.read_bytes() for path in (tmp_path / "out").rglob("rejected.jsonl")] == [b""] * 3


def test_images_that_were_moved_are_found_when_told(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", "--engine_options", '{"fail": ["ad_002"]}')
    heal(tmp_path / "out")
    ads.rename(tmp_path / "moved")
    lost = ictc("retry", tmp_path / "out")
    assert lost.exit_code == 1
    assert str(ads) in lost.stderr
    assert ictc("retry", tmp_path / "out", "--ads_dir", tmp_path / "moved").exit_code == 0
    assert (tmp_path / "out" / "rejected.jsonl").read_bytes() == b""


def test_a_run_of_a_table_is_retried_though_its_results_lie_among_the_images(
    ictc: Ictc, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path\n" + "".join(f"ads/ad_{number:03d}.png\n" for number in range(12)))
    monkeypatch.chdir(tmp_path)
    for name, folder in (("plain", ()), ("folder", ("--ads_dir", "."))):
        command = ("run", "--images", "list.csv", *folder, "--output_dir", name, "--engine", "scripted")
        run = ictc(*command, "--num_clusters", 3, "--engine_options", '{"fail": ["ad_002"]}')
        assert run.exit_code == 0, run.stderr
        heal(tmp_path / name)
        retried = ictc("retry", name)
        assert retried.exit_code == 0, retried.stderr
        assert (tmp_path / name / "rejected.jsonl").read_bytes() == b""
        assert ictc("verify", name).exit_code == 0


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"ads_dir: {", b"no_such_flag: 1", b"seed: -1"])
def test_a_run_without_usable_settings_is_refused_in_one_line(
    ictc: Ictc, ads: Path, tmp_path: Path, content: bytes | None
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    (tmp_path / "out" / "config.yaml").unlink()
    if content is not None:
        (tmp_path / "out" / "config.yaml").write_bytes(content)
    refused = ictc("retry", tmp_path / "out")
    assert refused.exit_code == 2
    assert "config.yaml" in refused.stderr
    assert refused.stderr.count("\n") == 1


class TestWhatOthersMade:
    """Each is retried, or the commands that will do it are named."""

    FAILING = ("--engine_options", '{"fail": ["ad_002"]}')

    def test_tracks_that_share_their_requests_are_retried_together(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        arguments = ("--track", "1,2", "--combine_tracks")
        ictc.succeed(ads, tmp_path / "out", *arguments, *self.FAILING)
        for track in TRACKS:
            heal(tmp_path / "out" / track)
        outcome = ictc("retry", tmp_path / "out" / TRACKS[1])
        assert outcome.exit_code == 0, outcome.stderr
        assert outcome.stderr.count("Step 1 captions: 11/12") == 2
        ictc.succeed(ads, tmp_path / "direct", *arguments)
        for track in TRACKS:
            assert exported_bytes(tmp_path / "out" / track) == exported_bytes(tmp_path / "direct" / track)
        assert ictc("retry", tmp_path / "out").exit_code == 0

    def test_a_users_own_track_among_them_is_found_from_another_folder(
        self, ictc: Ictc, ads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = (Path(__file__).parents[1] / "support" / "ads_only_track.py").read_text()
        (tmp_path / "mine.py").write_text(own)
        monkeypatch.chdir(tmp_path)
        ictc.succeed(ads, tmp_path / "out", "--track", "mine.py,2", "--combine_tracks", *self.FAILING)
        for path in (tmp_path / "out").glob("*/config.yaml"):
            heal(path.parent)
        monkeypatch.chdir(ads)
        outcome = ictc("retry", tmp_path / "out")
        assert outcome.exit_code == 0, outcome.stderr
        assert not any(path.read_bytes() for path in (tmp_path / "out").glob("*/rejected.jsonl"))

    def test_a_merged_run_is_retried_like_an_undivided_one(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        self.merge_shards(ictc, ads, tmp_path, 2)
        heal(tmp_path / "merged")
        assert ictc("retry", tmp_path / "merged").exit_code == 0
        ictc.succeed(ads, tmp_path / "direct")
        assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "direct")

    def test_shards_are_retried_and_then_merged_again(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        merge = self.merge_shards(ictc, ads, tmp_path, 2)
        for path in tmp_path.glob("*/config.yaml"):
            heal(path.parent)
        retried = ictc("retry", tmp_path)
        assert retried.exit_code == 0
        assert "its own ictc merge command again" in retried.stderr
        assert ictc(*merge).exit_code == 0
        ictc.succeed(ads, tmp_path / "direct")
        assert exported_bytes(tmp_path / "merged") == exported_bytes(tmp_path / "direct")

    def test_a_partial_merge_has_its_shards_named(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        self.merge_shards(ictc, ads, tmp_path, 1)
        before = exported_bytes(tmp_path / "merged")
        refused = ictc("retry", tmp_path / "merged")
        assert refused.exit_code == 2
        assert f"ictc retry {tmp_path / 'shard_0'}, then its own ictc merge command again" in refused.stderr
        assert exported_bytes(tmp_path / "merged") == before

    def test_of_a_reclustered_run_the_commands_are_named(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "out", *self.FAILING)
        heal(tmp_path / "out")
        again = ("recluster", "--source_dir", tmp_path / "out", "--output_dir", tmp_path / "k4", "--num_clusters", 4)
        assert ictc(*again).exit_code == 0
        refused = ictc("retry", tmp_path / "k4")
        assert refused.exit_code == 2
        assert f"ictc retry {tmp_path / 'out'}, then its own ictc recluster command again" in refused.stderr
        assert ictc("retry", tmp_path / "out").exit_code == 0
        assert ictc(*again, "--retry_rejected").exit_code == 0
        ictc.succeed(ads, tmp_path / "direct", "--num_clusters", 4)
        assert exported_bytes(tmp_path / "k4") == exported_bytes(tmp_path / "direct")

    def test_a_url_is_no_place_of_a_run(self, ictc: Ictc) -> None:
        refused = ictc("retry", "s3://bucket/results")
        assert refused.exit_code == 2
        assert str(default_work_dir("s3://bucket/results")) in refused.stderr

    def merge_shards(self, ictc: Ictc, ads: Path, root: Path, num_shards: int) -> tuple[object, ...]:
        """Make so many of two shards, merge them, and return the command that did."""
        for index in range(num_shards):
            ictc.succeed(ads, root, "--num_shards", 2, "--shard_index", index, *self.FAILING)
        shards = [root / f"shard_{index}" for index in range(num_shards)]
        merge = ("merge", *shards, "--output_dir", root / "merged", "--allow_missing")
        assert ictc(*merge).exit_code == 0
        return merge
