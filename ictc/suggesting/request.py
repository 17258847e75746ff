"""What `ictc suggest` is asked for, and what is found out of it before anything is captioned or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ictc.config import EngineSettings, RunSettings
from ictc.config.groups import user_folder
from ictc.errors import ConfigError
from ictc.pipeline import check_apart
from ictc.recluster import ReclusterRequest, Target, find_source, settings_for
from ictc.runs.context import check_context, count_need, size_context
from ictc.runs.imported import is_imported
from ictc.runs.opening import make_config
from ictc.runs.settings import held_track, load_settings, make_settings
from ictc.steps.assign import ASSIGN
from ictc.steps.base import Step
from ictc.steps.config import StepConfig
from ictc.steps.synthesize import SYNTHESIZE
from ictc.storage.keys import digest
from ictc.storage.rundir import RunDirectory
from ictc.suggesting.commands import command_for_images, command_for_run
from ictc.suggesting.options import SuggestOptions
from ictc.tracks import Track, load_track

ANY_ASPECT = "whatever such images may be sorted by: subject, purpose, people, style, mood, place, words"
"""What the sample is captioned for, as nobody knows yet what it will be sorted by."""
TEXT_STEPS: tuple[Step, ...] = (SYNTHESIZE, ASSIGN)
"""The steps that a criterion is tried with, of those that take more context the more values it has."""
SAMPLED_FROM = "sampled_from"
"""What `run.json` of a sample has beside what those of other runs have."""
NOT_HERE = ("steps", "force_steps", "combine_tracks")


@dataclass(frozen=True, kw_only=True)
class SuggestRequest:
    """What `ictc suggest` was asked for.

    Attributes:
        output_dir: None for a folder of this user's that is the same for the same source.
        source_dir: of the run whose captions are the sample, None if images are.
        track: which track of that run; None if it holds one only.
        images: settings by flag that say which images, {} if a run is the source.
        overrides: settings of models and control by flag.
    """

    output_dir: Path | None = None
    source_dir: Path | None = None
    track: str | None = None
    images: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    options: SuggestOptions = field(default_factory=SuggestOptions)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What criteria are suggested for.

    Attributes:
        settings: as they were given; `sized` with room in the context for all values.
        run: whose captions are the sample; None if images are drawn and captioned.
        target: where the suggestions go.
        track: asks for captions, labels and values.
        config: what the answers depend on, but the criterion.
    """

    request: SuggestRequest
    settings: RunSettings
    sized: RunSettings
    run: RunDirectory | None
    target: RunDirectory
    track: Track
    config: StepConfig

    @property
    def seed(self) -> int:
        """Seed of the sample and of every request."""
        return self.settings.control.seed

    def command_for(self, criterion: str) -> str:
        """Return the command that clusters all of it by a criterion.

        A run by a question of its track's own has captions and prompts for that, so its images are looked at again.
        """
        if self.run is None:
            return command_for_images(self.settings, criterion)
        models = {name: value for name, value in self.request.overrides.items() if name in EngineSettings.model_fields}
        if held_track(self.run).name == self.track.name or is_imported(self.run):
            return command_for_run(str(self.run.path), criterion=criterion, overrides=models)
        return command_for_images(load_settings(self.run, **models), criterion)


def open_source(request: SuggestRequest) -> Source:
    """Return what criteria are suggested for; nothing is written or loaded yet.

    Raises:
        ConfigError: the request is impossible, or something else lies where the suggestions are to go.
    """
    check_request(request)
    place = request.source_dir or request.images.get("images") or request.images["ads_dir"]
    target = RunDirectory(request.output_dir or default_output_dir(place))
    run, settings = (
        (None, _settings_for_images(request, target)) if request.source_dir is None else _open_run(request, target)
    )
    check_target(target)
    track = track_for(run)
    config = make_config(settings, track=track, criterion="")
    need = count_need(TEXT_STEPS, config, request.options.num_images)
    assert need is not None
    check_context(settings.engine, TEXT_STEPS, need)
    sized = settings.model_copy(update={"engine": size_context(settings.engine, [need])})
    return Source(request=request, settings=settings, sized=sized, run=run, target=target, track=track, config=config)


def check_request(request: SuggestRequest) -> None:
    """Refuse what can't work whatever the source.

    Raises:
        ConfigError: with what to change.
    """
    has_images = any(request.images.get(name) is not None for name in ("ads_dir", "images"))
    if has_images == (request.source_dir is not None):
        raise ConfigError("give either images (--ads_dir, --images) or a run (--source_dir)")
    if request.track is not None and request.source_dir is None:
        raise ConfigError("--track names a track of --source_dir; leave it out")
    for flag in NOT_HERE:
        if request.overrides.get(flag):
            raise ConfigError(f"--{flag}: there are no such steps or tracks here; leave it out")
    options = request.options
    check_size(f"--num_images {options.num_images}", options.num_images, num_values=options.num_clusters)


def check_size(what: str, num_images: int, *, num_values: int) -> None:
    """Refuse a sample without an image for each value in either half.

    Args:
        what: how many there are, for people.

    Raises:
        ConfigError: it is too small.
    """
    if num_images < (least := 2 * num_values):
        raise ConfigError(
            f"{what} can't show how well {num_values} values split them; give at least {least}, or lower --num_clusters"
        )


def _settings_for_images(request: SuggestRequest, target: RunDirectory) -> RunSettings:
    own = {
        "output_dir": target.path,
        "track": "general",
        "num_clusters": request.options.num_clusters,
        "criterion": ANY_ASPECT,
    }
    settings = make_settings({**request.images, **request.overrides, **own})
    check_apart(settings.input, target.path)
    return settings


def _open_run(request: SuggestRequest, target: RunDirectory) -> tuple[RunDirectory, RunSettings]:
    assert request.source_dir is not None
    asked = ReclusterRequest(
        source_dir=request.source_dir,
        output_dir=target.path,
        track=request.track,
        num_clusters=(request.options.num_clusters,),
        overrides={"top_hooks": None, **request.overrides},
    )
    run = find_source(asked)
    if not isinstance(run, RunDirectory):
        raise ConfigError(f"{request.source_dir} is a directory of the reference; import it first: ictc import")
    return run, settings_for(run, Target(directory=target, num_clusters=request.options.num_clusters), asked)


def track_for(run: RunDirectory | None) -> Track:
    """Return the track whose prompts are about any criterion: that of the run if it is one of these, else `general`."""
    held = None if run is None else held_track(run)
    return load_track("general") if held is None or held.criterion is not None else held


def check_target(target: RunDirectory) -> None:
    """Refuse to put a sample where a run is.

    Raises:
        ConfigError: something else lies there.
    """
    info = target.load_run_info()
    if info and SAMPLED_FROM not in info:
        raise ConfigError(f"{target.path} holds a run; choose another --output_dir")


def default_output_dir(source: Path | str) -> Path:
    """Return where the sample of a source is kept if nobody says."""
    place = source if isinstance(source, str) else str(source.resolve())
    return user_folder("state") / "suggest" / f"{Path(place).name[-40:]}-{digest(place)[:12]}"
