"""How often the odd one is told, with Wilson's interval. Knows triples and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ictc.analytics.intervals import wilson_interval
from ictc.intrusion.drawing import Triple

Told = Sequence[tuple[Triple, bool | None]]
"""Each triple with whether its odd one was told; None where no answer was valid."""


def score_together(told: Told) -> dict[str, Any]:
    """Return how many were asked and right, the share and its interval of 95 %; null where nothing was answered."""
    answers = [right for _, right in told if right is not None]
    asked, right = len(answers), sum(answers)
    if not asked:
        return {"asked": 0, "right": 0, "share": None, "low": None, "high": None}
    low, high = wilson_interval(right, asked)
    return {"asked": asked, "right": right, "share": right / asked, "low": float(low), "high": float(high)}


def score_clusters(told: Told, *, names: Sequence[str], cluster_of: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return a row a cluster, the worst first; last those that could not be asked about.

    Args:
        told: the triples of one level.
        names: of its clusters.
        cluster_of: the number of each image's cluster.
    """
    sizes = Counter(cluster_of.values())
    of_cluster: dict[int, list[tuple[Triple, bool | None]]] = {}
    for triple, right in told:
        of_cluster.setdefault(triple.cluster, []).append((triple, right))
    rows = [
        {"cluster": name, "images": sizes[code], **score_together(of_cluster.get(code, []))}
        for code, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: (row["share"] is None, row["share"] or 0.0, row["cluster"]))
