"""A run directory that an earlier ictc made: the same command goes on with it, and nothing is asked again.

The archives in data/old_runs/ are named after the commit that made them; make.py beside them tells how.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.cli import exported_bytes, load
from support.fork_server import Finished, ForkServer

ARCHIVES = sorted((Path(__file__).parent / "data" / "old_runs").glob("*.tar.xz"))
UNTOUCHED_SINCE = 1_700_000_000
"""A time of the images that no file of an archive has, in seconds."""


@cache
def read_list(archive: Path) -> dict[str, Any]:
    """Return what an archive holds: by name, the command of each run directory, and what it has been answered."""
    with tarfile.open(archive) as file:
        listing = file.extractfile("made.json")
        assert listing is not None
        made: dict[str, Any] = orjson.loads(listing.read())
    return made


CASES = [(archive, name) for archive in ARCHIVES for name in read_list(archive)]
FINISHED = [case for case in CASES if read_list(case[0])[case[1]]["is_finished"]]
INTERRUPTED = [case for case in CASES if case not in FINISHED]


@dataclass(frozen=True)
class OldRun:
    """A run directory of an archive, unpacked with its images and whatever else its command reads.

    Attributes:
        answered: what is recorded: step and id, as in "label ad_0", once for each track.
    """

    server: ForkServer
    folder: Path
    name: str
    command: tuple[str, ...]
    answered: Counter[str]

    @property
    def directories(self) -> list[Path]:
        """Where the results are, of each track."""
        return sorted(path.parent for path in (self.folder / self.name).glob("**/state"))

    def ictc(self, *arguments: object) -> Finished:
        return self.server.run(*arguments, root=self.folder, folder=self.folder, quickly=True)

    def succeed(self, *arguments: object) -> Finished:
        finished = self.ictc(*arguments)
        assert finished.exit_code == 0, finished.stderr + finished.stdout
        return finished

    def reopen(self) -> Counter[str]:
        """Give the same command again, and return what it asked the engine."""
        return count_asked(self.succeed(*self.command))

    def states(self) -> set[str]:
        """Return what `ictc status` says of each track."""
        told = [orjson.loads(line) for line in self.succeed("status", self.name, "--json").stdout.splitlines()]
        assert [self.folder / run["directory"] for run in told] == self.directories
        return {run["state"] for run in told}

    def exports(self) -> list[dict[str, bytes]]:
        return [exported_bytes(directory) for directory in self.directories]


def count_asked(finished: Finished) -> Counter[str]:
    """Return what the engine was asked, without the number that tells a track from others."""
    return Counter(re.sub(r" \d+:", " ", line) for line in finished.asked)


@pytest.fixture
def old(fork_server: ForkServer, request: pytest.FixtureRequest, tmp_path: Path) -> OldRun:
    """One of the run directories, beside images whose times are others than when it was made."""
    archive, name = request.param
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    for number, path in enumerate(sorted((tmp_path / "ads").iterdir())):
        os.utime(path, (0, UNTOUCHED_SINCE + number))
    made = read_list(archive)[name]
    return OldRun(fork_server, tmp_path, name, tuple(made["command"]), Counter(made["answered"]))


def each(cases: list[tuple[Path, str]]) -> pytest.MarkDecorator:
    """Let a test have each of these run directories."""
    names = [f"{archive.name.partition('.')[0]} {name}" for archive, name in cases]
    return pytest.mark.parametrize("old", cases, ids=names, indirect=True)


@each(FINISHED)
def test_a_finished_run_is_in_order_and_stays_as_it_is(old: OldRun) -> None:
    exports = old.exports()
    assert len(exports) in {1, 3}
    old.succeed("verify", old.name)
    assert old.states() == {"finished"}
    assert not old.reopen()
    assert old.exports() == exports
    old.succeed("verify", old.name)
    assert old.states() == {"finished"}


@each(INTERRUPTED)
def test_an_interrupted_run_ends_as_a_fresh_one_and_asks_for_the_rest(old: OldRun) -> None:
    fresh = old.folder / "fresh"
    all_asked = count_asked(old.succeed(*(fresh if argument == old.name else argument for argument in old.command)))
    assert old.states() == {"stale"}
    assert old.reopen() == all_asked - old.answered
    paths = [directory.relative_to(old.folder / old.name) for directory in old.directories]
    assert old.exports() == [exported_bytes(fresh / path) for path in paths]
    old.succeed("verify", old.name)
    assert old.states() == {"finished"}


@each([case for case in FINISHED if "shard" not in case[1]])
def test_other_clusters_can_be_made_of_it(old: OldRun) -> None:
    track = ("--track", 2) if len(old.directories) > 1 else ()
    made = old.succeed("recluster", "--source_dir", old.name, "--output_dir", "other", "--num_clusters", 4, *track)
    assert {asked.split()[0] for asked in made.asked} == {"synthesize", "assign"}
    assert len(load(old.folder / "other", "step2b_dynamic_clusters.json")) == 4
    old.succeed("verify", "other")
