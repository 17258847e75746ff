"""Clusterings of the same images side by side: how balanced each is, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from ictc.analytics.balance import measure_balance
from ictc.analytics.ensemble import fold, pairwise_agreement
from ictc.analytics.results import RunResults


def compare_clusterings(runs: Sequence[RunResults]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the balance of each run, with its sizes, and the agreement of each two runs.

    Raises:
        ConfigError: images of a run may be in several clusters.
        InputError: the runs have no image in common.
    """
    ensemble = fold(runs)
    rows = []
    for name in ensemble.names:
        sizes = sorted(ensemble.cluster_sizes(name), reverse=True)
        rows.append({"run": name, **asdict(measure_balance(sizes)), "sizes": " ".join(map(str, sizes))})
    return pd.DataFrame(rows), pairwise_agreement(ensemble)
