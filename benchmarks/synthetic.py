"""Run directories of any size for the other benchmarks, filled without an engine and without images."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from uuid import UUID

from ictc.cli.console import ConsoleReporter
from ictc.config import RunSettings
from ictc.engines.scripted import WORDS
from ictc.records import Caption, ClusterDefinition, ImageRecord
from ictc.runs.info import save_run_info
from ictc.runs.track_run import TrackRun
from ictc.stages.caption import caption_data, caption_input
from ictc.stages.outcome import Outcome, Status, to_record
from ictc.storage.journal import Journal
from ictc.storage.keys import StageKey
from ictc.storage.manifest import find_manifest, save_manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import load_track


def open_run(root: Path) -> TrackRun:
    """Return the run in `root`, nothing of it read yet."""
    settings = RunSettings.from_flags({"ads_dir": root / "ads", "output_dir": root, "engine": "scripted"})
    directory, stop = RunDirectory(root), asyncio.Event()
    manifest = find_manifest(directory.manifest_path)
    assert manifest is not None
    return TrackRun(settings, load_track("marketing"), "Hook", directory, manifest, ConsoleReporter(stop), stop)


def fill_shard(root: Path, start: int, end: int, num_units: int) -> None:
    """Write what Steps 1 and 2a leave behind for the images `start` to `end` of `num_units`."""
    random = Random(start)
    key = {
        **{"ads_dir": str(root / "ads"), "fingerprint": "0" * 64, "units": num_units, "layout": "observations"},
        **{"frames": "first", "start": start, "end": end, "max_images": None},
    }
    save_manifest(RunDirectory(root).manifest_path, key, (make_image(number) for number in range(start, end)))
    run = open_run(root)
    with start_stage(run, "caption", run.keys.caption()) as captions:
        for image in run.manifest:
            data = caption_data(make_caption(image.image_id, random))
            captions.append(to_record(image.image_id, caption_input(image), Outcome(Status.DONE, data)))
        captions.sync()
        with start_stage(run, "label", run.keys.label()) as labels:
            for item in run.label_stage().iter_items():
                outcome = Outcome(Status.DONE, {"label": " ".join(random.choices(WORDS, k=2))})
                labels.append(to_record(item.image_id, item.input_digest, outcome))
    save_run_info(run, "finished")


def fill_clusters(root: Path) -> None:
    """Add what Steps 2b and 3 leave behind."""
    random, run = Random(1), open_run(root)
    for stage, key in (("caption", run.keys.caption()), ("label", run.keys.label())):
        run.open_journal(stage, key)
    run.results.definitions = tuple(ClusterDefinition(number, f"Cluster {number}", "…") for number in range(1, 6))
    key = run.keys.synthesize(run.histogram())
    run.directory.start_stage("synthesize", key)
    run.directory.save_definitions(key, run.results.definitions)
    assignments = start_stage(run, "assign", run.keys.assign(run.results.definitions))
    for item in run.assign_stage().iter_items():
        outcome = Outcome(Status.DONE, {"cluster_id": random.randint(1, 5), "confidence": 0.5})
        assignments.append(to_record(item.image_id, item.input_digest, outcome))
    run.close()


def start_stage(run: TrackRun, stage: str, key: StageKey) -> Journal:
    """Begin a map step and return its journal."""
    run.directory.start_stage(stage, key)
    return run.open_journal(stage, key)


def make_image(number: int) -> ImageRecord:
    """Return the image at a place of the collection; ids sort like their numbers."""
    image_id = str(UUID(int=number << 90))
    return ImageRecord(image_id, f"{image_id}/image.jpg", platform="Facebook", num_bytes=100_000)


def make_caption(image_id: str, random: Random) -> Caption:
    """Return a caption of the usual length, about 700 bytes in the journal."""
    text, summary = (" ".join(random.choices(WORDS, k=count)) for count in (40, 30))
    return Caption(image_id, category="retail", brand=random.choice(WORDS), text=text, summary=summary, ui_only=False)
