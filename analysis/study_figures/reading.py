"""Reads a study and counts what its figures are drawn from.

Knows runs, tracks and contingency tables; knows nothing of figures. What a study lacks is `Unavailable`,
with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import pandas as pd

from ictc.analytics.association import contingency_table
from ictc.analytics.ensemble import fold
from ictc.analytics.results import RunResults, find_results, load_results
from ictc.errors import ConfigError, InputError

TRACK_ORDER = ("marketing", "identity", "cultural")
COLUMNS = ("image_id", "platform", "ad_format", "label")
MOST_PLATFORMS = 7
MOST_FORMATS = 20
OTHER_PLATFORMS = "other platforms"
OTHER_FORMATS = "other formats"


class Unavailable(Exception):
    """The study lacks what a figure shows; the text says what, in a few words."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two clusterings of the same images.

    Attributes:
        table: images by cluster of the first (rows) and of the second (columns).
    """

    first: str
    second: str
    table: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Study:
    """The runs of a study, by track and K."""

    runs: dict[tuple[str, int], RunResults]

    @cached_property
    def tracks(self) -> list[str]:
        """The tracks that there are, the built-in ones first."""
        return list(dict.fromkeys(track for track, _ in self.runs))

    @cached_property
    def ks(self) -> list[int]:
        """One K or two, in ascending order."""
        return sorted({k for _, k in self.runs})

    @property
    def small_k(self) -> int:
        return self.ks[0]

    @property
    def large_k(self) -> int:
        """The larger of two K.

        Raises:
            Unavailable: all runs have the same K.
        """
        if len(self.ks) < 2:
            raise Unavailable(f"all results have K={self.small_k}; it needs two K")
        return self.ks[1]

    def runs_at(self, k: int) -> dict[str, RunResults]:
        """Return the runs with this K by track."""
        return {track: self.runs[track, k] for track in self.tracks if (track, k) in self.runs}

    def run_of(self, track: str, k: int | None = None) -> RunResults:
        """Return a run of a track, the one with the smallest K if None.

        Raises:
            Unavailable: there is none.
        """
        ks = [k] if k is not None else self.ks
        found = next((self.runs[track, k] for k in ks if (track, k) in self.runs), None)
        if found is None:
            raise Unavailable(f"no results of the track {track}" + (f" at K={k}" if k is not None else ""))
        return found

    @cached_property
    def images(self) -> pd.DataFrame:
        """Every image of the collection once, clustered or not: "image_id", "platform" and "ad_format"."""
        columns = ["image_id", "platform", "ad_format"]
        runs = [self.run_of(track) for track in self.tracks]
        parts = [part[columns] for run in runs for part in (run.rows, run.filtered)]
        return pd.concat([part for part in parts if not part.empty]).drop_duplicates("image_id", ignore_index=True)

    @cached_property
    def platforms(self) -> list[str]:
        """The platforms by falling number of images.

        Raises:
            Unavailable: the results name none.
        """
        return self._frequent("platform", MOST_PLATFORMS, OTHER_PLATFORMS)

    @cached_property
    def formats(self) -> list[str]:
        """The ad formats by falling number of images.

        Raises:
            Unavailable: the results name none.
        """
        return self._frequent("ad_format", MOST_FORMATS, OTHER_FORMATS)

    def _frequent(self, column: str, most: int, other: str) -> list[str]:
        names = list(_known(self.images[column]).value_counts().index)
        if not names:
            raise Unavailable(f"no image has a {column}")
        return names if len(names) <= most else [*names[: most - 1], other]

    def platform_of(self, rows: pd.DataFrame) -> pd.Categorical:
        """Return the platform of each row, among `platforms`."""
        return _sort_into(rows["platform"], self.platforms, OTHER_PLATFORMS)

    def format_of(self, rows: pd.DataFrame) -> pd.Categorical:
        """Return the ad format of each row, among `formats`."""
        return _sort_into(rows["ad_format"], self.formats, OTHER_FORMATS)

    def platform_table(self, run: RunResults) -> pd.DataFrame:
        """Return the ads of a run by cluster (rows) and platform (columns); platforms without ads are left out.

        Raises:
            Unavailable: its ads are of fewer than two platforms.
        """
        table = contingency_table(run.rows["cluster"], self.platform_of(run.rows))
        table = table.loc[:, table.any()]
        if table.shape[1] < 2:
            raise Unavailable("the ads are of one platform; it compares several")
        return table

    @cached_property
    def track_pairs(self) -> list[Pair]:
        """Each two tracks at the smaller K.

        Raises:
            Unavailable: there are fewer than two tracks.
        """
        runs = self.runs_at(self.small_k)
        if len(runs) < 2:
            raise Unavailable(f"only one track at K={self.small_k}; it compares several")
        return [_pair(runs[first], runs[second], first, second) for first, second in combinations(runs, 2)]

    @cached_property
    def k_pairs(self) -> list[Pair]:
        """The smaller and the larger K of each track that has both; `first` and `second` are the track.

        Raises:
            Unavailable: no track has two K.
        """
        small, large = self.runs_at(self.small_k), self.runs_at(self.large_k)
        both = [track for track in self.tracks if track in small and track in large]
        if not both:
            raise Unavailable("no track has results at both K")
        return [_pair(small[track], large[track], track, track) for track in both]


def _pair(first: RunResults, second: RunResults, first_name: str, second_name: str) -> Pair:
    try:
        ensemble = fold([first, second])
    except InputError as error:
        raise Unavailable(f"{first.name} and {second.name} have no image in common") from error
    return Pair(first_name, second_name, ensemble.table(*ensemble.names))


def _known(values: pd.Series) -> pd.Series:
    return values[values.notna() & (values != "")]


def _sort_into(values: pd.Series, names: Sequence[str], other: str) -> pd.Categorical:
    """Return the values as categories, those that are not among `names` as `other`."""
    known = _known(values)
    kept = known.where(known.isin(names), other).reindex(values.index)
    return pd.Categorical(kept, categories=names)


def load_study(directories: Sequence[Path]) -> Study:
    """Read the results in `directories` and in the folders directly inside them.

    Raises:
        ConfigError: there are none, one has no rows, there are two of one track and K, or there are more than two K.
        StorageError: a file is damaged.
    """
    runs: dict[tuple[str, int], RunResults] = {}
    for path in find_results(directories):
        run = load_results(path, COLUMNS)
        if run.rows.empty:
            raise ConfigError(f"{path}: no image has a cluster; leave this folder out")
        earlier = runs.setdefault((run.track, run.num_clusters), run)
        if earlier is not run:
            raise ConfigError(f"{earlier.directory} and {path} are both {run.name}; name one of them")
    if len(ks := sorted({k for _, k in runs})) > 2:
        raise ConfigError(f"these results have K={', '.join(map(str, ks))}; name the folders of one K or of two")
    return Study(dict(sorted(runs.items(), key=_place)))


def _place(item: tuple[tuple[str, int], RunResults]) -> tuple[int, str, int]:
    track, k = item[0]
    return (TRACK_ORDER.index(track) if track in TRACK_ORDER else len(TRACK_ORDER)), track, k
