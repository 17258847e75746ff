"""Several tracks in one pass over the images: each decoded once, asked about for all, recorded for each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli import Ictc, exported_bytes, load, start_ictc
from support.collections import draw_flat, draw_image

from ictc.dataset.decoding.pool import DecodePool
from ictc.engines.base import GenerationRequest, GenerationResult, Task
from ictc.engines.scripted import ScriptedEngine
from ictc.records import BrokenImage, DecodedImage

TRACKS = {"1": "full_run", "2": "track2_identity", "3": "track3_cultural"}
NUM_IMAGES = 20


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    folder = draw_flat(tmp_path / "ads", NUM_IMAGES)
    (folder / "broken.png").write_bytes(b"not an image")
    (folder / "copy.png").write_bytes((folder / "ad_005.png").read_bytes())
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was decoded."""
    counts: Counter[str] = Counter()
    decode = DecodePool.decode

    async def count(pool: DecodePool, path: Path, max_image_tokens: int) -> DecodedImage | BrokenImage:
        counts[path.name] += 1
        return await decode(pool, path, max_image_tokens)

    monkeypatch.setattr(DecodePool, "decode", count)
    return counts


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[GenerationRequest]:
    """What the engine was asked, in order."""
    requests: list[GenerationRequest] = []
    answer = ScriptedEngine._answer

    async def note(engine: ScriptedEngine, request: GenerationRequest) -> GenerationResult:
        requests.append(request)
        return await answer(engine, request)

    monkeypatch.setattr(ScriptedEngine, "_answer", note)
    return requests


def test_one_pass_gives_what_three_runs_give(
    ictc: Ictc, tmp_path: Path, ads: Path, decoded: Counter[str], asked: list[GenerationRequest]
) -> None:
    ictc.succeed(ads, tmp_path / "together", "--track", "1,2,3")
    assert {name: count for name, count in decoded.items() if name != "broken.png"} == {
        f"ad_{number:03d}.png": 1 for number in range(NUM_IMAGES)
    }
    captions = [request for request in asked if request.task is Task.CAPTION]
    assert len(captions) == 3 * NUM_IMAGES
    for number, directory in TRACKS.items():
        ictc.succeed(ads, tmp_path / "alone" / directory, "--track", number)
        assert exported_bytes(tmp_path / "together" / directory) == exported_bytes(tmp_path / "alone" / directory)


def test_an_images_requests_go_in_one_after_the_other_and_share_all_that_precedes_their_words(
    ictc: Ictc, tmp_path: Path, ads: Path, asked: list[GenerationRequest]
) -> None:
    ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3")
    captions = [request for request in asked if request.task is Task.CAPTION]
    for first in range(0, len(captions), 3):
        three = captions[first : first + 3]
        assert len({request.request_id.partition(":")[2] for request in three}) == 1
        assert len({request.image.key for request in three if request.image}) == 1
        assert all([message.role for message in request.messages] == ["user"] for request in three)


@pytest.mark.parametrize("tracks", ["1,2,3", "1,2,general"])
def test_combined_captions_depend_on_the_criteria_that_their_prompt_names(
    ictc: Ictc, tmp_path: Path, ads: Path, tracks: str
) -> None:
    """A new criterion makes them anew where the prompt has it in it, and nowhere else."""
    combined = ("--track", tracks, "--combine_tracks")
    ictc.succeed(ads, tmp_path / "out", *combined, "--criterion", "Price Level")
    for out in ("out", "fresh"):
        told = ictc.succeed(ads, tmp_path / out, *combined, "--criterion", "Emotional Tone")
        made_again = "Step 1 captions: all 22 are up to date" not in told.stderr
        assert made_again == (out == "fresh" or "general" in tracks)
    for folder in ("full_run", "track2_identity"):
        assert exported_bytes(tmp_path / "out" / folder) == exported_bytes(tmp_path / "fresh" / folder)


def test_a_track_that_fails_costs_the_others_nothing(ictc: Ictc, tmp_path: Path, ads: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3", "--engine_options", '{"fail": ["1:ad_003"]}')
    lines = {name: (tmp_path / "out" / name / "rejected.jsonl").read_text() for name in TRACKS.values()}
    assert {name for name, text in lines.items() if '"ad_003"' in text} == {"track2_identity"}


def test_an_image_that_kills_the_engine_is_blamed_in_its_track(ictc: Ictc, tmp_path: Path, ads: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3", "--engine_options", '{"die_on": ["2:ad_004"], "window": 6}')
    rejected = {name: (tmp_path / "out" / name / "rejected.jsonl").read_text() for name in TRACKS.values()}
    assert "quarantined" in rejected["track3_cultural"]
    assert rejected["full_run"] == rejected["track2_identity"] == ""


def test_a_track_that_is_done_is_not_asked_again(
    ictc: Ictc, tmp_path: Path, ads: Path, asked: list[GenerationRequest]
) -> None:
    ictc.succeed(ads, tmp_path / "out" / "track2_identity", "--track", "2")
    asked.clear()
    ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3")
    assert sum(request.task is Task.CAPTION for request in asked) == 2 * NUM_IMAGES


@pytest.mark.parametrize("flags", [(), ("--combine_tracks",)])
def test_killed_in_the_middle_it_ends_with_the_same(
    ictc: Ictc, tmp_path: Path, ads: Path, flags: tuple[str, ...]
) -> None:
    command = ("--track", "1,2,3", *flags, "--engine_options", '{"window": 6, "latency_s": 0.02}')
    ictc.succeed(ads, tmp_path / "whole", *command)
    out = tmp_path / "out"
    common = ("run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--num_clusters", 3)
    with start_ictc(*common, *command) as process:
        wait_for(lambda: count_records(out) > NUM_IMAGES)
        process.kill()
    assert count_records(out) < 3 * (NUM_IMAGES + 2)
    ictc.succeed(ads, out, *command)
    for directory in TRACKS.values():
        assert exported_bytes(out / directory) == exported_bytes(tmp_path / "whole" / directory)


def count_records(out: Path) -> int:
    """Return how many captions are recorded, of all tracks."""
    return sum(path.read_bytes().count(b'"id"') for path in out.glob("*/state/caption/*/*.jsonl"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestCombined:
    """`--combine_tracks`: one request an image for all tracks."""

    def test_each_track_gets_its_part(
        self, ictc: Ictc, tmp_path: Path, ads: Path, asked: list[GenerationRequest]
    ) -> None:
        ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3", "--combine_tracks")
        assert sum(request.task is Task.CAPTION for request in asked) == NUM_IMAGES
        captions = {name: load(tmp_path / "out" / name, "step1_captions.json") for name in TRACKS.values()}
        assert all("socio_economic_status" in caption for caption in captions["track2_identity"].values())
        assert not any("socio_economic_status" in caption for caption in captions["full_run"].values())
        for name in TRACKS.values():
            assert "broken" in load(tmp_path / "out" / name, "broken_images.json")

    def test_it_resumes_and_tells_its_results_from_those_of_single_requests(
        self, ictc: Ictc, tmp_path: Path, ads: Path, asked: list[GenerationRequest]
    ) -> None:
        ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3", "--combine_tracks")
        whole = {name: exported_bytes(tmp_path / "out" / name) for name in TRACKS.values()}
        draw_image(ads / "new.png", 77)
        asked.clear()
        ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3", "--combine_tracks")
        assert [request.request_id for request in asked if request.task is Task.CAPTION] == ["new"]
        (ads / "new.png").unlink()
        ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3", "--combine_tracks")
        assert {name: exported_bytes(tmp_path / "out" / name) for name in TRACKS.values()} == whole
        asked.clear()
        ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3")
        assert sum(request.task is Task.CAPTION for request in asked) == 3 * NUM_IMAGES

    def test_an_invalid_part_is_asked_for_again_and_then_rejected_everywhere(
        self, ictc: Ictc, tmp_path: Path, ads: Path
    ) -> None:
        options = ("--engine_options", '{"invalid": ["ad_002"]}')
        ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3", "--combine_tracks", *options)
        for name in TRACKS.values():
            assert '"ad_002"' in (tmp_path / "out" / name / "rejected.jsonl").read_text()

    def test_one_track_is_no_combination(self, ictc: Ictc, tmp_path: Path, ads: Path) -> None:
        outcome = ictc.run(ads, tmp_path / "out", "--track", "1", "--combine_tracks")
        assert outcome.exit_code == 2
        assert "--combine_tracks needs several tracks" in outcome.stderr
