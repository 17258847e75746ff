"""What pipelines on Ray are to do alike, each in a process of its own, and the notes that they leave of it.

Notes are of a kind: "asked" for each request to the engine, "answered", "arrived" for each result at the driver, and
"failed" for each reason why there is none. Knows nothing of the pipelines.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from engines import ENDLESS_JSON, Workload

from ictc.config import ModelSpec, RunSettings

VARIABLE = "ICTC_BENCHMARK_WORK"
"""Names the file of the work to the processes that Ray starts."""

ERROR_LINE = re.compile(r"^[\w.]*(?:Error|Exception)\b: .+$", re.MULTILINE)
POLL_S = 0.1


@dataclass(frozen=True)
class Work:
    """Images to caption, and what goes wrong with them.

    Attributes:
        way: which pipeline does it.
        folder: where it leaves its notes and results.
        flags: of `ictc run`; the engine's options and the prompt come from them in both ways.
        images: the paths of the same images.
        lengths: of answers, in tokens; an image has one of them, the same each time.
        batch_size: rows of a batch of Ray's.
        concurrent_batches: so many of them at Ray's engine; its default is 8.
        lean: whether vLLM does what Ray has stages for: tokenizing, and turning tokens into text.
        continues: whether Ray's processor is to go on after the failure of a row.
        checkpoints: whether Ray is to write its results to files and to keep checkpoints of that.
        too_long: id of the image whose prompt no context holds.
        deadly: id of the image that the engine dies of.
    """

    way: str
    folder: str
    flags: dict[str, Any]
    images: Sequence[str]
    lengths: Sequence[int]
    batch_size: int = 16
    concurrent_batches: int = 8
    lean: bool = False
    continues: bool = True
    checkpoints: bool = False
    too_long: str = ""
    deadly: str = ""

    def hand_out(self) -> None:
        """Let this process and those that it starts know the work."""
        path = Path(self.folder, "work.json")
        path.write_text(json.dumps(asdict(self)))
        os.environ[VARIABLE] = str(path)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])

    @property
    def settings(self) -> RunSettings:
        """The settings of `ictc run`."""
        return RunSettings.from_flags(self.flags)

    @property
    def spec(self) -> ModelSpec:
        """What the engine is to load."""
        return self.settings.engine.model_spec("vlm", self.settings.control.seed)

    def length(self, image_id: str) -> int:
        """Return how many tokens the answer to an image has."""
        return Random(image_id).choice(self.lengths)

    def sampling(self, image_id: str) -> dict[str, Any]:
        """Return the arguments of vLLM's sampling parameters; its engine gets to know the image."""
        return {"max_tokens": self.length(image_id), "temperature": 0.0, "extra_args": {"image": image_id}}

    def note(self, name: str, **values: Any) -> None:
        """Append a line to a file of notes, which several processes may write."""
        line = json.dumps({"time": time.time(), **values}) + "\n"
        with Path(self.folder, f"{name}.jsonl").open("a") as file:
            file.write(line)

    def notes(self, name: str) -> list[dict[str, Any]]:
        """Return the notes of a kind so far."""
        path = Path(self.folder, f"{name}.jsonl")
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


def load_work() -> Work:
    """Return the work of this process."""
    return Work(**json.loads(Path(os.environ[VARIABLE]).read_text()))


def constraint() -> str:
    """Return the schema of all answers, as JSON."""
    return json.dumps(ENDLESS_JSON)


@dataclass(frozen=True)
class Finished:
    """A process that did some work, or did not get to its end.

    Attributes:
        started: Unix time, s.
        status: its exit status; None if it was killed because it took too long.
    """

    work: Work
    started: float
    seconds: float
    status: int | None

    @property
    def end(self) -> str:
        """How it ended."""
        return {None: "not in time", 0: "well"}.get(self.status, "badly")

    @property
    def message(self) -> str:
        """The first error that it wrote, if it did not end well."""
        error = ERROR_LINE.search(Path(self.work.folder, "log").read_text(errors="replace"))
        return error.group()[:160] if error and self.status else ""

    def counts(self) -> dict[str, Any]:
        """Return how often what happened, and the reasons for what failed."""
        asked, failed = self.work.notes("asked"), self.work.notes("failed")
        return {
            "ends": self.end,
            "seconds": self.seconds,
            "results": len(self.work.notes("arrived")),
            "failures": len(failed),
            "asked": len(asked),
            "again": len(asked) - len({note["image"] for note in asked}),
            "engines": len({note["engine"] for note in asked}),
            "reason": "; ".join({note["error"][:160] for note in failed}) or self.message,
        }

    def rates(self) -> dict[str, float]:
        """Return how fast the engine answered between the first and the last tenth, and what the start took.

        Results reach the driver in batches: of few images, their times say less than the engine's.
        """
        answered = [note["time"] for note in self.work.notes("answered")]
        busy = answered[len(answered) // 10 : len(answered) * 9 // 10]
        return {
            "images_per_s": (len(busy) - 1) / (busy[-1] - busy[0]),
            "start_s": self.work.notes("asked")[0]["time"] - self.started,
            "seconds": self.seconds,
            "cpu_s": self.work.notes("ended")[-1]["cpu_s"],
        }

    def check_lengths(self) -> None:
        """Check that each answer is as long as it is to be."""
        for note in self.work.notes("answered"):
            assert note["tokens"] == self.work.length(note["image"]), note


@dataclass(frozen=True)
class Bench:
    """Makes work of a workload and has it done.

    Attributes:
        script: does the work of its environment if it is called with `--work`.
        limit_s: seconds after which a run counts as endless.
    """

    workload: Workload
    script: Path
    limit_s: float

    def build(self, *, ads: Path | None = None, **values: Any) -> Work:
        """Return work in a folder of its own."""
        ads, folder = ads or self.workload.ads, tempfile.mkdtemp(dir=self.workload.root)
        flags = {
            **{"ads_dir": str(ads), "output_dir": str(Path(folder, "out")), "vlm_model": self.workload.model},
            **{"track": "1", "steps": "1", "executor": "ray", "ray_address": "local", "dedupe": "off"},
            **self.workload.flags,
        }
        return Work(folder=folder, flags=flags, images=sorted(map(str, ads.iterdir())), **values)

    def run(self, work: Work, kill_after: int | None = None) -> Finished:
        """Do work in a process of its own, which is killed after so many answers."""
        work.hand_out()
        started = time.time()
        with Path(work.folder, "log").open("w") as log:
            process = subprocess.Popen([sys.executable, str(self.script), "--work"], stdout=log, stderr=log)
        is_late = False
        while process.poll() is None:
            time.sleep(POLL_S)
            is_late = time.time() - started > self.limit_s
            if is_late or (kill_after is not None and len(work.notes("answered")) >= kill_after):
                process.kill()
                process.wait()
        return Finished(work, started, time.time() - started, None if is_late else process.returncode)
