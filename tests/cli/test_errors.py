"""Whatever is wrong with a command, the user gets one line that says what to do, and a non-zero exit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import Ictc
from support.collections import draw_flat, draw_observation


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 4)


def error_line(stderr: str) -> str:
    """Return the one error line; more than one, or a traceback, is a failure."""
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("ictc: error: ")]
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num_cluster", "3"], "Did you mean --num_clusters?"),
        (["--num_clusters", "1"], "--num_clusters 1: input should be greater than or equal to 2"),
        (["--num_clusters", "many"], "--num_clusters many: input should be a valid integer"),
        (["--num_clusters", "8", "--top_hooks", "7"], "can't be made from the 7 labels of --top_hooks"),
        (["--dtype", "int3"], "--dtype int3"),
        (["--steps", "4"], "--steps 4: no step '4'; the steps are 1,2a,2b,3"),
        (["--force_steps", "2"], "--force_steps 2: no step '2'"),
        (["--steps", "1,3"], "--steps 1,3 leaves out 2a"),
        (["--steps", ""], "names no step"),
        (["--steps", "1", "--force_steps", "3"], "--force_steps 3 is not among the steps to run"),
        (["--start_index", "9", "--end_index", "3"], "--end_index 3 lies before --start_index 9"),
        (["--end_index", "3", "--steps", "1,2a,2b"], "clusters made from a part"),
        (["--engine", "openai"], "needs --base_url"),
        (["--base_url", "http://localhost:1/v1"], "--base_url belongs to --engine openai"),
        (["--vlm_model", "some/model"], "--engine scripted brings its own models"),
        (["--gpu_id", "0", "--gpu_ids", "0,1"], "name the GPUs twice"),
        (["--gpu_ids", "2,3", "--vlm_tp", "4"], "--vlm_tp 4 is more than the 2 GPUs"),
        (["--shard_id", "../elsewhere"], "--shard_id ../elsewhere"),
        (["--track", "psychology"], "no such track; choose marketing (1)"),
        (["--track", "1,1"], "two tracks write to full_run/"),
        (["--track", "general"], "--track general needs --criterion"),
        (["--track", "nowhere.py"], "nowhere.py: no such file"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: No such file"),
    ],
)
def test_a_wrong_command_is_refused_with_the_reason(
    ictc: Ictc, ads: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    engine = () if "--engine" in arguments else ("--engine", "scripted")
    refused = ictc("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", *engine, *arguments)
    assert refused.exit_code == 2
    assert words in error_line(refused.stderr)
    assert not (tmp_path / "out" / "state" / "caption").exists()


def test_required_flags_are_named(ictc: Ictc, ads: Path) -> None:
    assert "--output_dir must be given" in error_line(ictc("run", "--ads_dir", ads).stderr)
    assert "--ads_dir" in error_line(ictc("run").stderr)


def test_both_spellings_of_a_flag_work(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    arguments = ("--ads-dir", ads, "--output-dir", tmp_path / "out", "--engine", "scripted", "--num-clusters", 2)
    assert ictc("run", *arguments).exit_code == 0


def test_an_unknown_command_names_the_nearest(ictc: Ictc) -> None:
    assert 'Did you mean "run"?' in error_line(ictc("rnu").stderr)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("num_cluster: 3", "num_cluster"),
        ("[1, 2", "not YAML"),
        ("just words", "must map flags to values"),
        ("num_clusters: none", "--num_clusters none"),
    ],
)
def test_a_wrong_config_file_is_refused(ictc: Ictc, ads: Path, tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "run.yaml").write_text(content)
    refused = ictc.run(ads, tmp_path / "out", "--num_clusters", 2, "--config", tmp_path / "run.yaml")
    if "none" in content:
        refused = ictc("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", "--config", tmp_path / "run.yaml")
    assert refused.exit_code == 2
    assert words in error_line(refused.stderr)


def test_the_command_line_wins_over_the_config_file(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"ads_dir: {ads}\noutput_dir: {tmp_path / 'out'}\nengine: scripted\nseed: 1\n")
    assert ictc("run", "--config", tmp_path / "run.yaml", "--num_clusters", 2, "--seed", 5).exit_code == 0
    assert "seed: 5\nverbose" in (tmp_path / "out" / "config.yaml").read_text()


def test_the_saved_configuration_repeats_the_run(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", "--num_clusters", 2)
    again = ictc("run", "--config", tmp_path / "out" / "config.yaml")
    assert again.exit_code == 0
    assert "Step 1 captions: all 4 are up to date" in again.stderr


class TestInput:
    def test_a_missing_folder(self, ictc: Ictc, tmp_path: Path) -> None:
        refused = ictc.run(tmp_path / "nowhere", tmp_path / "out")
        assert refused.exit_code == 1
        assert "does not exist" in error_line(refused.stderr)

    def test_an_empty_folder(self, ictc: Ictc, tmp_path: Path) -> None:
        (tmp_path / "ads").mkdir()
        refused = ictc.run(tmp_path / "ads", tmp_path / "out")
        assert refused.exit_code == 1
        assert "is empty" in error_line(refused.stderr)

    def test_a_folder_without_images(self, ictc: Ictc, tmp_path: Path) -> None:
        (tmp_path / "ads").mkdir()
        (tmp_path / "ads" / "notes.txt").write_text("notes")
        refused = ictc.run(tmp_path / "ads", tmp_path / "out")
        assert refused.exit_code == 1
        assert "holds no image" in error_line(refused.stderr)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as somebody else")
    def test_an_unreadable_folder(self, tmp_path: Path) -> None:
        ads = draw_flat(tmp_path / "ads", 2)
        (tmp_path / "out").mkdir()
        for folder in (tmp_path, *tmp_path.parents):
            if folder.name.startswith("pytest"):
                folder.chmod(0o755)
        (tmp_path / "out").chmod(0o777)
        ads.chmod(0o700)
        script = "import sys, os, ictc.cli.run; from ictc.cli import main; os.setuid(65534); main(sys.argv[1:])"
        command = [sys.executable, "-c", script, "run", "--ads_dir", str(ads), "--output_dir", str(tmp_path / "out")]
        refused = subprocess.run([*command, "--engine", "scripted"], capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "ermission" in error_line(refused.stderr)

    def test_results_among_the_images(self, ictc: Ictc, ads: Path) -> None:
        refused = ictc.run(ads, ads / "out")
        assert refused.exit_code == 2
        assert "lies inside --ads_dir" in error_line(refused.stderr)

    @pytest.mark.vllm
    def test_a_model_that_does_not_exist(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        pytest.importorskip("vllm")
        model = ("--vlm_model", tmp_path / "nowhere", "--num_clusters", 2)
        refused = ictc("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", *model)
        assert refused.exit_code == 1
        assert "no such model folder" in error_line(refused.stderr)

    def test_a_collection_of_folders_without_any_image(self, ictc: Ictc, tmp_path: Path) -> None:
        folder = draw_observation(tmp_path / "ads", "observation")
        (folder / "image.jpg").unlink()
        refused = ictc.run(tmp_path / "ads", tmp_path / "out")
        assert refused.exit_code == 1
        assert "holds no image" in error_line(refused.stderr)

    def test_two_images_of_the_same_id(self, ictc: Ictc, tmp_path: Path) -> None:
        for number, name in enumerate(("first", "second")):
            draw_observation(tmp_path / "ads", name, number, observation_id="the same")
        refused = ictc.run(tmp_path / "ads", tmp_path / "out")
        assert refused.exit_code == 1
        for told in ("the same", "first/image.jpg", "second/image.jpg"):
            assert told in error_line(refused.stderr)


class TestSteps:
    def test_step_3_alone_can_not_make_more_clusters(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "out", "--num_clusters", 2)
        refused = ictc.run(ads, tmp_path / "out", "--num_clusters", 3, "--steps", "3")
        assert refused.exit_code == 2
        assert "num_clusters 2 → 3" in error_line(refused.stderr)

    def test_step_3_alone_works_on_the_clusters_that_are_there(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        ictc.succeed(ads, tmp_path / "out", "--num_clusters", 2)
        ictc.succeed(ads, tmp_path / "out", "--num_clusters", 2, "--steps", "3", "--force_steps", "3")

    def test_a_later_step_needs_the_earlier_ones(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        refused = ictc.run(ads, tmp_path / "out", "--steps", "2a,2b,3")
        assert refused.exit_code == 2
        assert "add 1 to --steps" in error_line(refused.stderr)

    def test_more_clusters_than_images(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        refused = ictc.run(ads, tmp_path / "out", "--num_clusters", 50)
        assert refused.exit_code == 2
        assert "lower --num_clusters" in error_line(refused.stderr)

    def test_more_clusters_than_labels(self, ictc: Ictc, tmp_path: Path) -> None:
        copies = draw_flat(tmp_path / "copies", 1)
        (first,) = copies.iterdir()
        for number in range(3):
            (copies / f"copy_{number}.png").write_bytes(first.read_bytes())
        refused = ictc.run(copies, tmp_path / "out", "--num_clusters", 4)
        assert refused.exit_code == 1
        assert "1 distinct labels can't make 4 clusters; lower --num_clusters" in error_line(refused.stderr)

    def test_an_invalid_answer_in_step_2b_is_a_failure_not_a_guess(self, ictc: Ictc, ads: Path, tmp_path: Path) -> None:
        refused = ictc.run(
            ads, tmp_path / "out", "--num_clusters", 2, "--engine_options", '{"invalid": ["synthesize"]}'
        )
        assert refused.exit_code == 1
        assert "no 2 distinct clusters in 3 attempts" in error_line(refused.stderr)
        assert not (tmp_path / "out" / "step2b_dynamic_clusters.json").exists()


class TestDisk:
    def test_a_disk_without_space(self, ads: Path, tmp_path: Path) -> None:
        """The kernel refuses bytes beyond the limit of a process, in every file, as a full disk would."""
        limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        script = limit + "import sys; from ictc.cli import main; main(sys.argv[1:])"
        arguments = ["run", "--ads_dir", str(ads), "--output_dir", str(tmp_path / "out"), "--engine", "scripted"]
        command = [sys.executable, "-c", script, *arguments, "--num_clusters", "2"]
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "cannot write" in refused.stderr
        assert "Traceback" not in refused.stderr

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
    def test_an_output_folder_that_can_not_be_made(self, ictc: Ictc, ads: Path) -> None:
        refused = ictc.run(ads, Path("/proc/self/out"))
        assert refused.exit_code == 1
        assert "cannot write" in error_line(refused.stderr)


class TestTrackModules:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("import nowhere\n", ":1: ModuleNotFoundError"),
            ("x = (\n", ":1: SyntaxError"),
            ("\n\nraise ValueError('no')\n", ":3: ValueError: no"),
            ("TRACK = 1\n", "must define TRACK = Track(...)"),
            (
                "from ictc.tracks import LabelPrompt\n\nLabelPrompt(system='s', user='label it')\n",
                ":3: LabelPrompt never uses $image",
            ),
            (
                "from ictc.tracks import CaptionPrompt\nCaptionPrompt(system='s', user='$criterion $brand')\n",
                ":2: CaptionPrompt uses $brand",
            ),
            ("from ictc.tracks import CaptionPrompt\nCaptionPrompt(system='s', user='costs $5')\n", "write '$$'"),
        ],
    )
    def test_a_faulty_module_is_refused_with_the_line(
        self, ictc: Ictc, ads: Path, tmp_path: Path, content: str, words: str
    ) -> None:
        (tmp_path / "my_track.py").write_text(content)
        refused = ictc.run(ads, tmp_path / "out", "--track", tmp_path / "my_track.py")
        assert refused.exit_code == 1
        assert words in error_line(refused.stderr)


@pytest.mark.parametrize(
    ("options", "words"), [('{"latency": 1}', "latency_s"), ('{"window": 0}', "window: "), ('{"salt": 1}', "salt: ")]
)
def test_an_engine_option_that_is_wrong(ictc: Ictc, ads: Path, tmp_path: Path, options: str, words: str) -> None:
    refused = ictc.run(ads, tmp_path / "out", "--engine_options", options)
    assert refused.exit_code == 2
    assert words in error_line(refused.stderr)


def test_a_reader_that_has_read_enough_is_no_error(ictc: Ictc, ads: Path, tmp_path: Path) -> None:
    ictc.succeed(ads, tmp_path / "out", "--steps", "1")
    command = [sys.executable, "-c", "from ictc.cli import main; main()", "status", str(tmp_path / "out")]
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (141, "")
