"""Runs launchers as a user does, with the real `ictc` or one that writes down how it was called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ictc.cli.main import app

LAUNCHERS = Path(__file__).parents[2] / "launchers"
RECORDER = """#!/usr/bin/env bash
printf '%s\\0' "$#" "$@" >>"$0.calls"
env -0 >"$0.environment"
exit "${RECORDED_STATUS:-0}"
"""


@dataclass
class Workplace:
    """Folders of one test, and the environment that its launchers start with: nothing of the user's settings."""

    folder: Path
    environment: dict[str, str]

    @property
    def ads(self) -> Path:
        return self.folder / "ads"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def command(self, launcher: str, *arguments: object) -> list[str]:
        return [str(LAUNCHERS / launcher), *map(str, arguments)]

    def launch(
        self, launcher: str, *arguments: object, unset: tuple[str, ...] = (), **environment: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a launcher without a terminal, with changes to the environment, and return what it did."""
        changed = self.environment | {name: str(value) for name, value in environment.items()}
        return subprocess.run(
            self.command(launcher, *arguments),
            env={name: value for name, value in changed.items() if name not in unset},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def keep_on_path(self, *names: str) -> Path:
        """Leave these programs on PATH and no others, and return their folder."""
        programs = self.folder / "programs"
        programs.mkdir(exist_ok=True)
        for name in names:
            (programs / name).symlink_to(str(shutil.which(name)))
        self.environment["PATH"] = str(programs)
        return programs

    def record_calls(self) -> Recorder:
        """Put a recorder in the place of `ictc`."""
        program = self.folder / "recording venv" / "bin" / "ictc"
        program.parent.mkdir(parents=True)
        write_program(program, RECORDER)
        self.environment["ICTC_VENV"] = str(program.parent.parent)
        return Recorder(program)


@dataclass
class Recorder:
    """An `ictc` that writes down how it was called."""

    program: Path

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call so far."""
        path = Path(f"{self.program}.calls")
        words = iter(path.read_text().split("\0")[:-1] if path.exists() else [])
        return [[next(words) for _ in range(int(count))] for count in words]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the last call."""
        rows = Path(f"{self.program}.environment").read_text().split("\0")
        return dict(row.split("=", 1) for row in rows if row)


def make_workplace(folder: Path) -> Workplace:
    """Make the folders, and an environment that finds the `ictc` of the tests."""
    settings = folder / "settings"
    settings.touch()
    (folder / "ads").mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    own = {"ICTC_SETTINGS": settings, "ICTC_VENV": sys.prefix, "TMPDIR": folder}
    folders = {"ADS_DIR": folder / "ads", "OUTPUT_DIR": folder / "out"}
    return Workplace(folder, kept | {name: str(value) for name, value in (own | folders).items()})


def write_program(path: Path, text: str) -> Path:
    """Write an executable script."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def check_flags(call: list[str]) -> None:
    """Check that `ictc` has the command and its flags; anything else raises."""
    app.parse_args(call, exit_on_error=False, print_error=False)
