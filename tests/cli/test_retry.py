"""`ictc retry` tries again what a run rejected, with that run's settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.cli import Ictc, exported_bytes
from support.collections import draw_flat


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 12)


@pytest.fixture
def ictc(capsys: pytest.CaptureFixture[str]) -> Ictc:
    return Ictc(capsys)


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


def test_images_that_were_moved_are_found_when_told(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", "--engine_options", '{"fail": ["ad_002"]}')
    heal(tmp_path / "out")
    ads.rename(tmp_path / "moved")
    lost = ictc("retry", tmp_path / "out")
    assert lost.exit_code == 1
    assert str(ads) in lost.stderr
    assert ictc("retry", tmp_path / "out", "--ads_dir", tmp_path / "moved").exit_code == 0
    assert (tmp_path / "out" / "rejected.jsonl").read_bytes() == b""


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
