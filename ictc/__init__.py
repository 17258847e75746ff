"""Cluster large image collections by a criterion written in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ictc.version import __version__

if TYPE_CHECKING:
    from ictc.interface.run import Run, cluster, suggest
    from ictc.interface.run import open_run as open  # noqa: A004 - as gzip.open and Image.open are called

__all__ = ["Run", "__version__", "cluster", "open", "suggest"]

_NAMES_IN_RUN = {"Run": "Run", "cluster": "cluster", "open": "open_run", "suggest": "suggest"}


def __getattr__(name: str) -> Any:
    """Import the interface when it is first asked for, so that the import of a part of ictc stays a light one."""
    if name not in _NAMES_IN_RUN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ictc.interface import run

    return getattr(run, _NAMES_IN_RUN[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
