"""What `ictc run` tells before it begins, and what it asks."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat, draw_image


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    return draw_flat(tmp_path / "ads", 20)


def planned(stderr: str) -> dict[str, tuple[str, str, str]]:
    """Return done, to do and the reason of each step, as the table tells them."""
    rows = re.findall(r"^(Step \S+) \w+ {2,}([\d,]+) {2,}([\d,]+|later)(?: {2}(.*))?$", stderr, re.MULTILINE)
    return {step: (done, todo, reason) for step, done, todo, reason in rows}


def pretend_hours(out: Path, hours: float) -> None:
    """Make the run look as if every step had taken so long."""
    path = out / "state" / "progress.json"
    progress = orjson.loads(path.read_bytes())
    progress["work_s"] = dict.fromkeys(progress["work_s"], hours * 3600)
    path.write_bytes(orjson.dumps(progress))


class TestTable:
    def test_a_new_run_has_all_to_do(self, ictc: Ictc, ads: Path, out: Path) -> None:
        steps = planned(ictc.succeed(ads, out).stderr)
        assert steps["Step 1"] == ("0", "20", "")
        assert [steps[f"Step {step}"] for step in ("2a", "2b", "3")] == [("0", "later", "")] * 3

    def test_a_finished_run_has_nothing_to_do(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        num_ads = str(len(load(out, "step1_captions.json")))
        assert planned(ictc.succeed(ads, out).stderr) == {
            "Step 1": ("20", "0", ""),
            "Step 2a": (num_ads, "0", ""),
            "Step 2b": ("3", "0", ""),
            "Step 3": (num_ads, "0", ""),
        }

    def test_it_says_what_is_stale_and_why(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        num_ads = str(len(load(out, "step1_captions.json")))
        steps = planned(ictc.succeed(ads, out, "--num_clusters", 4).stderr)
        assert steps["Step 2a"] == (num_ads, "0", "")
        assert steps["Step 2b"] == ("0", "4", "num_clusters 3 → 4")
        assert steps["Step 3"] == ("0", "later", "follows the step before")

    def test_it_counts_images_that_changed(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        draw_image(ads / "ad_004.png", 99, size=(300, 300))
        (out / "state" / "manifest.jsonl").unlink()
        assert planned(ictc.succeed(ads, out).stderr)["Step 1"] == ("19", "1", "1 of other input")

    def test_it_is_there_before_the_first_request(self, ictc: Ictc, ads: Path, out: Path) -> None:
        stderr = ictc.run(ads, out, "--engine_options", '{"unknown": 1}').stderr
        assert planned(stderr)["Step 1"] == ("0", "20", "")
        assert "ictc: error: --engine_options" in stderr


class TestConsent:
    @pytest.mark.parametrize(
        "change",
        [("--seed", 7), ("--num_clusters", 4), ("--force_steps", "1"), ("--criterion", "Emotional Tone")],
    )
    def test_hours_of_work_are_not_done_again_unasked(
        self, ictc: Ictc, ads: Path, out: Path, change: tuple[object, ...]
    ) -> None:
        ictc.succeed(ads, out)
        pretend_hours(out, 2)
        before = exported_bytes(out)
        refused = ictc.run(ads, out, *change)
        assert refused.exit_code == 2
        assert "hours of work would be done again; add --yes" in refused.stderr
        assert exported_bytes(out) == before
        ictc.succeed(ads, out)
        ictc.succeed(ads, out, *change, "--yes")

    def test_less_than_an_hour_and_work_that_is_kept_need_no_consent(self, ictc: Ictc, ads: Path, out: Path) -> None:
        ictc.succeed(ads, out)
        pretend_hours(out, 0.2)
        ictc.succeed(ads, out, "--seed", 7)
        pretend_hours(out, 2)
        ictc.succeed(ads, out)  # going back: those results are still there

    @pytest.mark.parametrize(("answer", "exit_code"), [("y", 0), ("n", 2), ("", 2), (signal.SIGTERM, 143)])
    def test_on_a_terminal_it_asks(
        self, ictc: Ictc, ads: Path, out: Path, answer: str | signal.Signals, exit_code: int
    ) -> None:
        ictc.succeed(ads, out)
        pretend_hours(out, 2)
        arguments = ("run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--num_clusters", 4)
        with OnTerminal(*arguments) as terminal:
            terminal.read_until("Go on? [y/N]")
            if isinstance(answer, signal.Signals):
                terminal.process.send_signal(answer)
            else:
                terminal.type(answer + "\n")
            assert terminal.wait() == exit_code
        made = len(load(out, "step2b_dynamic_clusters.json"))
        assert made == (4 if exit_code == 0 else 3)


class OnTerminal:
    """A command with a terminal of its own."""

    def __init__(self, *arguments: object) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-c", "from ictc.cli import main; main()", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
        os.close(slave)
        self._seen = ""

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self._seen:
            assert time.monotonic() < deadline, self._seen
            self._read()

    def wait(self, timeout_s: float = 30) -> int:
        """Return the exit code, reading on so that the command never waits for its terminal."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self._seen
            self._read()
        return self.process.returncode

    def _read(self) -> None:
        if select.select([self._master], [], [], 0.1)[0]:
            try:
                self._seen += os.read(self._master, 4096).decode(errors="replace")
            except OSError:  # the other end has closed
                time.sleep(0.05)
