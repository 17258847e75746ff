"""Several runs over the same images, folded: images with the same cluster in every run become one group.

A few runs have few distinct combinations of clusters, so what follows works on groups and their sizes, whatever the
number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ictc.analytics.agreement import measure_agreement
from ictc.analytics.association import contingency_table
from ictc.analytics.ids import match_ids
from ictc.analytics.results import RunResults, name_runs
from ictc.errors import InputError


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The images that have a cluster in all runs.

    Attributes:
        image_ids: in the order of the first run, shape (N,).
        group_of: row of `groups` for each image, shape (N,).
        groups: the distinct combinations of clusters, one categorical column a run, shape (T, R).
        sizes: number of images in each group, shape (T,).
        num_left_out: how many images have a cluster in some but not in all runs.
    """

    image_ids: pd.Index
    group_of: npt.NDArray[np.intp]
    groups: pd.DataFrame
    sizes: npt.NDArray[np.int64]
    num_left_out: int

    @property
    def names(self) -> list[str]:
        """The runs, each by a name of its own."""
        return list(self.groups.columns)

    @property
    def num_images(self) -> int:
        return len(self.image_ids)

    def table(self, first: str, second: str) -> pd.DataFrame:
        """Return how many images each pair of clusters of two runs shares, shape (K1, K2)."""
        return contingency_table(self.groups[first], self.groups[second], self.sizes)

    def cluster_sizes(self, name: str) -> pd.Series:
        """Return the size of each cluster of a run, empty ones included, shape (K,)."""
        return pd.Series(self.sizes).groupby(self.groups[name].array, observed=False).sum()


def fold(runs: Sequence[RunResults]) -> Ensemble:
    """Fold the images of `runs` by their clusters.

    Args:
        runs: with the column "image_id"; ids that differ from those of the first in Unicode form alone are those.

    Raises:
        InputError: no image has a cluster in all runs.
        ConfigError: images of a run may be in several clusters.
    """
    for run in runs:
        run.check_partition()
    names = name_runs(runs)
    columns = [run.rows.set_index("image_id")["cluster"].rename(name) for run, name in zip(runs, names, strict=True)]
    columns = [columns[0], *(one.rename(index=match_ids(one.index, columns[0].index)) for one in columns[1:])]
    joined = pd.concat(columns, axis=1, join="inner")
    if joined.empty:
        raise InputError(f"no image has a cluster in all of {', '.join(names)}; give runs over the same images")
    num_images = len(reduce(lambda ids, more: ids.union(more, sort=False), (column.index for column in columns)))
    group_of = joined.groupby(names, observed=True).ngroup().to_numpy()
    _, first_of_group, sizes = np.unique(group_of, return_index=True, return_counts=True)
    return Ensemble(
        image_ids=joined.index,
        group_of=group_of,
        groups=joined.iloc[first_of_group].reset_index(drop=True),
        sizes=sizes,
        num_left_out=num_images - len(joined),
    )


def pairwise_agreement(ensemble: Ensemble) -> pd.DataFrame:
    """Return how far each two runs agree: a row a pair with the fields of `Agreement`."""
    rows = [
        {"first": first, "second": second, **asdict(measure_agreement(ensemble.table(first, second)))}
        for first, second in combinations(ensemble.names, 2)
    ]
    return pd.DataFrame(rows)
