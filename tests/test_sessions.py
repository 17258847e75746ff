"""The launchers of long runs: real tmux, on a server of its own for each test, and nohup where there is none."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cli import load
from support.collections import draw_flat
from support.launching import LAUNCHERS, Workplace, check_flags, make_workplace, write_program

TMUX = shutil.which("tmux")
SCRIPTED = ("--engine", "scripted", "--num_clusters", 3)
SLOW = ("--engine_options", '{"latency_s": 0.2, "window": 2}')
AWKWARD = (
    "a 'quoted' \"criterion\" with $HOME, `id`, $(id) and *",
    "ends with ;",
    ";",
    "",
    "two\nlines",
    " \\ \t",
    "-- {a,b} ~ # !! é",
)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_s} s in vain until {what}"
        time.sleep(0.05)


@dataclass
class Tmux:
    """The tmux server of one test."""

    environment: dict[str, str]

    def __call__(self, *arguments: str) -> str:
        """Return what a tmux command prints, "" if it fails."""
        assert TMUX is not None
        return subprocess.run(
            [TMUX, *arguments], env=self.environment, capture_output=True, text=True, check=False
        ).stdout.strip()

    def sessions(self) -> set[str]:
        return set(self("list-sessions", "-F", "#{session_name}").split())

    def wait_for_end(self, session: str) -> str:
        """Wait until a session's command has ended, and return what it printed and the exit status."""
        target = f"={session}:"
        wait_until(lambda: self("display-message", "-p", "-t", target, "#{pane_dead}") == "1", f"{session} has ended")
        return self("capture-pane", "-p", "-J", "-t", target, "-S", "-")


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("a b"))


@pytest.fixture
def tmux(place: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tmux]:
    """A server that is not the user's."""
    if TMUX is None:
        pytest.skip("tmux is not installed")
    place.environment["TMUX_TMPDIR"] = str(tmp_path_factory.mktemp("t"))  # short, as a socket's path must be
    server = Tmux({**place.environment, "PATH": os.defpath})
    yield server
    server("kill-server")


@pytest.fixture
def no_tmux(place: Workplace) -> None:
    """Leave on PATH what the launchers call, and no tmux."""
    place.keep_on_path("bash", "dirname", "env", "flock", "mkdir", "mktemp", "nohup", "rm")


def started(place: Workplace) -> bool:
    """Return whether a slow run has finished some captions."""
    return any(path.stat().st_size for path in place.out.glob("full_run/state/caption/*/*.jsonl"))


class TestTmux:
    def test_a_session_runs_and_stays_open_with_its_exit_status(self, place: Workplace, tmux: Tmux) -> None:
        draw_flat(place.ads, 8)
        launched = place.launch("run_ictc.sh", *SCRIPTED, "--criterion", AWKWARD[0])
        assert launched.returncode == 0
        assert launched.stderr == "Started in the tmux session ictc.\nTo watch: tmux attach -t ictc\n"
        screen = tmux.wait_for_end("ictc")
        assert "Ended with exit status 0." in screen
        assert "To resume" not in screen
        assert load(place.out / "full_run", "run.json")["criterion"] == AWKWARD[0]

    def test_a_failed_run_says_how_to_resume_and_starts_again_in_its_session(
        self, place: Workplace, tmux: Tmux
    ) -> None:
        place.record_calls()
        for beginning in ("Started in", "Started again in"):
            launched = place.launch("run_ictc.sh", "--criterion", "two words", RECORDED_STATUS=7)
            assert launched.stderr.startswith(f"{beginning} the tmux session ictc")
            screen = tmux.wait_for_end("ictc")
            assert "Ended with exit status 7." in screen
            assert "To resume, with the same settings: " in screen
            assert "run_ictc.sh --criterion two\\ words" in screen

    @pytest.mark.parametrize("kill", ["session", "process"])
    def test_a_killed_run_is_resumed_by_the_same_command(self, place: Workplace, tmux: Tmux, kill: str) -> None:
        draw_flat(place.ads, 12)
        place.launch("run_ictc.sh", *SCRIPTED, *SLOW)
        wait_until(lambda: started(place), "captions are there")
        (process,) = children(int(tmux("display-message", "-p", "-t", "=ictc:", "#{pane_pid}")))
        if kill == "session":
            tmux("kill-session", "-t", "=ictc")
            wait_until(lambda: not is_alive(process), "the run has ended with its session")
            assert tmux.sessions() == set()
        else:
            os.kill(process, signal.SIGKILL)
            assert "Ended with exit status 137." in tmux.wait_for_end("ictc")
        assert not (place.out / "full_run" / "ictc_final_results.json").exists()
        place.launch("run_ictc.sh", *SCRIPTED)
        screen = tmux.wait_for_end("ictc")
        assert "Ended with exit status 0." in screen
        assert re.search(r"Step 1 captions +[1-9]\d* ", screen), screen  # done before

    def test_a_second_start_starts_nothing(self, place: Workplace, tmux: Tmux) -> None:
        draw_flat(place.ads, 12)
        place.launch("run_ictc.sh", *SCRIPTED, *SLOW)
        pane = ("display-message", "-p", "-t", "=ictc:", "#{pane_pid}")
        before = tmux(*pane)
        again = place.launch("run_ictc.sh", *SCRIPTED)
        assert again.returncode == 0
        assert again.stderr.startswith("The tmux session ictc is running already; nothing was started.\n")
        assert (tmux(*pane), tmux.sessions()) == (before, {"ictc"})
        assert not list(place.folder.glob("ictc-start*"))

    def test_it_attaches_where_there_is_a_terminal(self, place: Workplace, tmux: Tmux) -> None:
        place.record_calls()
        with terminal(place, "run_ictc.sh"):
            wait_until(lambda: tmux("list-clients", "-F", "#{session_name}") == "ictc", "a client is attached")

    def test_one_session_is_not_taken_for_another(self, place: Workplace, tmux: Tmux) -> None:
        place.record_calls()
        for launcher in ("run_ictc_track2.sh", "run_ictc_track3.sh", "run_recluster_k10.sh", "run_ictc_single_gpu.sh"):
            assert place.launch(launcher).stderr.startswith("Started in the tmux session")
        assert tmux.sessions() == {"ictc_t2", "ictc_t3", "ictc_k10", "ictc"}

    def test_a_session_has_the_environment_of_its_start_and_no_other(self, place: Workplace, tmux: Tmux) -> None:
        recorder = place.record_calls()
        place.launch("run_ictc_track2.sh", CUDA_VISIBLE_DEVICES=3)  # starts the server
        tmux.wait_for_end("ictc_t2")
        assert recorder.environment["CUDA_VISIBLE_DEVICES"] == "3"
        place.launch("run_ictc.sh", HF_HOME="/data/hugging face\n'\"$x")
        tmux.wait_for_end("ictc")
        assert recorder.environment["HF_HOME"] == "/data/hugging face\n'\"$x"
        assert recorder.environment["TMUX_PANE"]
        assert "CUDA_VISIBLE_DEVICES" not in recorder.environment

    def test_awkward_arguments_arrive_intact(self, place: Workplace, tmux: Tmux) -> None:
        recorder = place.record_calls()
        place.launch("run_ictc.sh", *AWKWARD)
        tmux.wait_for_end("ictc")
        assert recorder.calls[0][-len(AWKWARD) :] == list(AWKWARD)


def children(pid: int) -> list[int]:
    """Return the children of a process of this machine."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def terminal(place: Workplace, launcher: str) -> Iterator[None]:
    """Run a launcher in a terminal of its own until the block ends."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        place.command(launcher),
        env={**place.environment, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
        os.close(slave)
        os.close(master)


@pytest.mark.usefixtures("no_tmux")
class TestWithoutTmux:
    def test_it_runs_in_the_background_and_says_where_the_log_is(self, place: Workplace) -> None:
        draw_flat(place.ads, 8)
        launched = place.launch("run_ictc.sh", *SCRIPTED)
        log = place.out / "ictc.log"
        assert re.fullmatch(
            rf"There is no tmux, so it runs in the background as process \d+\. Log: {re.escape(str(log))}\n",
            launched.stderr,
        )
        wait_until(lambda: "Ended with exit status 0." in log.read_text(), "the run has ended")
        assert (place.out / "full_run" / "ictc_final_results.json").is_file()

    def test_a_second_start_starts_nothing_until_the_first_has_ended(self, place: Workplace) -> None:
        draw_flat(place.ads, 12)
        log = place.out / "ictc.log"
        first = place.launch("run_ictc.sh", *SCRIPTED, *SLOW)
        again = place.launch("run_ictc.sh", *SCRIPTED)
        assert again.stderr == f"It is running already; nothing was started. Log: {log}\n"
        (shell,) = map(int, re.findall(r"process (\d+)", first.stderr))
        wait_until(lambda: bool(children(shell)), "the program runs")
        for process in [*children(shell), shell]:
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: place.launch("run_ictc.sh", *SCRIPTED).stderr.startswith("There is no tmux"), "it starts")
        wait_until(lambda: "Ended with exit status 0." in log.read_text(), "the run has ended")

    def test_awkward_arguments_arrive_intact(self, place: Workplace) -> None:
        recorder = place.record_calls()
        place.launch("run_ictc.sh", *AWKWARD)
        wait_until(lambda: bool(recorder.calls), "the program was called")
        assert recorder.calls[0][-len(AWKWARD) :] == list(AWKWARD)


@pytest.mark.usefixtures("no_tmux")
class TestCommands:
    """What each launcher calls `ictc` with."""

    def call(self, place: Workplace, launcher: str, *arguments: object, calls: int = 1, **environment: object) -> None:
        self.recorder = place.record_calls()
        launched = place.launch(launcher, *arguments, **environment)
        assert launched.returncode == 0, launched.stderr
        wait_until(lambda: len(self.recorder.calls) == calls, "all calls were made")
        for call in self.recorder.calls:
            check_flags(call)

    @property
    def words(self) -> str:
        """The first call, without the folders."""
        return " ".join(self.recorder.calls[0][5:])

    @pytest.mark.parametrize(
        ("launcher", "folder", "words"),
        [
            ("run_ictc.sh", "full_run", ""),
            ("run_ictc_single_gpu.sh", "full_run", "--num_gpus 1 --vlm_model Qwen/Qwen3.5-9B"),
            ("run_ictc_track2.sh", "track2_identity", "--track 2"),
            ("run_ictc_track3.sh", "track3_cultural", "--track 3"),
        ],
    )
    def test_each_run_has_its_folder_and_flags(self, place: Workplace, launcher: str, folder: str, words: str) -> None:
        self.call(place, launcher)
        folders = ["run", "--ads_dir", str(place.ads), "--output_dir", str(place.out / folder)]
        assert self.recorder.calls[0][:5] == folders
        assert self.words == words

    @pytest.mark.parametrize("flag", [("--vlm_model", "mine"), ("--vlm-model", "mine"), ("--vlm_model=mine",)])
    def test_the_command_line_wins_over_the_settings(self, place: Workplace, flag: tuple[str, ...]) -> None:
        self.call(place, "run_ictc_single_gpu.sh", *flag, VLM_MODEL="theirs")
        assert self.words == " ".join(["--num_gpus 1", *flag])

    def test_the_environment_wins_over_the_file_of_settings(self, place: Workplace) -> None:
        text = 'VLM_MODEL="of the file"\nOUTPUT_DIR=/nowhere\nHF_HOME=$ADS_DIR/models\n'
        (place.folder / "settings").write_text(text)
        self.call(place, "run_ictc.sh")
        assert self.words == "--vlm_model of the file"
        assert self.recorder.calls[0][4] == str(place.out / "full_run")
        assert self.recorder.environment["HF_HOME"] == f"{place.ads}/models"

    def test_the_three_tracks_are_clustered_again_in_sequence(self, place: Workplace) -> None:
        self.call(place, "run_recluster_k10.sh", "--seed", 1, calls=3)
        out = place.out
        sources = ("full_run", "track2_identity", "track3_cultural")
        for track, source, call in zip("123", sources, self.recorder.calls, strict=True):
            folders = ["--source_dir", f"{out}/{source}", "--output_dir", f"{out}/track{track}_k10"]
            assert call == ["recluster", *folders, "--track", track, "--num_clusters", "10", "--seed", "1"]

    def test_a_track_that_fails_ends_the_sequence(self, place: Workplace) -> None:
        self.call(place, "run_recluster_k10.sh", TRACKS="3 1", RECORDED_STATUS=1)
        log = place.out / "ictc_k10.log"
        wait_until(lambda: "Ended with exit status 1." in log.read_text(), "the sequence has ended")
        (call,) = self.recorder.calls
        assert call[call.index("--track") + 1] == "3"


SHARD = {"NUM_SHARDS": 4, "SHARD_INDEX": 2}


class TestVirtualMachine:
    def test_a_startup_script_may_run_it_at_every_start(self, place: Workplace, tmux: Tmux) -> None:
        recorder = place.record_calls()
        assert "HOME" not in place.environment
        for beginning in ("Started in", "Started again in"):
            launched = place.launch("start_vm.sh", "--max_images", 9, **SHARD)
            assert launched.stderr.startswith(f"{beginning} the tmux session ictc"), launched.stderr
            tmux.wait_for_end("ictc")
        first, again = recorder.calls
        assert first == again
        check_flags(first)
        assert " ".join(first[5:]) == (
            "--num_shards 4 --shard_index 2 --num_gpus 1 --vlm_model Qwen/Qwen3.5-9B --max_images 9"
        )

    @pytest.mark.usefixtures("no_tmux")
    def test_it_makes_the_environment_if_wanted(self, place: Workplace) -> None:
        place.keep_on_path("cat", "cksum")
        venv = place.record_calls().program.parent
        write_program(venv / "python", f"#!{sys.executable}\nimport os, sys\nprint(os.getcwd(), *sys.argv[1:])\n")
        launched = place.launch("start_vm.sh", MAKE_ENVIRONMENT="yes", **SHARD)
        assert launched.returncode == 0, launched.stderr
        assert re.search(
            rf"^{re.escape(str(LAUNCHERS.parent))} -m pip install .*-r requirements_cluster.txt$", launched.stdout, re.M
        )
        assert "pip" not in place.launch("start_vm.sh", MAKE_ENVIRONMENT="yes", **SHARD).stdout


REFUSALS = [
    ("run_ictc.sh", {"unset": ("ADS_DIR",)}, "ADS_DIR is not set, the folder of images; set it in the environment, or"),
    ("run_ictc_track2.sh", {"ADS_DIR": "no/where"}, "ADS_DIR=no/where is no folder; name the folder of images"),
    ("run_ictc_track3.sh", {"unset": ("OUTPUT_DIR",)}, "OUTPUT_DIR is not set, the folder for results; set it in"),
    ("run_ictc_single_gpu.sh", {"ICTC_VENV": "/nowhere"}, "found no ictc in /nowhere nor on PATH"),
    ("run_recluster_k10.sh", {"TRACKS": "4"}, "TRACKS=4 must be some of 1 2 3"),
    ("run_ictc.sh", {"ICTC_SETTINGS": "/no/file"}, "ICTC_SETTINGS=/no/file is no file"),
    ("start_vm.sh", {"NUM_SHARDS": "3"}, "SHARD_INDEX is not set, which shard is this machine's, from 0; set it in"),
]


@pytest.mark.usefixtures("no_tmux")  # nor an installed ictc
@pytest.mark.parametrize(("launcher", "changes", "message"), REFUSALS)
def test_a_refusal_is_one_line(place: Workplace, launcher: str, changes: dict[str, object], message: str) -> None:
    refused = place.launch(launcher, **changes)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"{launcher}: error: {message}")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["ADS_DIR='/unfinished\n", "no_such_program\n"])
def test_settings_that_bash_cannot_read_are_refused(place: Workplace, text: str) -> None:
    settings = place.folder / "settings"
    settings.write_text(text)
    refused = place.launch("run_ictc.sh")
    assert refused.returncode == 1
    assert f"error: {settings} can't be read as settings; the lines above say why" in refused.stderr


def test_the_example_documents_every_setting() -> None:
    example = (LAUNCHERS / "env.example").read_text()
    documented = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    scripts = [path for path in LAUNCHERS.glob("*.sh") if "session.sh" in path.read_text()]
    read = {
        name for path in scripts for name in re.findall(r"(?:\$\{|require )(?!SLURM_)([A-Z_]{3,})\b", path.read_text())
    }
    own = {"NAME", "BASH_SOURCE", "BASH_REMATCH", "REPOSITORY", "LAUNCHER", "TMPDIR", "TMUX", "PWD", "VENV"}
    assert len(scripts) == 10
    assert read - own - {"ICTC_SETTINGS"} == documented - {"HF_HOME", "PYTHON"}
