"""Runs the command line, in this process where that is enough, and compares what runs leave behind."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from ictc.cli.main import run_command

NOT_COMPARED = {"run.json", "config.yaml"}
"""The files of a run directory that may differ between equal runs: they hold times and paths."""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass
class Ictc:
    """The command line in this process."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> Outcome:
        self.capsys.readouterr()
        exit_code = run_command([str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        return Outcome(exit_code, captured.out, captured.err)

    def run(self, ads_dir: Path, output_dir: Path, *arguments: object, engine: str = "scripted") -> Outcome:
        """Run `ictc run` with few clusters, which small collections can fill."""
        common = ("--ads_dir", ads_dir, "--output_dir", output_dir, "--engine", engine)
        clusters = () if "--num_clusters" in arguments else ("--num_clusters", 3)
        return self("run", *common, *clusters, *arguments)

    def succeed(self, ads_dir: Path, output_dir: Path, *arguments: object) -> Outcome:
        """Run and check that it went well."""
        outcome = self.run(ads_dir, output_dir, *arguments)
        assert outcome.exit_code == 0, outcome.stderr
        return outcome


def start_ictc(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    command = [sys.executable, "-c", "from ictc.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def load(output_dir: Path, name: str) -> Any:
    """Return the content of one exported JSON file."""
    return orjson.loads((output_dir / name).read_bytes())


def exported_bytes(output_dir: Path) -> dict[str, bytes]:
    """Return every exported file that must be equal for equal runs, by name."""
    return {
        path.name: path.read_bytes()
        for path in sorted(output_dir.iterdir())
        if path.is_file() and path.name not in NOT_COMPARED
    }
