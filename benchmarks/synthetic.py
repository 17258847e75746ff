"""Run directories of any size for the other benchmarks, filled without an engine and without decoding an image.

Writes the records of the journals as they lie on the disk; what they are about, the run itself says.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from ictc.cli.terminal import ConsoleReporter
from ictc.config import RunSettings
from ictc.engines.scripted import WORDS
from ictc.records import Caption, ClusterDefinition, ImageRecord
from ictc.runs.discovery import build_manifest
from ictc.runs.info import save_run_info
from ictc.runs.opening import open_track
from ictc.runs.track_run import TrackRun
from ictc.steps.assign import ASSIGN
from ictc.steps.base import MapStep
from ictc.steps.caption import CAPTION, caption_data
from ictc.steps.label import LABEL
from ictc.steps.synthesize import SYNTHESIZE, Synthesis
from ictc.steps.table import STEPS
from ictc.storage.journal import Journal
from ictc.storage.manifest import find_manifest, save_manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import load_track

CRITERION = "Hook"
FILES_PER_FOLDER = 1000


def make_settings(root: Path) -> RunSettings:
    """Return the settings of the run in `root` over the images in `root/ads`."""
    return RunSettings.from_flags({"ads_dir": root / "ads", "output_dir": root, "engine": "scripted"})


def open_run(root: Path) -> TrackRun:
    """Return the run in `root`, nothing of it read yet."""
    directory, stop = RunDirectory(root), asyncio.Event()
    manifest = find_manifest(directory.manifest_path)
    assert manifest is not None
    reporter = ConsoleReporter(stop)
    return open_track(
        make_settings(root),
        track=load_track("marketing"),
        criterion=CRITERION,
        directory=directory,
        manifest=manifest,
        reporter=reporter,
        stop=stop,
        steps=tuple(STEPS),
    )


def make_files(ads_dir: Path, count: int) -> None:
    """Make `count` empty image files; nothing will decode them."""
    for number in range(count):
        folder = ads_dir / f"{number // FILES_PER_FOLDER:04d}"
        if number % FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"ad_{number:07d}.jpg").touch()


def discover(root: Path) -> None:
    """Do Step 0 of the run in `root`."""
    settings = make_settings(root)
    build_manifest(settings.input, None, ConsoleReporter(asyncio.Event()))(RunDirectory(root))


def fill_shard(root: Path, start: int, end: int, num_units: int) -> None:
    """Write what Steps 1 and 2a leave behind for the images `start` to `end` of `num_units`; there are no files."""
    key = {
        **{"ads_dir": str(root / "ads"), "fingerprint": "0" * 64, "units": num_units, "layout": "observations"},
        **{"frames": "first", "start": start, "end": end, "max_images": None},
    }
    save_manifest(RunDirectory(root).manifest_path, key, (make_image(number) for number in range(start, end)))
    random, run = Random(start), open_run(root)
    fill_captions(run, random)
    fill_labels(run, random)
    save_run_info(run, "finished")
    run.close()


def fill_captions(run: TrackRun, random: Random) -> None:
    """Write what Step 1 leaves behind."""
    captions = start(run, CAPTION)
    for item in CAPTION.iter_items(run.results):
        captions.append(done(item, caption_data(make_caption(item.image_id, random))))


def fill_labels(run: TrackRun, random: Random) -> None:
    """Add what Step 2a leaves behind."""
    labels = start(run, LABEL)
    for item in LABEL.iter_items(run.results):
        labels.append(done(item, {"label": " ".join(random.choices(WORDS, k=2))}))


def fill_clusters(root: Path) -> None:
    """Add what Steps 2b and 3 leave behind."""
    random, run = Random(1), open_run(root)
    for step in (CAPTION, LABEL):
        run.open_journal(step, run.key(step))
    made = Synthesis(
        tuple(ClusterDefinition(number, name=f"Cluster {number}", description="…") for number in range(1, 6))
    )
    key = run.key(SYNTHESIZE)
    run.directory.start_stage(SYNTHESIZE.name, key)
    SYNTHESIZE.save(run.directory.result_path(SYNTHESIZE.name, key), made)
    run.results.reduced[SYNTHESIZE] = made
    assignments = start(run, ASSIGN)
    for item in ASSIGN.iter_items(run.results):
        assignments.append(done(item, {"cluster_id": random.randint(1, 5), "confidence": 0.5}))
    run.close()


def start(run: TrackRun, step: MapStep[Any]) -> Journal:
    """Begin a map step and return its journal."""
    run.directory.start_stage(step.name, run.key(step))
    return run.open_journal(step, run.key(step))


def done(item: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Return the journal record of an item that a step has finished."""
    return {"id": item.image_id, "input": item.input_digest, "status": "done", "data": data}


def make_image(number: int) -> ImageRecord:
    """Return the image at a place of the collection; ids sort like their numbers."""
    image_id = str(UUID(int=number << 90))
    return ImageRecord(image_id, path=f"{image_id}/image.jpg", platform="Facebook", num_bytes=100_000)


def make_caption(image_id: str, random: Random) -> Caption:
    """Return a caption of the usual length, about 700 bytes in the journal."""
    text, summary = (" ".join(random.choices(WORDS, k=count)) for count in (40, 30))
    return Caption(image_id, category="retail", brand=random.choice(WORDS), text=text, summary=summary, ui_only=False)
