"""With which settings the rejected images of run directories are tried again, and where another command must do it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ictc.config import RunSettings
from ictc.runs.imported import is_imported, own_command
from ictc.runs.reader import find_run_directories
from ictc.runs.settings import load_flags, load_settings
from ictc.storage.manifest import find_manifest
from ictc.storage.rundir import RunDirectory


def explain_refusal(directory: RunDirectory, others: Iterable[RunDirectory] = ()) -> str:
    """Return why the results in `directory` can't be retried there and what will do it, "" if they can.

    Args:
        others: what is retried besides.
    """
    info, path = directory.load_run_info(), directory.path
    if is_imported(directory):
        return (
            f"{path}: its captions were imported, so no image can be tried again; of Steps 2a and 3, its own command "
            f"with --retry_rejected tries again what was rejected: {own_command(directory)} --retry_rejected"
        )
    if source := info.get("reclustered_from"):
        return (
            f"{path}: its captions are those of {source}: ictc retry {source}, then its own ictc recluster command "
            "again, with --retry_rejected"
        )
    shards = info.get("merged_from", ())
    manifest = find_manifest(directory.manifest_path)
    is_partial = manifest is not None and "missing" in manifest.key
    if is_partial or {Path(shard).resolve() for shard in shards} & {one.path.resolve() for one in others}:
        return f"{path}: it was merged: ictc retry {' '.join(shards)}, then its own ictc merge command again"
    return ""


def settings_to_retry(directories: Sequence[RunDirectory], **overrides: Any) -> Iterator[RunSettings]:
    """Yield the settings of each run to repeat; tracks that share each request are one run, whichever is named.

    Raises:
        ConfigError: there are no settings, or they are not valid (any more).
    """
    done: set[Path] = set()
    for directory in directories:
        settings = load_settings(directory, **overrides, combine_tracks=False)
        root = directory.path.resolve().parent
        tracks = combined_tracks(directory)
        if not tracks:
            yield settings
        elif root not in done:
            done.add(root)
            shared = {"output_dir": directory.path.parent, "track": ",".join(tracks), "combine_tracks": True}
            yield load_settings(directory, **overrides, **shared)


def combined_tracks(directory: RunDirectory) -> list[str]:
    """Return the tracks that shared each request about an image with that of `directory`, in order; [] if none did."""
    flags = load_flags(directory)
    if not flags.get("combine_tracks"):
        return []
    beside = [one.load_run_info().get("track_source", "") for one in find_run_directories([directory.path.parent])]
    by_file = {Path(source).name: source for source in beside}  # of a user's own track, the whole path
    return [by_file.get(Path(name.strip()).name, name.strip()) for name in str(flags["track"]).split(",")]
