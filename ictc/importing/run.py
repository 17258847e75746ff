"""`ictc import`: a source becomes a run directory, and is clustered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ictc.config import RunSettings
from ictc.config.groups import parse_steps
from ictc.errors import ConfigError
from ictc.importing.columns import Columns
from ictc.importing.items import Kind, Source
from ictc.importing.reference import Reference, is_reference
from ictc.importing.texts import open_texts
from ictc.importing.writing import Checked, caption_key, check_source, write_captions, write_labels
from ictc.pipeline import (
    approve,
    check_same_track,
    choose_criterion,
    closing_on_error,
    finish_runs,
    load_given_clusters,
    run_steps,
)
from ictc.runs.locking import hold_locks
from ictc.runs.opening import open_track
from ictc.runs.plan import check_preconditions
from ictc.runs.reporter import Reporter
from ictc.runs.settings import make_settings, steps_of
from ictc.runs.summary import TrackSummary
from ictc.runs.track_run import TrackRun
from ictc.stages.outcome import Status
from ictc.steps.base import MapStep, Step
from ictc.steps.caption import CAPTION, CAPTIONS_FILE
from ictc.steps.choice import name_numbers
from ictc.steps.exports import file_names, mark_stale, stale_steps
from ictc.steps.label import LABEL
from ictc.steps.table import STEPS
from ictc.storage.keys import StageKey
from ictc.storage.manifest import find_manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import Track, load_track

_OF_REFERENCE = {Status.UI_ONLY: "interface only", Status.BROKEN: "broken", Status.REJECTED: "without a caption"}
WORDS: Mapping[Kind, Mapping[Status, str]] = {
    "texts": {Status.DONE: "texts", Status.BROKEN: "rows without a text"},
    "captions": {Status.DONE: "captions", Status.BROKEN: "rows without a caption"},
    "reference": {Status.DONE: "captions", **_OF_REFERENCE},
}
"""How items leave Step 1, for people."""


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What `ictc import` was asked for.

    Attributes:
        images_dir: folder that paths of images start from, None for where the source lies.
        cluster: whether the steps that are left follow.
        overrides: settings by flag.
    """

    source: Path
    output_dir: Path
    columns: Columns = field(default_factory=Columns)
    images_dir: Path | None = None
    cluster: bool = True
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """How a source is clustered.

    Attributes:
        settings: of the run.
        keeps_labels: whether the labels of the source count; None: unless they were made for another criterion.
        cluster: whether it is, or only imported.
        title_prefix: tells its steps from those of other runs.
    """

    settings: RunSettings
    keeps_labels: bool | None = None
    cluster: bool = True
    title_prefix: str = ""


def open_source(request: ImportRequest) -> Source:
    """Return what is to be imported, looked at but not yet read.

    Raises:
        ConfigError: it is nothing that can be imported, or the results would go into it.
        InputError: it can't be read.
    """
    path, output_dir = request.source, request.output_dir
    if "://" in str(path) or ":/" in str(path):
        raise ConfigError(f"{path}: what is imported must lie on this machine; copy it here first")
    if request.images_dir is not None and not request.images_dir.is_dir():
        raise ConfigError(f"--ads_dir {request.images_dir}: no such folder")
    if path.is_dir():
        return open_reference(path, output_dir=output_dir, images_dir=request.images_dir, columns=request.columns)
    if not path.is_file():  # nor a pipe, as it is read twice
        raise ConfigError(f"{path}: no such table or directory; check the path")
    if path.resolve().parent == output_dir.resolve() and path.name in file_names({*STEPS}):
        raise ConfigError(f"{path} would be replaced by the results; choose another --output_dir")
    return open_texts(path, given=request.columns, base=request.images_dir)


def open_reference(
    path: Path, *, output_dir: Path, images_dir: Path | None = None, columns: Columns | None = None
) -> Reference:
    """Return a directory of the reference implementation as a source.

    Raises:
        ConfigError: it is none, its files are not of one state, or the results would go into it.
    """
    for flag, name in () if columns is None else columns.given():
        raise ConfigError(f"{flag} {name}: {path} is a directory, which has no columns; leave it out")
    if not is_reference(path):
        raise ConfigError(explain_directory(path))
    if output_dir.resolve().is_relative_to(path.resolve()):
        raise ConfigError(f"--output_dir {output_dir} lies in {path}, the source, never written to")
    if stale := stale_steps(path):
        raise ConfigError(
            f"{path}: its files from Step {stale[0].number} on are of an earlier state than the others; let its own "
            "command finish first"
        )
    return Reference(path, images_dir=images_dir)


def explain_directory(path: Path) -> str:
    """Return why a directory can't be imported."""
    below = sorted(entry.parent.name for entry in path.glob(f"*/{CAPTIONS_FILE}"))
    if below:
        return f"{path}: import the directory of one track, such as {path / below[0]}"
    return f"{path}: a directory without {CAPTIONS_FILE}; name a table, or a directory with that file"


async def import_source(
    source: Source, request: ImportRequest, reporter: Reporter, stop: asyncio.Event
) -> list[TrackSummary]:
    """Import a source, cluster it unless told otherwise, and return what came out.

    Raises:
        IctcError: one line for the user.
        Interrupted: `stop` was set; the same command goes on.
    """
    target = RunDirectory(request.output_dir)
    settings = build_settings(source, target, request.overrides)
    async with hold_locks([target], reporter, stop):
        run = await import_into(source, target, Clustering(settings=settings, cluster=request.cluster), reporter, stop)
        if not request.cluster:
            return await finish_runs([run], partial(export_imported, run))
        with closing_on_error([run]):
            check_preconditions(run)
            await approve([run], reporter, stop)
        return await finish_runs([run], partial(run_steps, [run], settings, stop))


async def export_imported(run: TrackRun) -> None:
    """Write the files of what was imported, where that is all that was asked for."""
    for step in filter(run.results.has, STEPS):
        if not run.exports.are_complete(step):
            run.exports.write(step, run.view())


def build_settings(source: Source, target: RunDirectory, overrides: Mapping[str, Any]) -> RunSettings:
    """Return the settings of a run about a source.

    Raises:
        ConfigError: they contradict each other, or ask for Step 1.
    """
    track = overrides.get("track") or target.load_run_info().get("track_source") or source.track
    flags = {**overrides, "ads_dir": source.base, "output_dir": target.path, "track": track}
    settings = make_settings(flags)
    left = name_numbers(step for step in STEPS if step is not CAPTION)
    asked = CAPTION in steps_of(settings) and settings.control.steps
    for flag, chosen in (("steps", asked), ("force_steps", settings.control.force_steps)):
        if chosen and CAPTION.number in parse_steps(chosen):
            raise ConfigError(f"--{flag} {chosen}: what is imported has left Step {CAPTION.number}; left are {left}")
    return settings


async def import_into(
    source: Source, target: RunDirectory, chosen: Clustering, reporter: Reporter, stop: asyncio.Event
) -> TrackRun:
    """Import a source into `target`, and return the run that clusters it.

    Raises:
        ConfigError: something else lies in `target`.
        InputError: the source can't be understood.
        StorageError: the disk refused.
    """
    settings = chosen.settings
    track = load_track(str(settings.clustering.track))
    criterion = settings.clustering.criterion or _default_criterion(source, track, settings)
    check_same_track(target, track)
    check_target(target, source)
    reporter.note(f"Importing {source.location}: {source.describe()}")
    checked = await asyncio.to_thread(check_source, source, stop)
    reporter.note(describe_checked(source, checked))
    uses_labels = _uses_labels(source, checked, track, criterion, chosen.keeps_labels)
    if checked.num_labels and not uses_labels and chosen.keeps_labels is None:
        made_for = source.criterion or track.criterion
        reporter.note(f"its labels were made for {made_for!r}, not for {criterion!r}: Step 2a makes others")
    steps = _steps(settings, has_all_labels=uses_labels and not checked.lacks_labels)
    given = load_given_clusters(settings.clustering)
    manifest, captions = await asyncio.to_thread(write_captions, source, checked, target, stop)
    run = open_track(
        settings,
        track=track,
        criterion=criterion,
        directory=target,
        manifest=manifest,
        reporter=reporter,
        stop=stop,
        steps=steps,
        given=given,
        has_imported_labels=uses_labels and checked.lacks_labels and chosen.cluster,
        title_prefix=chosen.title_prefix,
        origin={"imported_from": str(source.location.resolve()), "imported": source.kind, **source.origin},
    )
    run.results.journals[CAPTION] = captions
    with closing_on_error([run]):
        if key := _label_key(source, run, chosen, uses_labels=uses_labels):
            journal = run.open_journal(LABEL, key)
            await asyncio.to_thread(write_labels, source, checked, target, stop, journal=journal, captions=captions)
            if not run.config.has_imported_labels:
                adopt_labels(target, key)
    return run


def _label_key(source: Source, run: TrackRun, chosen: Clustering, *, uses_labels: bool) -> StageKey | None:
    """Return the key under which labels of a source are kept, None if they are not.

    Labels that stand alone need no model; where one makes what they lack, it belongs to the key.
    """
    imported = caption_key(source)
    if not uses_labels:  # those that are there were once imported, and nothing else will replace them
        return imported if not chosen.cluster and run.directory.current_key(LABEL.name) == imported else None
    return run.key(LABEL) if run.config.has_imported_labels else imported


def adopt_labels(target: RunDirectory, key: StageKey) -> None:
    """Make labels that were imported the current ones.

    Raises:
        StorageError: the disk refused.
    """
    if target.current_key(LABEL.name) != key:
        mark_stale(target.path, LABEL)
    target.start_stage(LABEL.name, key)


def _default_criterion(source: Source, track: Track, settings: RunSettings) -> str:
    fits = source.criterion is not None and track.name == load_track(source.track).name
    return str(source.criterion) if fits else choose_criterion(track, settings.clustering)


def _uses_labels(source: Source, checked: Checked, track: Track, criterion: str, keeps: bool | None) -> bool:
    if not checked.num_labels or keeps is not None:
        return bool(checked.num_labels and keeps)
    made_for = source.criterion or (track.criterion if source.kind == "reference" else criterion)
    return criterion == made_for


def _steps(settings: RunSettings, *, has_all_labels: bool) -> tuple[Step, ...]:
    """Return the steps that are left, of those that are asked for.

    Raises:
        ConfigError: none is, or one is to be done anew that is not.
    """
    done: tuple[MapStep[Any], ...] = (CAPTION, LABEL) if has_all_labels else (CAPTION,)
    if has_all_labels and LABEL.number in settings.control.forced_steps:
        raise ConfigError(
            f"--force_steps {settings.control.force_steps}: all labels are imported, so that Step {LABEL.number} makes "
            "none; leave it out, or import without the labels"
        )
    left = tuple(step for step in steps_of(settings) if step not in done)
    if not left:
        raise ConfigError(f"--steps {settings.control.steps}: all labels are imported, so that nothing is left to do")
    return left


def check_target(target: RunDirectory, source: Source) -> None:
    """Refuse to import into what something else has made.

    Raises:
        ConfigError: saying what lies there.
    """
    info, manifest = target.load_run_info(), find_manifest(target.manifest_path)
    held = info.get("imported_from")
    if (info and held is None) or (manifest is not None and "imported" not in manifest.key):
        raise ConfigError(f"{target.path} holds another run; choose another --output_dir")
    if held is not None and Path(held) != source.location.resolve() and Path(held).exists():
        raise ConfigError(f"{target.path} holds what was imported from {held}; choose another --output_dir")


def describe_checked(source: Source, checked: Checked) -> str:
    """Return in a line how much a source holds."""
    ways = WORDS[source.kind]
    parts = [f"{checked.statuses[status]:,} {words}" for status, words in ways.items() if checked.statuses[status]]
    if checked.num_labels:
        parts.append(f"{checked.num_labels:,} labels")
    count, named = checked.odd_labels
    if count:
        some = ", ".join(map(repr, named)) + (", …" if count > len(named) else "")
        parts.append(f"{count:,} labels that are too long or have no letter ({some}), which Step 2a makes anew")
    hint = f"; {checked.num_elsewhere:,} images lie outside of {source.base}: --ads_dir says where they are by now"
    return "Imported: " + ", ".join(parts) + (hint if checked.num_elsewhere else "")
