"""The settings that a run directory was made with, for commands that go on with it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from ictc.config import RunSettings
from ictc.config.errors import describe_invalid
from ictc.errors import ConfigError
from ictc.steps.base import Step
from ictc.steps.choice import choose_steps
from ictc.storage.manifest import find_manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import Track, load_track


def held_track(directory: RunDirectory) -> Track:
    """Return the track of a run directory.

    Raises:
        TrackError: its module is gone or faulty.
    """
    return load_track(directory.load_run_info().get("track_source", "marketing"))


def load_flags(directory: RunDirectory) -> dict[str, Any]:
    """Return the settings of the command whose run is in `directory`, by flag.

    Raises:
        ConfigError: there are none.
    """
    path = directory.path / "config.yaml"
    try:
        flags = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); give the --output_dir of a run that has begun") from None
    if not isinstance(flags, dict):
        raise ConfigError(f"{path} holds no settings; run the command of that run once more to write them again")
    return flags


def steps_of(settings: RunSettings) -> tuple[Step, ...]:
    """Return the steps that a command is to run.

    Raises:
        ConfigError: they are none, or can't be run so.
    """
    given = settings.clustering.clusters is not None
    return choose_steps(settings.control, settings.clustering, is_part=settings.input.is_part, given=given)


def load_settings(directory: RunDirectory, **overrides: Any) -> RunSettings:
    """Return the settings of the run in `directory`, made to mean that folder and the images it was about.

    Args:
        overrides: settings to change; None unsets one.

    Raises:
        ConfigError: there are no settings, or they are not valid (any more).
    """
    path = directory.path / "config.yaml"
    flags = load_flags(directory)
    flags |= {"output_dir": directory.path, "shard_id": None, "track": directory.load_run_info().get("track_source")}
    flags |= {"work_dir": None, "upload_url": None}  # of the folder that this one may lie in, which remembers it
    manifest = find_manifest(directory.manifest_path)
    if manifest is not None:
        flags |= {name: manifest.key[name] for name in ("ads_dir", "images") if manifest.key.get(name)}
    if overrides.get("clusters") is not None:
        for name in ("num_clusters", "levels", "guide"):  # the file says it
            flags.pop(name, None)
    flags |= overrides
    known = {flag: value for flag, value in flags.items() if value is not None}
    settings = make_settings(known, f"{path}: ", given=overrides)
    steps_of(settings)
    return settings


def make_settings(flags: Mapping[str, Any], where: str = "", *, given: Collection[str] = ()) -> RunSettings:
    """Return the settings that flags stand for.

    Args:
        where: what an error begins with, unless it is about flags alone that were `given` beside it.

    Raises:
        ConfigError: they are not valid.
    """
    try:
        return RunSettings.from_flags(flags)
    except ValidationError as error:
        problem = describe_invalid(error)
        named = set(re.findall(r"--(\w+)", problem))
        raise ConfigError(problem if named and named <= set(given) else where + problem) from None
