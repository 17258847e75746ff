"""Makes the run of one track from the settings of a command: the one place where settings become what steps need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ictc.config import ClusteringSettings, RunSettings
from ictc.records import NONE_GIVEN, GivenClusters, Guide
from ictc.runs.guide_file import load_guide_file
from ictc.runs.manifests import ManifestKeeper
from ictc.runs.models import find_models, load_models
from ictc.runs.progress import RecordingReporter
from ictc.runs.reporter import Reporter
from ictc.runs.track_run import TrackRun
from ictc.steps.base import Step
from ictc.steps.config import StepConfig
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import Track
from ictc.tracks.rules import with_rules


def open_track(
    settings: RunSettings,
    *,
    track: Track,
    criterion: str,
    directory: RunDirectory,
    manifest: Manifest,
    reporter: Reporter,
    stop: asyncio.Event,
    steps: tuple[Step, ...],
    given: GivenClusters = NONE_GIVEN,
    combined: str = "",
    has_imported_labels: bool = False,
    title_prefix: str = "",
    origin: Mapping[str, Any] | None = None,
    keeper: ManifestKeeper | None = None,
) -> TrackRun:
    """Return the run of one track; nothing is read of what is there.

    Args:
        given: clusters to take instead of making some.
        combined, has_imported_labels: as in `StepConfig`.
        title_prefix, origin, keeper: as in `TrackRun`.
    """
    engine, seed = settings.engine, settings.control.seed
    models = find_models([engine.model_spec("vlm", seed), engine.model_spec("llm", seed)])
    noted = load_models(directory)
    changed = {name: now for name, now in models.items() if noted.get(name, now) != now}
    return TrackRun(
        config=make_config(
            settings,
            track=track,
            criterion=criterion,
            given=given,
            combined=combined,
            has_imported_labels=has_imported_labels,
            changed_models=changed,
        ),
        control=settings.control,
        engine=engine,
        steps=steps,
        directory=directory,
        manifest=manifest,
        reporter=RecordingReporter(reporter, directory),
        stop=stop,
        flags=settings.to_flags(),
        models=models,
        title_prefix=title_prefix,
        wants_report=settings.wants_report,
        origin=origin or {},
        keeper=keeper,
    )


def load_given_guide(clustering: ClusteringSettings) -> Guide:
    """Return what `--guide` says, nothing if there is none.

    Raises:
        ConfigError: the file is broken.
    """
    if clustering.guide is None:
        return Guide()
    return load_guide_file(clustering.guide, allow_none=clustering.allow_none)


def make_config(
    settings: RunSettings,
    *,
    track: Track,
    criterion: str,
    given: GivenClusters = NONE_GIVEN,
    combined: str = "",
    has_imported_labels: bool = False,
    changed_models: Mapping[str, str] | None = None,
) -> StepConfig:
    """Return what the results of a track's steps depend on, under these settings."""
    engine, control, clustering = settings.engine, settings.control, settings.clustering
    makes_rules = clustering.evidence and not given
    return StepConfig(
        track=with_rules(track, groups_first=clustering.num_proposals > 1) if makes_rules else track,
        criterion=criterion,
        num_clusters=len(given.definitions) or clustering.most_clusters,
        chooses_number=clustering.chooses_number,
        levels=() if given else clustering.level_sizes,
        num_labels=clustering.num_labels,
        num_proposals=clustering.num_proposals,
        guide=load_given_guide(clustering),
        vlm=engine.model_spec("vlm", control.seed),
        llm=engine.model_spec("llm", control.seed),
        seed=control.seed,
        changed_models=changed_models or {},
        given=given.definitions,
        given_levels=given.levels,
        combined=combined,
        dedupe=control.dedupe,
        allow_none=clustering.allow_none,
        multi_label=clustering.multi_label,
        assign_target=clustering.assign_target if clustering.assign_target != 1 else None,
        assign_delta=clustering.assign_delta,
        evidence=clustering.evidence,
        is_part=settings.input.is_part,
        has_imported_labels=has_imported_labels,
    )
