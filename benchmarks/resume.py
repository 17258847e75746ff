"""Time how a long run is taken up again: `python benchmarks/resume.py [--images 1000000]`.

Fills the journals of a run with captions, labels and assignments, then, each in a process of its own, reopens the
captions alone, and finds out what remains to do in all steps. Prints a table and a JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from uuid import UUID

from ictc.cli.console import ConsoleReporter
from ictc.config import RunSettings
from ictc.engines.scripted import WORDS
from ictc.records import Caption, ClusterDefinition, ImageRecord
from ictc.runs.plan import plan_steps
from ictc.runs.track_run import TrackRun
from ictc.stages.caption import caption_data, caption_input
from ictc.stages.outcome import Outcome, Status, to_record
from ictc.storage.journal import Journal
from ictc.storage.manifest import load_manifest, save_manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import load_track

MANIFEST_KEY = {"made by": "benchmarks/resume.py"}


def open_run(root: Path) -> TrackRun:
    """Return the run in `root`, nothing of it read yet."""
    settings = RunSettings.from_flags({"ads_dir": root / "ads", "output_dir": root, "engine": "scripted"})
    directory, stop = RunDirectory(root), asyncio.Event()
    manifest = load_manifest(directory.manifest_path, MANIFEST_KEY)
    assert manifest is not None
    return TrackRun(settings, load_track("marketing"), "Hook", directory, manifest, ConsoleReporter(stop), stop)


def fill_run(root: Path, num_images: int) -> None:
    """Write the manifest, the clusters and a record an image in each journal."""
    random = Random(1)
    images = (
        ImageRecord(image_id := str(UUID(int=random.getrandbits(128))), f"{image_id}/image.jpg", num_bytes=100_000)
        for _ in range(num_images)
    )
    save_manifest(RunDirectory(root).manifest_path, MANIFEST_KEY, images)
    run = open_run(root)
    captions, labels = (start(run, stage) for stage in ("caption", "label"))
    for image in run.manifest:
        caption = make_caption(image.image_id, random)
        captions.append(to_record(image.image_id, caption_input(image), Outcome(Status.DONE, caption_data(caption))))
    for caption in run.label_stage().iter_items():
        outcome = Outcome(Status.DONE, {"label": " ".join(random.choices(WORDS, k=2))})
        labels.append(to_record(caption.image_id, caption.input_digest, outcome))
    run.results.definitions = tuple(ClusterDefinition(number, f"Cluster {number}", "…") for number in range(1, 6))
    key = run.keys.synthesize(run.histogram())
    run.directory.start_stage("synthesize", key)
    run.directory.save_definitions(key, run.results.definitions)
    assignments = start(run, "assign")
    for ad in run.assign_stage().iter_items():
        outcome = Outcome(Status.DONE, {"cluster_id": random.randint(1, 5), "confidence": 0.5})
        assignments.append(to_record(ad.image_id, ad.input_digest, outcome))
    run.close()


def start(run: TrackRun, stage: str) -> Journal:
    """Begin a map step and return its journal."""
    key = {"caption": run.keys.caption, "label": run.keys.label}.get(
        stage, lambda: run.keys.assign(run.results.definitions)
    )()
    run.directory.start_stage(stage, key)
    return run.open_journal(stage, key)


def make_caption(image_id: str, random: Random) -> Caption:
    """Return a caption of the usual length, about 700 bytes in the journal."""
    text, summary = (" ".join(random.choices(WORDS, k=count)) for count in (40, 30))
    return Caption(image_id, category="retail", brand=random.choice(WORDS), text=text, summary=summary, ui_only=False)


def reopen_captions(root: Path) -> None:
    """Open the journal of Step 1."""
    run = open_run(root)
    with run.directory.open_journal("caption", run.keys.caption()) as journal:
        assert len(journal) == len(run.manifest)


def plan_all(root: Path) -> None:
    """Find out what remains to do in all steps."""
    steps = plan_steps(open_run(root))
    assert all(step.todo == 0 for step in steps), steps


MEASURED = {"reopen": reopen_captions, "plan": plan_all}


def measure(name: str, root: Path) -> dict[str, float]:
    """Run one of `MEASURED` in a process of its own; return its seconds and the process's peak memory in GB."""
    done = subprocess.run([sys.executable, __file__, "--only", name, str(root)], check=True, capture_output=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure_here(name: str, root: Path) -> None:
    """Do one of `MEASURED` and print its figures."""
    started = time.perf_counter()
    MEASURED[name](root)
    seconds = time.perf_counter() - started
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": round(seconds, 2), "peak_gb": round(peak_gb, 3)}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        measure_here(arguments.only[0], Path(arguments.only[1]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        fill_run(root, arguments.images)
        size_gb = sum(path.stat().st_size for path in root.rglob("*.jsonl")) / 1e9
        figures = {name: measure(name, root) for name in MEASURED}
    print(f"{arguments.images:,} images, {size_gb:.2f} GB of manifest and journals")
    for name, one in figures.items():
        print(f"{MEASURED[name].__doc__:<45} {one['seconds']:7.1f} s  {one['peak_gb']:.2f} GB")
    print(json.dumps({"images": arguments.images, "gb": round(size_gb, 3), **figures}))


if __name__ == "__main__":
    main()
