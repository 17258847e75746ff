"""`ictc merge`: the shards of a collection become one run directory, and are clustered once, together (D1)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from ictc.config import RunSettings
from ictc.errors import ConfigError
from ictc.pipeline import approve, closing_on_error, finish_runs, load_given_clusters, run_steps
from ictc.records import NONE_GIVEN, GivenClusters
from ictc.runs.adoption import adopt_manifest, adopt_step
from ictc.runs.locking import hold_locks
from ictc.runs.opening import open_track
from ictc.runs.parts import (
    Part,
    check_finished,
    count_left_out,
    count_missing,
    iter_merged,
    open_part,
    order_parts,
    steps_of_a_part,
    steps_over_the_whole,
)
from ictc.runs.plan import check_preconditions
from ictc.runs.reader import find_run_directories
from ictc.runs.reporter import Reporter
from ictc.runs.settings import held_track, load_settings
from ictc.runs.summary import TrackSummary
from ictc.runs.track_run import TrackRun
from ictc.steps.base import ReduceStep
from ictc.steps.table import STEPS
from ictc.storage.keys import StageKey
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory

NOT_OF_THE_WHOLE = ("start_index", "end_index", "num_shards", "shard_index", "steps", "force_steps")


@dataclass(frozen=True, kw_only=True)
class MergeRequest:
    """What `ictc merge` was asked for.

    Attributes:
        allow_missing: go on without shards and images that are not done, and mark the answer as partial.
        cluster: whether the steps over the whole collection follow.
        overrides: settings by flag that differ from those of the shards.
    """

    shards: Sequence[Path]
    output_dir: Path
    allow_missing: bool = False
    cluster: bool = True
    overrides: Mapping[str, Any] = field(default_factory=dict)


async def merge_shards(
    shards: Sequence[RunDirectory], request: MergeRequest, reporter: Reporter, stop: asyncio.Event
) -> list[TrackSummary]:
    """Merge shards, track by track, and return what came out.

    Raises:
        ConfigError: the shards don't make up one collection, or are not finished.
        IctcError: one line for the user.
        Interrupted: `stop` was set; the same command goes on.
    """
    tracks = group_by_track(shards)
    targets = [
        RunDirectory(request.output_dir / directory if len(tracks) > 1 else request.output_dir) for directory in tracks
    ]
    groups = [gather(parts, request) for parts in tracks.values()]
    async with hold_locks(targets, reporter, stop):
        settings = [settings_of_merge(*pair, request) for pair in zip(targets, groups, strict=True)]
        runs = [
            build_run(*each, request=request, reporter=reporter, stop=stop)
            for each in zip(settings, targets, groups, strict=True)
        ]
        with closing_on_error(runs):
            for run, parts in zip(runs, groups, strict=True):
                check_complete(run, parts)
            if not request.cluster:
                return await finish_runs(runs, partial(export_adopted, runs))
            await approve(runs, reporter, stop)
        return await finish_runs(runs, partial(run_steps, runs, settings[0], stop))


async def export_adopted(runs: Sequence[TrackRun]) -> None:
    """Write the files of what was put together, where that is all that was asked for."""
    for run in runs:
        for step in steps_of_a_part():
            run.finish(step)


def check_given_once(shards: Sequence[Path]) -> None:
    """Refuse a shard that is named twice: another one was meant.

    Raises:
        ConfigError: naming it.
    """
    seen: set[Path] = set()
    for shard in shards:
        if shard.resolve() in seen:
            raise ConfigError(f"{shard} is given twice; is another shard missing?")
        seen.add(shard.resolve())


def find_shards(request: MergeRequest) -> list[RunDirectory]:
    """Return the run directories to merge: all at and below what was named, but for the results of this very merge.

    Raises:
        ConfigError: there are none, or the results would go into one of them.
    """
    check_given_once(request.shards)
    output_dir, named = request.output_dir.resolve(), {shard.resolve() for shard in request.shards}
    shards = []
    for found in find_run_directories(request.shards, nested=False):
        path = found.path.resolve()
        if output_dir in named or (path != output_dir and output_dir.is_relative_to(path)):
            raise ConfigError(f"--output_dir {request.output_dir} is or lies in a shard, which is only read")
        if not path.is_relative_to(output_dir):
            shards.append(found)
    if not shards:
        raise ConfigError(f"there is no shard beside --output_dir {request.output_dir}")
    return shards


def group_by_track(directories: Sequence[RunDirectory]) -> dict[str, list[RunDirectory]]:
    """Return the shards of each track, under the name of the track's folder."""

    def folder(directory: RunDirectory) -> str:
        return held_track(directory).directory

    return {name: list(group) for name, group in groupby(sorted(directories, key=folder), key=folder)}


def gather(directories: Sequence[RunDirectory], request: MergeRequest) -> list[Part]:
    """Return the shards of one track in the order of their ranges.

    Raises:
        ConfigError: they don't make up one collection.
    """
    return order_parts([open_part(directory) for directory in directories], allow_missing=request.allow_missing)


def check_complete(run: TrackRun, parts: Sequence[Part]) -> None:
    """Refuse shards that have something left to do.

    Raises:
        ConfigError: naming them.
    """
    try:
        check_preconditions(run)
    except ConfigError:
        for part in parts:
            check_finished(part)
        raise


def settings_of_merge(target: RunDirectory, parts: Sequence[Part], request: MergeRequest) -> RunSettings:
    """Return the settings that the shards in `parts` are clustered with."""
    others = (*NOT_OF_THE_WHOLE, "clusters", *(("levels",) if "num_clusters" in request.overrides else ()))
    overrides = dict.fromkeys(others) | dict(request.overrides)
    return load_settings(parts[0].directory, **overrides, output_dir=target.path)


def build_run(
    settings: RunSettings,
    target: RunDirectory,
    parts: Sequence[Part],
    *,
    request: MergeRequest,
    reporter: Reporter,
    stop: asyncio.Event,
) -> TrackRun:
    """Put the shards together in `target`, and return the run that clusters them."""
    reporter.note(f"Merging {len(parts)} shards into {target.path}")
    manifest = merge_manifests(target, parts, allow_missing=request.allow_missing)
    for step in steps_of_a_part():
        adopt_step(target, [part.directory for part in parts], step, parts[0].key(step))
    info = parts[0].directory.load_run_info()
    criterion = settings.clustering.criterion or info["criterion"]
    return open_track(
        settings,
        track=held_track(parts[0].directory),
        criterion=criterion,
        directory=target,
        manifest=manifest,
        reporter=reporter,
        stop=stop,
        given=load_given_clusters(settings.clustering) or adopt_given(target, parts),
        steps=steps_over_the_whole(settings.clustering, redo_texts=criterion != info["criterion"]),
        origin={"merged_from": [part.name for part in parts]},
    )


def merge_manifests(target: RunDirectory, parts: Sequence[Part], *, allow_missing: bool) -> Manifest:
    """Return the list of all images: that of a run that was never divided, unless something is missing."""
    key = {**parts[0].manifest.key, "start": 0, "end": None}
    if allow_missing and (missing := count_missing(parts)):
        key["missing"] = missing
    list_images = partial(iter_merged, parts, only_finished=allow_missing)
    return adopt_manifest(target, key, list_images, lambda: count_left_out(parts))


def adopt_given(target: RunDirectory, parts: Sequence[Part]) -> GivenClusters:
    """Take over what the shards made with clusters that were given to all of them; return those, if there are any."""
    directories = [part.directory for part in parts]
    given = NONE_GIVEN
    for step in STEPS:
        key = directories[0].current_key(step.name)
        if key is None or not step.of_a_part_if_given:
            continue
        if isinstance(step, ReduceStep):
            given = given_to_all(directories, step, key)
        if given:
            adopt_step(target, directories, step, key)
    return given


def given_to_all(directories: Sequence[RunDirectory], step: ReduceStep[Any], key: StageKey) -> GivenClusters:
    """Return the clusters that were given to all of these runs, none if they were made or differ."""
    result = step.load(directories[0].result_path(step.name, key))
    if result is None or any(one.current_key(step.name) != key for one in directories):
        return NONE_GIVEN
    return step.given_for(key, result)
