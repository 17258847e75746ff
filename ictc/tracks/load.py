"""Finds the track that `--track` names: a built-in one, by name or number, or a user's Python file."""

from __future__ import annotations

import importlib.util
import traceback
from dataclasses import replace
from pathlib import Path

from ictc.errors import ConfigError, TrackError
from ictc.tracks import cultural, general, identity, marketing, texts
from ictc.tracks.base import Track

BUILT_IN_TRACKS: tuple[Track, ...] = (
    marketing.TRACK,
    identity.TRACK,
    cultural.TRACK,
    general.TRACK,
    texts.TRACK,
)


def load_track(name: str) -> Track:
    """Return the track called `name`: "marketing", "1", or the path of a file that defines `TRACK`.

    Raises:
        ConfigError: there is no such track.
        TrackError: the file can't be loaded or defines no track.
    """
    for track in BUILT_IN_TRACKS:
        if name.lower() in (track.name, str(track.number)):
            return track
    if name.endswith(".py"):
        return load_track_file(Path(name))
    known = ", ".join(f"{track.name} ({track.number})" if track.number else track.name for track in BUILT_IN_TRACKS)
    raise ConfigError(f"--track {name}: no such track; choose {known}, or a file such as my_track.py")


def load_track_file(path: Path) -> Track:
    """Return the `TRACK` that the Python file at `path` defines. The file is trusted: it is run.

    Raises:
        ConfigError: there is no such file.
        TrackError: running it raised, or it defines no `TRACK`.
    """
    if not path.is_file():
        raise ConfigError(f"--track {path}: no such file")
    spec = importlib.util.spec_from_file_location(f"ictc_user_track_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except TrackError as error:
        raise TrackError(f"--track {path}{_line_in(error, path)}: {error}") from error
    except Exception as error:
        raise TrackError(f"--track {path}{_line_in(error, path)}: {type(error).__name__}: {error}") from error
    track = getattr(module, "TRACK", None)
    if not isinstance(track, Track):
        raise TrackError(f"--track {path}: it must define TRACK = Track(...); see docs/tracks.md")
    return replace(track, source=str(path.resolve()))


def _line_in(error: Exception, path: Path) -> str:
    """Return ":line" of the last place in `path` that `error` passed through, "" if it never did."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return f":{lines[-1]}" if lines else ""
