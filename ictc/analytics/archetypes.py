"""Archetypes: combinations of the clusters of several tracks that ads have more often than chance would give."""

from __future__ import annotations

import pandas as pd

from ictc.analytics.ensemble import Ensemble


def find_archetypes(ensemble: Ensemble) -> pd.DataFrame:
    """Return every combination of clusters that occurs, the most frequent first.

    Returns:
        A row a combination: the cluster of each track; `count` and `share`; `expected`, the count that the product of
        the clusters' shares would give, as if the tracks were independent; and `lift`, the count over it. The base of
        every share is the same: the images that have a cluster in all tracks.
    """
    expected = pd.Series(float(ensemble.num_images), index=ensemble.groups.index)
    for name in ensemble.names:
        shares = ensemble.cluster_sizes(name) / ensemble.num_images
        expected *= ensemble.groups[name].map(shares).astype(float)
    columns = {
        "count": ensemble.sizes,
        "share": ensemble.sizes / ensemble.num_images,
        "expected": expected,
        "lift": ensemble.sizes / expected,
    }
    archetypes = ensemble.groups.assign(**columns)
    return archetypes.sort_values(["count", "lift"], ascending=False, kind="stable", ignore_index=True)
