"""`ictc recluster`: other clusters for images that were captioned before, without looking at them again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ictc.config import RunSettings
from ictc.config.levels import NumClusters
from ictc.errors import ConfigError
from ictc.importing.reference import Reference, is_reference
from ictc.importing.run import Clustering, build_settings, import_into, open_reference
from ictc.pipeline import approve, closing_on_error, finish_runs, load_given_clusters, run_steps
from ictc.runs.adoption import adopt_manifest, adopt_step, drop_adopted
from ictc.runs.imported import is_imported
from ictc.runs.locking import hold_locks
from ictc.runs.opening import open_track
from ictc.runs.parts import steps_of_a_part, steps_over_the_whole
from ictc.runs.plan import check_preconditions
from ictc.runs.reader import find_run_directories, is_run_directory
from ictc.runs.reporter import Reporter
from ictc.runs.settings import held_track, load_settings
from ictc.runs.summary import TrackSummary
from ictc.runs.track_run import TrackRun
from ictc.storage.manifest import Manifest, find_manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import load_track

NOT_ADOPTED = ("steps", "force_steps", "clusters", "levels", "retry_rejected")
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"vlm_model": "Qwen/Qwen3.5-9B", "llm_model": None, "batch_llm": 64}
}
"""What is taken unless given here: texts need a smaller model than images. What the source was told of texts holds."""


@dataclass(frozen=True, kw_only=True)
class ReclusterRequest:
    """What `ictc recluster` was asked for.

    Attributes:
        track: which track of the source; None if it holds one only.
        num_clusters: every K to make clusters for, or "auto"; () for that of the source, or of clusters that are given.
        redo_labels: make labels again whatever there is; None: only for a new criterion.
        overrides: settings by flag that differ from those of the source.
    """

    source_dir: Path
    output_dir: Path
    track: str | None = None
    num_clusters: Sequence[NumClusters] = ()
    redo_labels: bool | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def targets(self) -> list[Target]:
        """Return where the result for each K goes."""
        if len(self.num_clusters) <= 1:
            k = self.num_clusters[0] if self.num_clusters else None
            return [Target(directory=RunDirectory(self.output_dir), num_clusters=k)]
        return [
            Target(directory=RunDirectory(self.output_dir / f"k{k}"), num_clusters=k, title_prefix=f"K={k}: ")
            for k in self.num_clusters
        ]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the result for one K goes; `num_clusters` None stands for the source's."""

    directory: RunDirectory
    num_clusters: NumClusters | None
    title_prefix: str = ""


async def recluster_source(
    source: RunDirectory | Reference, request: ReclusterRequest, reporter: Reporter, stop: asyncio.Event
) -> list[TrackSummary]:
    """Cluster the captions of a finished run, or of the reference, again; return what came out, a summary for each K.

    Raises:
        ConfigError: the source is unfinished.
        IctcError: one line for the user.
        Interrupted: `stop` was set; the same command goes on.
    """
    targets = request.targets()
    async with hold_locks([target.directory for target in targets], reporter, stop):
        settings = [settings_for(source, target, request) for target in targets]
        runs: list[TrackRun] = []
        with closing_on_error(runs):
            for each, target in zip(settings, targets, strict=True):
                runs.append(await open_run(each, source, target, request=request, reporter=reporter, stop=stop))
            for run in runs:
                check_preconditions(run)
            await approve(runs, reporter, stop)
        return await finish_runs(runs, partial(run_steps, runs, settings[0], stop))


def find_source(request: ReclusterRequest) -> RunDirectory | Reference:
    """Return the run directory, or the directory of the reference, whose captions are clustered again.

    Raises:
        ConfigError: there is none, or none of that track, or it can't be told which, or the results would go into it.
    """
    if is_reference(request.source_dir) and not is_run_directory(request.source_dir):
        return open_reference(request.source_dir, output_dir=request.output_dir)
    source = _choose_track(request)
    if request.output_dir.resolve().is_relative_to(source.path.resolve()):
        raise ConfigError(f"--output_dir {request.output_dir} lies in {source.path}, the source, never written to")
    return source


def _choose_track(request: ReclusterRequest) -> RunDirectory:
    found = {held_track(one).name: one for one in find_run_directories([request.source_dir], nested=False)}
    wanted = None if request.track is None else load_track(request.track).name
    if wanted is None and len(found) == 1:
        return next(iter(found.values()))
    if wanted is None or wanted not in found:
        raise ConfigError(f"{request.source_dir} holds {', '.join(found)}; name one of them with --track")
    return found[wanted]


def settings_for(source: RunDirectory | Reference, target: Target, request: ReclusterRequest) -> RunSettings:
    """Return the settings of the run that makes clusters for one K."""
    if isinstance(source, RunDirectory):
        return load_settings(source, **build_overrides(source, target, request))
    overrides = {**DEFAULTS.get(request.overrides.get("engine") or "vllm", {}), **request.overrides}
    overrides |= {"track": request.track} if request.track is not None else {}
    overrides |= {"num_clusters": target.num_clusters} if target.num_clusters is not None else {}
    return build_settings(source, target.directory, overrides)


async def open_run(
    settings: RunSettings,
    source: RunDirectory | Reference,
    target: Target,
    *,
    request: ReclusterRequest,
    reporter: Reporter,
    stop: asyncio.Event,
) -> TrackRun:
    """Put what is reused into the target, and return the run that goes on from it."""
    if isinstance(source, RunDirectory):
        return build_run(settings, source, target, request=request, reporter=reporter, stop=stop)
    chosen = Clustering(
        settings=settings,
        keeps_labels=None if request.redo_labels is None else not request.redo_labels,
        title_prefix=target.title_prefix,
    )
    return await import_into(source, target.directory, chosen, reporter, stop)


def build_run(
    settings: RunSettings,
    source: RunDirectory,
    target: Target,
    *,
    request: ReclusterRequest,
    reporter: Reporter,
    stop: asyncio.Event,
) -> TrackRun:
    """Copy what is reused into the target, and return the run that goes on from it."""
    directory, info = target.directory, source.load_run_info()
    criterion = settings.clustering.criterion or info["criterion"]
    redo_labels = criterion != info["criterion"] if request.redo_labels is None else request.redo_labels
    redo_labels = redo_labels or lacks_texts(source)
    manifest = copy_manifest(source, directory)
    steps = steps_over_the_whole(settings.clustering, redo_texts=redo_labels)
    for step in steps_of_a_part():
        if step in steps:
            drop_adopted(directory, step)
            continue
        key = source.current_key(step.name)
        if key is None:
            raise ConfigError(f"{source.path}: the {step.name} step has not begun there; finish that run first")
        adopt_step(directory, [source], step, key)
    return open_track(
        settings,
        track=held_track(source),
        criterion=criterion,
        directory=directory,
        manifest=manifest,
        reporter=reporter,
        stop=stop,
        title_prefix=target.title_prefix,
        given=load_given_clusters(settings.clustering),
        steps=steps,
        origin={"reclustered_from": str(source.path)},
    )


def lacks_texts(source: RunDirectory) -> bool:
    """Whether an import took what images say and no more, so that there is nothing else to finish."""
    texts = (step for step in steps_of_a_part() if not step.reads_images)
    return is_imported(source) and any(source.current_key(step.name) is None for step in texts)


def build_overrides(source: RunDirectory, target: Target, request: ReclusterRequest) -> dict[str, Any]:
    """Return the settings by flag that differ from those of the source; None stands for the default."""
    overrides = {**dict.fromkeys(NOT_ADOPTED), **request.overrides, "output_dir": target.directory.path}
    if target.num_clusters is not None:
        overrides["num_clusters"] = target.num_clusters
    settings = load_settings(source).engine
    engine = overrides.get("engine") or settings.engine
    defaults = dict(DEFAULTS.get(engine, {}))
    if engine == settings.engine and settings.batch_llm is not None:
        defaults.pop("batch_llm", None)
    if engine == settings.engine and not settings.is_unified and overrides.get("vlm_model") is None:
        defaults = {name: value for name, value in defaults.items() if not name.endswith("model")}
    return {**defaults, **overrides}


def copy_manifest(source: RunDirectory, target: RunDirectory) -> Manifest:
    """Return the source's list of images, copied.

    Raises:
        ConfigError: the source has none.
    """
    manifest = find_manifest(source.manifest_path)
    if manifest is None:
        raise ConfigError(f"{source.path}: Step 0 has not finished there; finish that run first")
    return adopt_manifest(target, manifest.key, lambda: manifest, lambda: manifest.left_out)
