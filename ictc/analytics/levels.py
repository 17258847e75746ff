"""Nested clusters in tables: which cluster of each level an image is in. Knows levels and clusters, and no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ictc.errors import ConfigError
from ictc.records import ClusterLevel
from ictc.steps.synthesis.levels import find_ancestors, find_paths

PREFIX = "level."
"""Of the columns that have the cluster of each level."""


def find_level(levels: Sequence[str], name: str, *, where: str) -> int:
    """Return the place of a level, from 0.

    Args:
        levels: their names.
        where: what has these levels, for people.

    Raises:
        ConfigError: there is none of this name.
    """
    places = {level.casefold(): place for place, level in enumerate(levels)}
    place = places.get(name.strip().casefold())
    if place is None:
        has = f"has the levels {', '.join(levels)}" if levels else "has no levels; leave out --level"
        raise ConfigError(f"--level {name}: {where} {has}")
    return place


def lift(clusters: pd.Series, levels: Sequence[ClusterLevel], place: int) -> pd.Series:
    """Return the cluster of each image on a level, as an ordered category.

    Args:
        clusters: of the finest level, as an ordered category in the order of its clusters.
    """
    codes = _lift_codes(clusters, levels, place)
    names = [one.name for one in levels[place].clusters]
    return pd.Series(pd.Categorical.from_codes(codes, categories=names, ordered=True), index=clusters.index)


def lift_ids(clusters: pd.Series, levels: Sequence[ClusterLevel], place: int) -> pd.Series:
    """Return the number of the cluster of each image on a level, null where no cluster fits."""
    ids = pd.Series(_lift_codes(clusters, levels, place) + 1, index=clusters.index)
    return ids.astype("Int32").mask(ids == 0) if (ids == 0).any() else ids.astype("int32")


def lift_sets(fitting: pd.Series, levels: Sequence[ClusterLevel], place: int) -> pd.Series:
    """Return all clusters of a level that fit each image, the best first.

    Args:
        fitting: those of the finest level, likewise, as lists of names.
    """
    names = {path[-1]: path[place] for path in find_paths(levels).values()}
    return fitting.map(lambda finest: list(dict.fromkeys(names[name] for name in finest)))


def level_columns(clusters: pd.Series, levels: Sequence[ClusterLevel], *, besides: int) -> Mapping[str, pd.Series]:
    """Return the columns that have the cluster of each level but one, the coarsest first."""
    return {
        PREFIX + level.name: lift(clusters, levels, place) for place, level in enumerate(levels) if place != besides
    }


def _lift_codes(clusters: pd.Series, levels: Sequence[ClusterLevel], place: int) -> npt.NDArray[np.int64]:
    """Return the place of each image's cluster on a level, -1 where no cluster fits, shape (number of images,)."""
    of_finest = np.array([ancestors[place] for ancestors in find_ancestors(levels)], np.int64) - 1
    codes: npt.NDArray[np.int64] = np.append(of_finest, -1)[clusters.cat.codes.to_numpy()]
    return codes
