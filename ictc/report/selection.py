"""The one run that a command is about."""

from __future__ import annotations

from pathlib import Path

from ictc.analytics.results import RunResults, find_results, load_results
from ictc.errors import ConfigError


def load_single(directory: Path, *, level: str | None = None) -> RunResults:
    """Read the results in `directory`, or of the only track in it.

    Args:
        level: of nested clusters, the one that the results are to be about; None for the finest.

    Raises:
        ConfigError: there are none, or those of several tracks, or there is no such level.
        StorageError: a file is damaged.
    """
    first, *others = find_results([directory])
    if others:
        names = ", ".join(str(path) for path in (first, *others))
        raise ConfigError(f"{directory} holds several results; name one of {names}")
    results = load_results(first, level=level)
    if results.rows.empty:
        raise ConfigError(f"{first}: no image has a cluster, so there is nothing to show")
    return results
