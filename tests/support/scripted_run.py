"""A run of the scripted engine that may be killed or refused, and is checked each time for what it asks the engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from support.cli import exported_bytes
from support.collections import draw_flat
from support.fork_server import Finished, ForkServer

from ictc.storage.journal import decode_line
from ictc.storage.keys import digest

WINDOW = 8
REJECTED = "ad_003"


@dataclass(frozen=True)
class Reference:
    """A run that nothing interrupted.

    Attributes:
        points: everything it passed on the disk, in order.
    """

    exports: Mapping[str, bytes]
    points: list[str]
    seconds: float


@dataclass(frozen=True)
class ScriptedRun:
    """A run directory, and the command that works in it.

    Attributes:
        quickly: without what takes long to start; see `ForkServer.run`.
        flags: what the command says besides, each time.
        asks_again: steps that may ask again of an image that is recorded, as its cluster is another than it was.
    """

    server: ForkServer
    ads: Path
    path: Path
    quickly: bool = True
    flags: tuple[object, ...] = ()
    asks_again: frozenset[str] = frozenset()

    def run(self, *arguments: object, **trouble: Any) -> Finished:
        """Run the command once, in trouble that `ForkServer.run` knows.

        It may ask for nothing that was recorded before, for nothing twice, and what it asks for in vain fits into the
        window.
        """
        options = orjson.dumps({"window": WINDOW, "fail": [REJECTED]}).decode()
        common = ("--ads_dir", self.ads, "--output_dir", self.path, "--engine", "scripted", "--engine_options", options)
        economy = ("--decode_workers", 1, "--ckpt_vlm", 5, "--ckpt_llm", 5)
        clusters = () if "--num_clusters" in arguments else ("--num_clusters", 3)
        before = self._results()
        command = ("run", *common, *economy, *clusters, *self.flags, *arguments)
        finished = self.server.run(*command, root=self.path, quickly=self.quickly, **trouble)
        stages = [(stage, self._result_in_use(stage), image_id) for stage, image_id in map(str.split, finished.asked)]
        asked = [(folder, image_id) for _, folder, image_id in stages]
        assert len(set(asked)) == len(asked), "asked twice"
        final = {(folder, image_id) for stage, folder, image_id in stages if stage not in self.asks_again}
        assert before.isdisjoint(final), "asked for what was recorded"
        assert len(set(asked) - self._results()) <= (WINDOW if finished.exit_code else 0), "lost"
        return finished

    def finish(self, *arguments: object, **trouble: Any) -> Finished:
        """Run the command once and check that it finishes."""
        finished = self.run(*arguments, **trouble)
        assert finished.exit_code == 0, finished.stderr
        return finished

    def interrupt(self, *arguments: object, **trouble: Any) -> bool:
        """Run the command once and return whether it was killed; else it has finished."""
        finished = self.run(*arguments, **trouble)
        assert finished.was_killed or finished.exit_code == 0, finished.stderr
        return finished.was_killed

    def check(self, reference: Reference) -> None:
        """Finish the run and check that nothing tells it from one that nothing interrupted."""
        self.finish()
        assert exported_bytes(self.path) == reference.exports
        verified = self.server.run("verify", self.path, root=self.path)
        assert (verified.exit_code, verified.stdout) == (0, f"{self.path}: in order\n")

    def _results(self) -> set[tuple[str, str]]:
        """Return the result folder and the id of each record that is there, and of each list of clusters."""
        return find_recorded(self.path)

    def _result_in_use(self, stage: str) -> str:
        """Return the name of the result folder of a stage."""
        return digest(orjson.loads((self.path / "state" / stage / "current.json").read_bytes()))


def find_recorded(path: Path) -> set[tuple[str, str]]:
    """Return the result folder and the id of each record in a run directory, and of each list of clusters."""
    found = {(file.parent.name, "synthesize") for file in path.glob("state/*/*/definitions.json")}
    for file in path.glob("state/*/*/*.jsonl"):
        records = map(decode_line, file.read_bytes().splitlines(keepends=True))
        found.update((file.parent.name, record["id"]) for record in records if record and "id" in record)
    return found


def draw_ads(folder: Path) -> Path:
    """Draw twenty-two images, three copies of them, one of which comes before its original, and two broken files."""
    draw_flat(folder, 22)
    for original, copy in (("ad_003", "ad_003_copy"), ("ad_010", "ad"), ("ad_020", "ad_020_copy")):
        (folder / f"{copy}.png").write_bytes((folder / f"{original}.png").read_bytes())
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    return folder


def run_undisturbed(run: ScriptedRun) -> Reference:
    """Run to the end and return what others are compared with."""
    run.server.run("--version", root=run.path)  # so that the time is not that of the server's start
    started = time.monotonic()
    finished = run.finish()
    return Reference(exported_bytes(run.path), finished.points, time.monotonic() - started)
