"""The order of things: find the images, run the steps of the table, export, for one track or several."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ictc.config import ClusteringSettings, InputSettings, RunSettings
from ictc.errors import ConfigError, StorageError
from ictc.executors.base import Executor, Note
from ictc.executors.build import build_executor
from ictc.records import NONE_GIVEN, GivenClusters
from ictc.runs.context import settings_with_context
from ictc.runs.definitions_file import load_definitions_file
from ictc.runs.discovery import FoundImages, build_manifest
from ictc.runs.imported import is_imported, own_command
from ictc.runs.info import save_run_info
from ictc.runs.locking import hold_locks
from ictc.runs.map_step import run_map_steps
from ictc.runs.opening import open_track
from ictc.runs.plan import check_preconditions, plan_steps
from ictc.runs.reader import find_bystanders
from ictc.runs.reporter import Reporter
from ictc.runs.settings import steps_of
from ictc.runs.shards import name_some
from ictc.runs.stopping import Interrupted, raise_if_stopped
from ictc.runs.summary import TrackSummary
from ictc.runs.track_run import TrackRun
from ictc.steps.base import MapStep, Step
from ictc.steps.table import STEPS
from ictc.storage.keys import digest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import Track, load_track
from ictc.tracks.combined import CombinedCaptions

UNASKED_REDO_S = 3600.0
"""Earlier work of so many seconds is done again without asking."""


@dataclass(frozen=True, kw_only=True)
class TrackPlan:
    """A track that was asked for, and where its results go.

    Attributes:
        title_prefix: tells its steps from those of other tracks.
        given: clusters that Step 2b takes instead of making its own.
        combined: digest of the one request that captions are asked by for several tracks, "" if each has its own.
    """

    track: Track
    criterion: str
    directory: RunDirectory
    title_prefix: str = ""
    given: GivenClusters = NONE_GIVEN
    combined: str = ""


async def run_pipeline(settings: RunSettings, reporter: Reporter, stop: asyncio.Event) -> list[TrackSummary]:
    """Do what `ictc run` was asked to do and return what came out, a summary a track.

    Raises:
        IctcError: one line for the user.
        Interrupted: `stop` was set; the same command resumes.
    """
    plans = plan_tracks(settings, reporter)
    async with hold_locks([plan.directory for plan in plans], reporter, stop):
        runs = prepare_runs(plans, settings, reporter, stop)
        with closing_on_error(runs):
            await approve(runs, reporter, stop)
        return await finish_runs(runs, lambda: run_steps(runs, settings, stop))


async def approve(runs: list[TrackRun], reporter: Reporter, stop: asyncio.Event) -> None:
    """Tell what will be done, and ask before much earlier work is done again.

    Raises:
        ConfigError: the answer was no, or there is nobody to ask.
    """
    steps = [step for track_run in runs for step in plan_steps(track_run)]
    reporter.plan(steps)
    redo_s = sum(step.redo_s for step in steps)
    if redo_s <= UNASKED_REDO_S or runs[0].control.yes:
        return
    what = f"{redo_s / 3600:.1f} hours of work would be done again"
    answer = await reporter.confirm(f"{what}, for the reasons above. Go on?")
    raise_if_stopped(stop)
    if not answer:
        remedy = "" if answer is False else "; add --yes if that is meant, or undo the change"
        raise ConfigError(f"{what}{remedy}; nothing was made again")


async def finish_runs(runs: list[TrackRun], work: Callable[[], Awaitable[None]]) -> list[TrackSummary]:
    """Do the work on these runs, and note beside the results how that ended."""
    started = time.monotonic()
    for track_run in runs:
        note_beginning(track_run)
    status = "failed"
    try:
        await work()
        status = "finished"
        for track_run in runs:
            track_run.directory.forget_forced()
        return [track_run.summary() for track_run in runs]
    except Interrupted:
        status = "stopped"
        raise
    finally:
        for track_run in runs:
            track_run.close()
            if status == "finished":
                save_run_info(track_run, status, time.monotonic() - started)
            elif track_run.before_change is None:  # else it changed nothing, and what is told of an earlier run holds
                with suppress(StorageError):  # an error on its way says more
                    save_run_info(track_run, status, time.monotonic() - started)


def note_beginning(track_run: TrackRun) -> None:
    """Note beside the results that the run has begun: at once if there were none, else before they change."""

    def note() -> None:
        save_run_info(track_run, "running")
        track_run.before_change = None

    if track_run.directory.load_run_info():
        track_run.before_change = note
    else:
        note()


async def run_steps(runs: list[TrackRun], settings: RunSettings, stop: asyncio.Event) -> None:
    """Run the steps of every track; those over images first, so that separate mode loads each model once."""
    async with open_executor(runs, settings) as executor:
        await run_over_images(runs, executor, stop)
        for track_run in runs:
            await track_run.run_texts(executor)
            raise_if_stopped(stop)


@asynccontextmanager
async def open_executor(runs: list[TrackRun], settings: RunSettings) -> AsyncIterator[Executor]:
    """Yield what runs the steps, and release its engines at the end."""
    engine = settings_with_context(settings.engine, runs)
    requests_per_image = 1 if settings.control.combine_tracks else len(runs)
    sized = settings.model_copy(update={"engine": engine})
    async with open_engines(sized, runs[0].reporter.note, requests_per_image) as executor:
        yield executor


@asynccontextmanager
async def open_engines(settings: RunSettings, note: Note, requests_per_image: int = 1) -> AsyncIterator[Executor]:
    """Yield the executor that the settings ask for, and release its engines at the end.

    Args:
        note: told in a line what the engines have chosen from the hardware.
        requests_per_image: how many requests in a row will be about the same image.
    """
    chosen = settings.input
    absolute = {name: value.absolute() for name, value in chosen if isinstance(value, Path)}  # in whatever folder
    images = FoundImages(chosen.model_copy(update=absolute))
    executor = build_executor(settings, images, note, requests_per_image)
    try:
        yield executor
    finally:
        await executor.close()


async def run_over_images(runs: list[TrackRun], executor: Executor, stop: asyncio.Event) -> None:
    """Run each step that reads images for all tracks in one pass, so that each image is decoded once."""
    for step in STEPS:
        if not isinstance(step, MapStep) or not step.reads_images:
            continue
        if todo := [track_run for track_run in runs if step in track_run.steps]:
            async with executor.open_reader() as reader:
                works = [track_run.prepare(step, reader) for track_run in todo]
                await run_map_steps(works, executor, todo[0].control, stop)
        raise_if_stopped(stop)
        with keeping_stamps(runs, step):
            for track_run in runs:
                track_run.finish(step)


def keeping_stamps(runs: list[TrackRun], step: Step) -> AbstractContextManager[None]:
    """Take it for no change of the images that the exports of a step may link to them."""
    keeper = runs[0].keeper
    if keeper is None or all(track_run.exports.are_complete(step) for track_run in runs):
        return nullcontext()
    return keeper.keeping_stamps([track_run.directory for track_run in runs])


def plan_tracks(settings: RunSettings, reporter: Reporter) -> list[TrackPlan]:
    """Return what is to be run and where, checked as far as reading alone can.

    Raises:
        ConfigError: the command is impossible, or would mix two tracks in one folder.
        TrackError: a user's track module is faulty.
    """
    root = settings.output.output_dir / (settings.output.shard_id or "")
    if settings.engine.swap_space is not None:
        reporter.note("--swap_space: vLLM has no such option any more; it has no effect")
    tracks = choose_tracks(settings.clustering, root)
    given = load_given_clusters(settings.clustering)
    several = len(tracks) > 1
    plans = []
    for track in tracks:
        directory = RunDirectory(root / track.directory if several else root)
        check_same_track(directory, track)
        check_has_images(directory)
        criterion = choose_criterion(track, settings.clustering)
        prefix = f"{track.name}: " if several else ""
        plans.append(TrackPlan(track=track, criterion=criterion, directory=directory, title_prefix=prefix, given=given))
    tell_of_bystanders(root, plans, reporter)
    return combine(plans) if settings.control.combine_tracks else plans


def tell_of_bystanders(root: Path, plans: list[TrackPlan], reporter: Reporter) -> None:
    """Say which other runs lie where the results go, so that nobody takes theirs for those of this command."""
    others = find_bystanders(root, [plan.directory for plan in plans])
    if others:
        where = name_some([*map(str, others)])
        reporter.note(f"not of this command, and left as they are: the results of earlier runs in {where}")


def choose_criterion(track: Track, clustering: ClusteringSettings) -> str:
    """Return what a track clusters by: as the user says, else its own.

    Raises:
        ConfigError: it has none of its own.
    """
    criterion = clustering.criterion or track.criterion
    if criterion is None:
        raise ConfigError(f'--track {track.name} needs --criterion, such as --criterion "the musical instrument"')
    return criterion


def combine(plans: list[TrackPlan]) -> list[TrackPlan]:
    """Return the plans for captions that are asked by one request for all of them.

    Raises:
        ConfigError: there is only one.
    """
    if len(plans) < 2:
        raise ConfigError("--combine_tracks needs several tracks, such as --track 1,2,3")
    prompt = CombinedCaptions([(plan.track, plan.criterion) for plan in plans])
    combined = digest([prompt.render(), prompt.schema])
    return [replace(plan, combined=combined) for plan in plans]


def load_given_clusters(clustering: ClusteringSettings) -> GivenClusters:
    """Return the clusters of `--clusters`, none if there is no such file.

    Raises:
        ConfigError: the file is broken, or says another K than `--num_clusters`.
    """
    if clustering.clusters is None:
        return NONE_GIVEN
    given = load_definitions_file(clustering.clusters, allow_none=clustering.allow_none)
    numbers = ",".join(str(len(level.clusters)) for level in given.levels) or str(len(given.definitions))
    known = (numbers, str(len(given.definitions)))
    if "num_clusters" in clustering.model_fields_set and str(clustering.num_clusters) not in known:
        raise ConfigError(
            f"--num_clusters {clustering.num_clusters}, and --clusters {clustering.clusters} has {numbers}; "
            "leave out the former"
        )
    return given


def prepare_runs(
    plans: list[TrackPlan], settings: RunSettings, reporter: Reporter, stop: asyncio.Event
) -> list[TrackRun]:
    """Discover the images and check everything that can be checked before a model is loaded.

    Raises:
        IctcError: what would go wrong later.
    """
    manifest_of = build_manifest(settings.input, settings.clustering.clusters, reporter)
    steps = steps_of(settings)
    runs = [
        open_track(
            settings,
            track=plan.track,
            criterion=plan.criterion,
            directory=plan.directory,
            manifest=manifest_of(plan.directory),
            reporter=reporter,
            stop=stop,
            steps=steps,
            given=plan.given,
            combined=plan.combined,
            title_prefix=plan.title_prefix,
            keeper=manifest_of.keeper,
        )
        for plan in plans
    ]
    with closing_on_error(runs):
        for track_run in runs:
            check_preconditions(track_run)
    return runs


@contextmanager
def closing_on_error(runs: list[TrackRun]) -> Iterator[None]:
    """Close the runs' journals if the block raises."""
    try:
        yield
    except BaseException:
        for track_run in runs:
            track_run.close()
        raise


def choose_tracks(clustering: ClusteringSettings, root: Path) -> list[Track]:
    """Return the tracks of `--track`; unset, the one that `root` already holds, else by whether there is a criterion.

    Raises:
        ConfigError: no such track, or one named twice.
        TrackError: a user's track module is faulty.
    """
    if clustering.track is None:
        default = "general" if clustering.criterion else "marketing"
        return [load_track(RunDirectory(root).load_run_info().get("track_source", default))]
    names = [name.strip() for name in clustering.track.split(",") if name.strip()]
    tracks = [load_track(name) for name in names]
    for track in tracks:
        if sum(other.directory == track.directory for other in tracks) > 1:
            raise ConfigError(f"--track {clustering.track}: two tracks write to {track.directory}/")
    if not tracks:
        raise ConfigError("--track is empty; leave it out or name a track")
    return tracks


def check_command(settings: RunSettings) -> None:
    """Refuse what can't work, as far as the settings alone tell, before anything is written.

    Raises:
        ConfigError: with what is wrong and what to do.
    """
    check_apart(settings.input, settings.output.output_dir)
    steps_of(settings)


def check_apart(chosen: InputSettings, output_dir: Path) -> None:
    """Refuse results among the images, where the next run would take them for images, and images that are results.

    Results may lie among the images of a table: whatever it does not name is no image.

    Raises:
        ConfigError: `output_dir` is or lies in the folder of images, or that in `categorized_images/` of `output_dir`.
    """
    ads_dir = chosen.ads_dir
    if not isinstance(ads_dir, Path):
        return
    if ads_dir.resolve().is_relative_to(output_dir.resolve()) and "categorized_images" in ads_dir.resolve().parts:
        raise ConfigError(
            f"--ads_dir {ads_dir} holds links that a run into {output_dir} makes and removes; choose others"
        )
    if chosen.images is None and output_dir.resolve().is_relative_to(ads_dir.resolve()):
        raise ConfigError(f"--output_dir {output_dir} lies inside --ads_dir {ads_dir}; choose a folder outside of it")


def check_has_images(directory: RunDirectory) -> None:
    """Refuse to caption images where captions were imported.

    Raises:
        ConfigError: the folder holds an import.
    """
    if is_imported(directory):
        raise ConfigError(
            f"{directory.path} holds captions or texts that were imported; {own_command(directory)} goes on with them, "
            f"ictc recluster --source_dir {directory.path} clusters them in other ways, and ictc run needs another "
            "--output_dir"
        )


def check_same_track(directory: RunDirectory, track: Track) -> None:
    """Refuse to mix two tracks in one folder.

    Raises:
        ConfigError: the folder holds another track.
    """
    held = directory.load_run_info().get("track", track.name)
    if held != track.name:
        raise ConfigError(
            f"{directory.path} holds a run of track {held}; give track {track.name} a folder of its own, "
            f"such as --shard_id {track.directory}"
        )
