"""What a run makes of a collection, a model or settings that have changed: what is the same is kept."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_image, draw_observation

from ictc.config import ModelSpec
from ictc.config.answers import answer_options
from ictc.engines.base import Task
from ictc.runs.models import digest_checkpoint, find_models, load_models, note_models
from ictc.storage.rundir import RunDirectory


def draw_bmp(path: Path, number: int) -> Path:
    """Draw an image whose file is as large as that of any other number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), ((number * 53) % 256, (number * 97) % 256, (number * 29) % 256)).save(path)
    return path


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    for number in range(8):
        draw_bmp(tmp_path / "ads" / f"ad_{number}.bmp", number)
    return tmp_path / "ads"


def assert_as_fresh(ictc: Ictc, ads: Path, out: Path, *arguments: object) -> None:
    """Check that a run directory says what the same command says in an empty folder, and is in order."""
    fresh = out.with_name("fresh")
    ictc.succeed(ads, fresh, *arguments)
    assert exported_bytes(out) == exported_bytes(fresh)
    assert ictc("verify", out).exit_code == 0


def journal_bytes(out: Path) -> int:
    return sum(path.stat().st_size for path in out.glob("state/*/*/*.jsonl"))


def test_a_copy_does_not_follow_its_original_that_is_another_image_by_now(
    ictc: Ictc, ads: Path, tmp_path: Path
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    shutil.copy(ads / "ad_0.bmp", ads / "ad_9.bmp")
    draw_image(ads / "ad_0.bmp", 99, size=(320, 200))
    ictc.succeed(ads, tmp_path / "out")
    assert_as_fresh(ictc, ads, tmp_path / "out")


@pytest.mark.parametrize("flags", [("--track", "1,2,3"), ("--track", "1,2,3", "--combine_tracks")])
def test_nor_in_any_of_several_tracks(ictc: Ictc, ads: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    ictc.succeed(ads, tmp_path / "out", *flags)
    shutil.copy(ads / "ad_0.bmp", ads / "ad_9.bmp")
    draw_bmp(ads / "ad_0.bmp", 99)
    ictc.succeed(ads, tmp_path / "out", *flags)
    ictc.succeed(ads, tmp_path / "fresh", *flags)
    for track in ("full_run", "track2_identity", "track3_cultural"):
        assert exported_bytes(tmp_path / "out" / track) == exported_bytes(tmp_path / "fresh" / track)


@pytest.mark.parametrize("in_place", [True, False])
def test_an_image_of_the_same_name_size_and_time_is_another(
    ictc: Ictc, ads: Path, tmp_path: Path, asked: Counter[Task], in_place: bool
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    path, status = ads / "ad_3.bmp", (ads / "ad_3.bmp").stat()
    draw_bmp(path if in_place else tmp_path / "new.bmp", 77)
    if not in_place:
        (tmp_path / "new.bmp").replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    asked.clear()
    ictc.succeed(ads, tmp_path / "out")
    assert asked[Task.CAPTION] == 1
    assert_as_fresh(ictc, ads, tmp_path / "out")


def test_another_folder_with_the_same_names_and_sizes_is_another_collection(
    ictc: Ictc, ads: Path, tmp_path: Path, asked: Counter[Task]
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    for number in range(8):
        draw_bmp(tmp_path / "april" / f"ad_{number}.bmp", number + 4)
    asked.clear()
    ictc.succeed(tmp_path / "april", tmp_path / "out")
    assert asked[Task.CAPTION] == 4  # the other four were in the first folder, under other names
    assert_as_fresh(ictc, tmp_path / "april", tmp_path / "out")


@pytest.mark.parametrize("way", ["rename", "copy", "touch", "link"])
def test_what_has_the_same_content_costs_no_call_and_no_record(
    ictc: Ictc, ads: Path, tmp_path: Path, asked: Counter[Task], way: str
) -> None:
    ictc.succeed(ads, tmp_path / "out")
    exports, num_bytes = exported_bytes(tmp_path / "out"), journal_bytes(tmp_path / "out")
    now = ads
    match way:
        case "rename":
            now = ads.rename(tmp_path / "moved")
        case "copy":
            now = Path(shutil.copytree(ads, tmp_path / "copy", copy_function=shutil.copy))
            for path in now.iterdir():
                os.utime(path, (0, 1))  # what was written just now is read again, whatever it is
        case "touch":
            os.utime(ads / "ad_2.bmp", (0, 1))
        case "link":
            os.link(ads / "ad_2.bmp", tmp_path / "another name")
    asked.clear()
    ictc.succeed(now, tmp_path / "out")
    assert not asked
    assert (exported_bytes(tmp_path / "out"), journal_bytes(tmp_path / "out")) == (exports, num_bytes)
    assert "read again" not in ictc.succeed(now, tmp_path / "out").stderr


def test_images_that_nothing_happened_to_are_not_read_again(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    for path in ads.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000.5))
    ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3")  # each of which links to them
    assert "read again" not in ictc.succeed(ads, tmp_path / "out", "--track", "1,2,3").stderr


def test_names_that_are_exchanged_cost_no_call(ictc: Ictc, ads: Path, tmp_path: Path, asked: Counter[Task]) -> None:
    ictc.succeed(ads, tmp_path / "out")
    (ads / "ad_1.bmp").rename(tmp_path / "aside")
    (ads / "ad_2.bmp").rename(ads / "ad_1.bmp")
    (tmp_path / "aside").rename(ads / "ad_2.bmp")
    asked.clear()
    ictc.succeed(ads, tmp_path / "out")
    assert asked[Task.CAPTION] == asked[Task.LABEL] == 0
    assert_as_fresh(ictc, ads, tmp_path / "out")


def test_whether_copies_are_asked_about_changes_nothing_that_is_there(
    ictc: Ictc, ads: Path, tmp_path: Path, asked: Counter[Task]
) -> None:
    shutil.copy(ads / "ad_0.bmp", ads / "copy.bmp")
    ictc.succeed(ads, tmp_path / "out", "--dedupe", "off")
    asked.clear()
    ictc.succeed(ads, tmp_path / "out")
    assert not asked
    assert_as_fresh(ictc, ads, tmp_path / "out")


def test_an_edited_metadata_file_is_read_anew(ictc: Ictc, tmp_path: Path, asked: Counter[Task]) -> None:
    for number in range(6):
        draw_observation(tmp_path / "ads", f"ad_{number}", number, observation={"platform": "Facebook"})
    ictc.succeed(tmp_path / "ads", tmp_path / "out")
    path = tmp_path / "ads" / "ad_1" / "full_data.json"
    path.write_text(path.read_text().replace("Facebook", "Telegram"))
    asked.clear()
    ictc.succeed(tmp_path / "ads", tmp_path / "out")
    assert not asked
    assert load(tmp_path / "out", "image_mapping.json")["ad_1"]["platform"] == "Telegram"
    assert_as_fresh(ictc, tmp_path / "ads", tmp_path / "out")


def test_a_frame_that_comes_before_the_first_is_the_first(ictc: Ictc, tmp_path: Path) -> None:
    for number in range(6):
        draw_observation(tmp_path / "ads", f"ad_{number}", number)
    ictc.succeed(tmp_path / "ads", tmp_path / "out")
    draw_image(tmp_path / "ads" / "ad_1" / "a.jpg", 50)
    ictc.succeed(tmp_path / "ads", tmp_path / "out")
    assert load(tmp_path / "out", "image_mapping.json")["ad_1"]["path"] == "ad_1/a.jpg"
    assert_as_fresh(ictc, tmp_path / "ads", tmp_path / "out")


def pack_tar(path: Path, first: int) -> None:
    """Pack six images, each as large as any, whose number begins with `first`."""
    with tarfile.open(path, "w") as shard:
        for number in range(6):
            file = BytesIO()
            Image.new("RGB", (64, 64), ((first + number) * 30 % 256, 80, 40)).save(file, "BMP")
            member = tarfile.TarInfo(f"{number:06d}.bmp")
            member.size = file.tell()
            file.seek(0)
            shard.addfile(member, file)


def test_a_shard_that_is_replaced_by_an_equally_large_one_holds_other_images(
    ictc: Ictc, tmp_path: Path, asked: Counter[Task]
) -> None:
    (tmp_path / "ads").mkdir()
    cache = ("--cache_dir", tmp_path / "cache")
    pack_tar(tmp_path / "ads" / "shard-000.tar", 0)
    ictc.succeed(tmp_path / "ads", tmp_path / "out", *cache)
    pack_tar(tmp_path / "ads" / "shard-000.tar", 2)
    asked.clear()
    ictc.succeed(tmp_path / "ads", tmp_path / "out", *cache)
    assert asked[Task.CAPTION] == 2
    assert_as_fresh(ictc, tmp_path / "ads", tmp_path / "out", *cache)


def test_rows_that_are_numbered_anew_keep_the_captions_of_their_images(
    ictc: Ictc, ads: Path, tmp_path: Path, asked: Counter[Task]
) -> None:
    table = tmp_path / "list.csv"
    paths = [f"ad_{number}.bmp" for number in range(8)]
    command = ("run", "--images", table, "--ads_dir", ads, "--engine", "scripted", "--num_clusters", 3, "--output_dir")

    def write(order: list[str]) -> None:
        table.write_text("id,path\n" + "".join(f"row {number},{path}\n" for number, path in enumerate(order)))

    write(paths)
    assert ictc(*command, tmp_path / "out").exit_code == 0
    write(paths[3:] + paths[:3])
    asked.clear()
    assert ictc(*command, tmp_path / "out").exit_code == 0
    assert asked[Task.CAPTION] == 0
    assert ictc(*command, tmp_path / "fresh").exit_code == 0
    assert exported_bytes(tmp_path / "out") == exported_bytes(tmp_path / "fresh")


def test_no_image_is_linked_that_a_table_names_and_that_is_no_file_any_more(
    ictc: Ictc, ads: Path, tmp_path: Path
) -> None:
    (ads / "bad.jpg").write_bytes(b"no image")
    (ads / "folder.jpg").mkdir()
    (tmp_path / "list.csv").write_text(
        "path\n" + "".join(f"ad_{number}.bmp\n" for number in range(8)) + f"bad.jpg\nfolder.jpg\n{'d/' * 2500}x.jpg\n"
    )

    def linked() -> set[str]:
        ictc.succeed(ads, tmp_path / "out", "--images", tmp_path / "list.csv")
        assert ictc("verify", tmp_path / "out").exit_code == 0
        return {path.name for path in (tmp_path / "out" / "categorized_images").glob("*/*")}

    good = {f"ad_{number}.bmp" for number in range(8)}
    assert linked() == {*good, "bad.jpg"}
    (ads / "bad.jpg").unlink()
    (ads / "ad_3.bmp").unlink()
    assert linked() == good - {"ad_3.bmp"}


class TestOptions:
    """`--engine_options` that change answers, and those that don't."""

    def test_those_that_change_answers_make_results_out_of_date(
        self, ictc: Ictc, ads: Path, tmp_path: Path, asked: Counter[Task]
    ) -> None:
        ictc.succeed(ads, tmp_path / "out")
        asked.clear()
        ictc.succeed(ads, tmp_path / "out", "--engine_options", '{"window": 2, "latency_s": 0.001}')
        assert not asked
        salted = ("--engine_options", '{"salt": "sk-secret"}')
        assert "options changed" in ictc.succeed(ads, tmp_path / "out", *salted).stderr
        assert asked[Task.CAPTION] == 8
        assert_as_fresh(ictc, ads, tmp_path / "out", *salted)

    def test_keys_hold_no_value_of_them(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "out", "--engine_options", '{"salt": "sk-secret"}')
        assert not [path for path in tmp_path.glob("out/state/**/*.json") if "sk-secret" in path.read_text()]

    @pytest.mark.parametrize("name", ["hf_overrides", "mm_processor_kwargs", "limit_mm_per_prompt", "revision"])
    def test_what_vllm_is_told_of_the_model_counts(self, name: str) -> None:
        options: dict[str, Any] = {name: {"some": "value"}, "max_num_seqs": 64, "tensor_parallel_size": 2}
        assert answer_options("vllm", options) == {name: {"some": "value"}}

    def test_of_a_servers_options_the_fields_of_requests_count(self) -> None:
        assert answer_options("openai", {"window": 8, "extra_body": {"top_p": 0.5}}) == {"extra_body": {"top_p": 0.5}}
        assert answer_options("openai", {"window": 8, "extra_body": {}}) == {}


class TestModels:
    """A model that is another under the same name."""

    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "config.json").write_text('{"hidden_size": 64}')
        (folder / "model.safetensors").write_bytes(bytes(2**16))
        return folder

    @pytest.mark.parametrize(("name", "content"), [("config.json", b"{}"), ("model.safetensors", bytes(2**15) + b"1")])
    def test_a_checkpoint_that_was_trained_on_is_another(self, checkpoint: Path, name: str, content: bytes) -> None:
        before = digest_checkpoint(checkpoint)
        shutil.copytree(checkpoint, checkpoint.with_name("copy"))
        assert digest_checkpoint(checkpoint.with_name("copy")) == before
        (checkpoint / name).write_bytes(content.ljust((checkpoint / name).stat().st_size))
        assert digest_checkpoint(checkpoint) != before

    def test_what_a_model_was_at_first_is_noted_once(self, checkpoint: Path, tmp_path: Path) -> None:
        directory, spec = RunDirectory(tmp_path / "out"), ModelSpec(engine="vllm", model=str(checkpoint))
        first = find_models([spec, spec])
        note_models(directory, first)
        (checkpoint / "config.json").write_text("{}")
        note_models(directory, find_models([spec]))
        assert load_models(directory) == first != find_models([spec])

    def test_a_newer_revision_of_the_hub_is_another(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        reference = tmp_path / "models--team--model" / "refs" / "main"
        reference.parent.mkdir(parents=True)
        reference.write_text("abc")
        assert find_models([ModelSpec(engine="vllm", model="team/model")]) == {"team/model": "abc"}
        assert find_models([ModelSpec(engine="vllm", model="team/other")]) == {}
