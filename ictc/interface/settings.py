"""Settings given by name, as keyword arguments are, made into what the work takes: the names and errors of the flags.

A setting that is None is left out, as a flag is that is not there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ictc.config import ControlSettings, EngineSettings, RunSettings
from ictc.config.base import SettingsGroup, explicit
from ictc.config.errors import describe_invalid
from ictc.config.levels import AUTO, MAX_CLUSTERS, MIN_CLUSTERS, NumClusters, parse_num_clusters
from ictc.config.run import GROUPS
from ictc.dataset.catalog.table import is_table
from ictc.dataset.fetching.locations import is_url
from ictc.errors import ConfigError
from ictc.recluster import ReclusterRequest
from ictc.report.options import PageOptions
from ictc.suggesting.options import SampledImages, SuggestOptions
from ictc.suggesting.request import SuggestRequest

Place = str | os.PathLike[str]
"""A folder or file of this machine, or a URL."""

OF_RUN = {name for group in GROUPS.values() for name in group.model_fields} - {"images", "output_dir", "upload_url"}
"""The settings of `ictc run` beside those that say where."""

OF_CLUSTERS = (
    "criterion",
    "levels",
    "max_clusters",
    "clusters",
    "top_hooks",
    "synthesize_runs",
    "guide",
    "allow_none",
    "multi_label",
    "assign_target",
    "assign_delta",
    "evidence",
)
OWN_OF_RECLUSTER = ("track", "num_clusters", "redo_2a", "keep_labels", *OF_CLUSTERS)
OF_RECLUSTER = {*OWN_OF_RECLUSTER, *EngineSettings.model_fields, *ControlSettings.model_fields}
"""The settings of `ictc recluster` beside those that say where."""

OF_SUGGEST = {
    *(set(SampledImages.model_fields) - {"images"}),
    *SuggestOptions.model_fields,
    *EngineSettings.model_fields,
    *ControlSettings.model_fields,
}
"""The settings of `ictc suggest` beside those that say where."""

DEFAULT_NUM_CLUSTERS = "10"
"""Of `ictc recluster`."""


class LabelChoice(SettingsGroup):
    """What `ictc recluster` does with labels; here, so that "no" is no yes."""

    redo_2a: bool = False
    keep_labels: bool = False


def build_run(images: Place, *, output_dir: Place, given: Mapping[str, Any]) -> RunSettings:
    """Return the settings of `ictc run` with these images.

    Args:
        images: what `--ads_dir` or `--images` takes; a table goes to the latter.
        given: further settings by name.

    Raises:
        ConfigError: a setting is unknown, out of its range, or contradicts another.
    """
    given = gather(given)
    check_names(given, known=OF_RUN)
    place = to_location(images, name="images")
    is_list = names_table(place)
    if "ads_dir" in given and not is_list:
        raise ConfigError(f"ads_dir {given['ads_dir']}: images says where the images are, {place}; leave out ads_dir")
    flags = {
        "images" if is_list else "ads_dir": place,
        "output_dir": to_location(output_dir, name="output_dir"),
        **given,
    }
    with telling_invalid():
        settings = RunSettings.from_flags(flags)
    if len(tracks := (settings.clustering.track or "").split(",")) > 1:
        raise ConfigError(
            f"--track {settings.clustering.track}: a Run is of one track; call cluster for each of the "
            f"{len(tracks)}, with an output_dir of its own"
        )
    return settings


def names_table(place: Path | str) -> bool:
    """Whether a location is a table of images rather than the place where they lie, told by its name or the disk."""
    if isinstance(place, Path) and place.is_dir():
        return False
    is_other_file = isinstance(place, Path) and place.is_file() and place.suffix.lower() != ".tar"
    return is_table(str(place)) or is_other_file


def build_recluster_by_name(source_dir: Path, *, output_dir: Place, given: Mapping[str, Any]) -> ReclusterRequest:
    """Return what `ictc recluster` would be asked for.

    Args:
        given: further settings by name.

    Raises:
        ConfigError: a setting is unknown, out of its range, or contradicts another.
    """
    given = gather(given)
    check_names(given, known=OF_RECLUSTER)
    with telling_invalid():
        engine = EngineSettings(**choose(given, EngineSettings.model_fields))
        control = ControlSettings(**choose(given, ControlSettings.model_fields))
        labels = LabelChoice(**choose(given, LabelChoice.model_fields))
    num_clusters = given.get("num_clusters")
    is_nested = isinstance(num_clusters, list | tuple)
    request = build_recluster(
        source_dir=source_dir,
        output_dir=Path(to_location(output_dir, name="output_dir")),
        track=None if (track := given.get("track")) is None else str(track),
        num_clusters=None if num_clusters is None else to_text(num_clusters),
        is_nested=is_nested or "levels" in given,
        redo_2a=labels.redo_2a,
        keep_labels=labels.keep_labels,
        overrides={
            **choose(given, OF_CLUSTERS),
            **explicit(engine),
            **explicit(control),
        },
    )
    if len(request.num_clusters) > 1:
        raise ConfigError(
            f"--num_clusters {num_clusters}: a Run has one K; call recluster for each, with an output_dir of its own, "
            "or give a list for nested levels"
        )
    return request


def build_suggest(source: Place, *, is_run: bool, output_dir: Place | None, given: Mapping[str, Any]) -> SuggestRequest:
    """Return what `ictc suggest` would be asked for.

    Args:
        source: images as `--ads_dir` or `--images` takes them, or a run directory.
        given: further settings by name.

    Raises:
        ConfigError: a setting is unknown, out of its range, or contradicts another.
    """
    given = gather(given)
    check_names(given, known=OF_SUGGEST)
    place = to_location(source, name="images")
    if not is_run:
        given |= {"images" if names_table(place) else "ads_dir": place}
    with telling_invalid():
        images = SampledImages(**choose(given, SampledImages.model_fields))
        options = SuggestOptions(**choose(given, SuggestOptions.model_fields))
        engine = EngineSettings(**choose(given, EngineSettings.model_fields))
        control = ControlSettings(**choose(given, ControlSettings.model_fields))
    return SuggestRequest(
        output_dir=None if output_dir is None else Path(to_location(output_dir, name="output_dir")),
        source_dir=Path(place) if is_run else None,
        images=explicit(images),
        options=options,
        overrides={**explicit(engine), **explicit(control)},
    )


def build_recluster(
    *,
    source_dir: Path,
    output_dir: Path,
    track: str | None,
    num_clusters: str | None,
    is_nested: bool,
    redo_2a: bool,
    keep_labels: bool,
    overrides: Mapping[str, Any],
) -> ReclusterRequest:
    """Return what `ictc recluster` is asked for.

    Args:
        num_clusters: K, or several, separated by commas.
        is_nested: whether several are the levels of one run, and not a run each.
        overrides: settings by flag that differ from those of the source.

    Raises:
        ConfigError: they contradict each other.
    """
    if redo_2a and keep_labels:
        raise ConfigError("--redo_2a and --keep_labels contradict each other; give one of them")
    are_given = "clusters" in overrides
    if are_given and num_clusters is not None:
        raise ConfigError("--clusters says how many clusters there are; leave out --num_clusters")
    parse = parse_nested if is_nested else parse_numbers
    return ReclusterRequest(
        source_dir=source_dir,
        output_dir=output_dir,
        track=track,
        num_clusters=() if are_given else parse(num_clusters or DEFAULT_NUM_CLUSTERS),
        redo_labels=True if redo_2a else False if keep_labels else None,
        overrides=overrides,
    )


def to_text(num_clusters: Any) -> str:
    """Return as text what `--num_clusters` takes."""
    return ",".join(map(str, num_clusters)) if isinstance(num_clusters, list | tuple) else str(num_clusters)


def parse_nested(text: str) -> tuple[NumClusters, ...]:
    """Return the numbers of "5,20,80" as those of the levels of one run.

    Raises:
        ConfigError: something else stands there, or a number twice.
    """
    parse_numbers(text)
    try:
        return (parse_num_clusters(text),)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def parse_numbers(text: str) -> tuple[NumClusters, ...]:
    """Return the numbers of "5,7,10", each once, in order; "auto" stands alone.

    Raises:
        ConfigError: something else stands there.
    """
    if text.strip().lower() == AUTO:
        return (AUTO,)
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and MIN_CLUSTERS <= int(part) <= MAX_CLUSTERS for part in parts):
        raise ConfigError(
            f"--num_clusters {text}: must be a number from {MIN_CLUSTERS} to {MAX_CLUSTERS}, several, such as 5,7,10, "
            "or auto"
        )
    return tuple(dict.fromkeys(map(int, parts)))


def build_page_options(given: Mapping[str, Any]) -> PageOptions:
    """Return what goes into a page.

    Raises:
        ConfigError: an option is out of its range.
    """
    with telling_invalid():
        return PageOptions(**gather(given))


def to_location(place: Place, *, name: str) -> Path | str:
    """Return a URL as text and anything else as a path, "~" being the user's folder.

    Args:
        name: what the user calls it.

    Raises:
        ConfigError: it is neither text nor a path, or empty.
    """
    if not isinstance(place, str | os.PathLike):
        raise ConfigError(f"{name} must be a path or a URL, as text or as a Path, not a {type(place).__name__}")
    text = os.fsdecode(place)
    if not text.strip():
        raise ConfigError(f"{name} is empty; give a path or a URL")
    return text if is_url(text) else Path(text).expanduser()


def check_names(given: Iterable[str], *, known: Collection[str]) -> None:
    """Refuse a setting that there is not.

    Raises:
        ConfigError: naming it and the nearest ones.
    """
    for name in given:
        if name not in known:
            near = get_close_matches(name, sorted(known))
            hint = f"did you mean {' or '.join(near)}?" if near else "ictc run --help lists them"
            raise ConfigError(f"{name} is no setting here; {hint}")


def choose(given: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return those of the settings that have one of these names."""
    return {name: value for name, value in given.items() if name in names}


def gather(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are given, paths as text, as which any setting may be written."""
    return {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in given.items()
        if value is not None
    }


@contextmanager
def telling_invalid() -> Iterator[None]:
    """Turn what the block's settings object to into one line.

    Raises:
        ConfigError: they are not valid.
    """
    try:
        yield
    except ValidationError as error:
        raise ConfigError(describe_invalid(error)) from None
