"""Where the time of a step went, in shares and in words."""

from __future__ import annotations

from collections.abc import Mapping

from ictc.records import Wait

GROUPS: Mapping[str, Mapping[Wait, str]] = {
    "engine full": {Wait.ENGINE: ""},
    "last answers": {Wait.LAST_ANSWERS: ""},
    "waiting for images": {Wait.DOWNLOADS: "downloads", Wait.DISK: "disk", Wait.DECODING: "decoding"},
    "main process": {Wait.MAIN_PROCESS: ""},
    "journal": {Wait.JOURNAL: ""},
    "waiting for the service": {Wait.OUTAGE: "images", Wait.PAUSE: "model", Wait.RESTART: "engine restarts"},
    "waiting for the cluster": {Wait.CLUSTER: ""},
}
"""What is told as one, by its name, with the names of its parts."""

LEAST_TOLD = 0.0051
"""Half a percent is rounded to none."""


def shares_of(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each part in all of the time, in [0, 1] with three digits."""
    total = sum(seconds.values())
    return {wait: round(spent_s / total, 3) for wait, spent_s in seconds.items()} if total else {}


def describe_waits(shares: Mapping[str, float], computing: float | None) -> str:
    """Return where the time went, the largest share first; what is less than half a percent is left out.

    Args:
        computing: share of the time that the main thread computed, None if that is not known.

    >>> describe_waits({"engine": 0.93, "downloads": 0.04, "decoding": 0.01, "journal": 0.018, "disk": 0.002}, 0.12)
    'engine full 93%, waiting for images 5% (downloads 4%, decoding 1%), journal 2%; the main thread computed 12%'
    """
    sums = {group: sum(shares.get(wait, 0.0) for wait in parts) for group, parts in GROUPS.items()}
    told = sorted((group for group in sums if sums[group] >= LEAST_TOLD), key=lambda group: -sums[group])
    waits = ", ".join(f"{group} {sums[group]:.0%}{_describe_parts(shares, GROUPS[group])}" for group in told)
    return waits if computing is None else f"{waits}; the main thread computed {computing:.0%}"


def _describe_parts(shares: Mapping[str, float], parts: Mapping[Wait, str]) -> str:
    named = {name: shares.get(wait, 0.0) for wait, name in parts.items() if name}
    told = sorted((name for name in named if named[name] >= LEAST_TOLD), key=lambda name: -named[name])
    return f" ({', '.join(f'{name} {named[name]:.0%}' for name in told)})" if told else ""
