"""Measures what the engine of the settings does with a few images: a small run of the pipeline, thrown away."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ictc.cli.signals import stop_on_signals
from ictc.config import InputSettings, OutputSettings, RunSettings
from ictc.errors import InputError
from ictc.pipeline import run_pipeline
from ictc.planning.plan import Pace
from ictc.planning.source import ImageSource
from ictc.records import ImageRecord, add_counts
from ictc.runs.reporter import StepPlan
from ictc.runs.settings import steps_of
from ictc.runs.stopping import Interrupted
from ictc.stages.outcome import Status
from ictc.stages.timekeeping import Timekeeper
from ictc.steps.choice import find_needed, name_numbers
from ictc.tracks.typical import TYPICAL_CLUSTER


async def measure(
    settings: RunSettings, track: str, source: ImageSource, images: Sequence[ImageRecord]
) -> dict[str, Pace]:
    """Run the steps on `images` in a temporary folder and return how fast each was, by its name, without loading.

    Args:
        track: what `--track` names.
        source: what the images are from.

    Raises:
        IctcError: one line for the user.
        Interrupted: a signal came.
    """
    if not images:
        raise InputError("--calibrate: the sample has no readable image; see ictc run --steps 1 for what is wrong")
    reporter = TimingReporter()
    with tempfile.TemporaryDirectory(prefix="ictc-plan-") as name, stop_on_signals() as request:
        folder = Path(name)
        await source.copy(images, folder / "ads")
        try:
            await run_pipeline(trial_settings(settings, track, folder), reporter, request.event)
        except Interrupted:
            raise Interrupted("stopped; nothing is kept of a plan", 128 + (request.signal_number or 0)) from None
    return {stage: timing.pace() for stage, timing in reporter.timings.items() if timing.num_requests}


def trial_settings(settings: RunSettings, track: str, folder: Path) -> RunSettings:
    """Return the settings of the small run.

    Its clusters are given, as a few labels might not make K of them, and copies are asked about too, as a plan counts
    them apart.
    """
    chosen = steps_of(settings)
    control = {"steps": name_numbers([*find_needed(chosen), *chosen]), "force_steps": None, "dedupe": "off"}
    clusters = save_clusters(settings.clustering.most_clusters, folder / "clusters.json")
    return settings.model_copy(
        update={
            "input": InputSettings(ads_dir=folder / "ads", layout="flat"),
            "output": OutputSettings(output_dir=folder / "out", report="off"),
            "clustering": settings.clustering.model_copy(
                update={"track": track, "clusters": clusters, "assign_target": None}
            ),
            "control": settings.control.model_copy(update=control),
        }
    )


def save_clusters(num_clusters: int, path: Path) -> Path:
    """Write a file of typical clusters and return its path."""
    name, description = TYPICAL_CLUSTER
    clusters = [{"name": f"{name} {number}", "description": description} for number in range(num_clusters)]
    path.write_text(json.dumps(clusters), encoding="utf-8")
    return path


@dataclass(kw_only=True)
class Timing:
    """What one step has done so far; several tracks may be at it at the same time."""

    num_requests: int = 0
    tokens: int | None = 0
    seconds: float = 0.0
    num_open: int = 0
    opened: float = 0.0

    def open(self) -> None:
        """Start the clock, if it stands."""
        if not self.num_open:
            self.opened = time.monotonic()
        self.num_open += 1

    def close(self) -> None:
        """Stop the clock with the last one."""
        self.num_open -= 1
        if not self.num_open:
            self.seconds += time.monotonic() - self.opened

    def advance(self, status: Status, tokens: int | None) -> None:
        """Count one image."""
        self.num_requests += 1
        self.tokens = add_counts(self.tokens, tokens)

    def pace(self) -> Pace:
        """Return what one request took."""
        per_second = self.num_requests / max(self.seconds, 1e-6)
        tokens = None if self.tokens is None else self.tokens / self.num_requests
        return Pace(num_requests=self.num_requests, per_second=per_second, tokens=tokens)


class TimingReporter:
    """Keeps the times of a run and says nothing: its folders and counts are no one's business."""

    def __init__(self) -> None:
        self.timings: dict[str, Timing] = defaultdict(Timing)

    def note(self, text: str) -> None:
        """Leave it out."""

    def plan(self, steps: Sequence[StepPlan]) -> None:
        """Leave it out."""

    async def confirm(self, question: str) -> bool | None:
        """Answer that nobody is there; a run in a new folder asks nothing."""
        return None

    @contextmanager
    def stage(self, *, name: str, title: str, total: int, done: int, times: Timekeeper) -> Iterator[Timing]:
        """Time one step until the block ends."""
        timing = self.timings[name]
        timing.open()
        try:
            yield timing
        finally:
            timing.close()
