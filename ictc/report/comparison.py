"""How the runs of a page compare: how even each is, and how far each two agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ictc.analytics.agreement import adjusted_rand_index, normalized_mutual_information
from ictc.analytics.association import contingency_table, lift
from ictc.analytics.balance import Balance, measure_balance
from ictc.report.clusters import clip
from ictc.report.reading import RunReport


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a contingency table.

    Attributes:
        share: of the row's images.
        lift: how many times more often the two clusters meet than if they were independent.
    """

    count: int
    share: float
    lift: float


@dataclass(frozen=True, kw_only=True)
class PairComparison:
    """Two runs over the images that both have in a cluster.

    Attributes:
        rows: the clusters of the first run, each with its cells in the order of `columns`.
    """

    first: str
    second: str
    num_images: int
    ari: float
    nmi: float
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Comparison:
    """All runs of a page side by side."""

    balances: list[tuple[str, Balance]]
    pairs: list[PairComparison]


def compare_runs(runs: Sequence[RunReport], names: Sequence[str]) -> Comparison | None:
    """Compare the runs; None for a single one."""
    if len(runs) < 2:
        return None
    pairs = [compare_pair(runs[i], runs[j], (names[i], names[j])) for i, j in combinations(range(len(runs)), 2)]
    return Comparison(
        balances=[(name, measure_balance(run.sizes)) for name, run in zip(names, runs, strict=True)],
        pairs=[pair for pair in pairs if pair is not None],
    )


def compare_pair(first: RunReport, second: RunReport, names: tuple[str, str]) -> PairComparison | None:
    """Compare two runs; None if they have no image in common, or their clusters overlap."""
    if first.results.is_several or second.results.is_several:
        return None
    columns = second.results.rows.set_index("image_id")["cluster"]
    common = first.results.rows[first.results.rows["image_id"].isin(columns.index)]
    if common.empty:
        return None
    table = contingency_table(common["cluster"].array, columns.loc[common["image_id"]].array)
    return PairComparison(
        first=names[0],
        second=names[1],
        num_images=len(common),
        ari=adjusted_rand_index(table),
        nmi=normalized_mutual_information(table),
        columns=[clip(str(name), 120) for name in table.columns],
        rows=build_rows(table),
    )


def build_rows(table: pd.DataFrame) -> list[tuple[str, list[Cell]]]:
    """Return the table's cells by row; shares and lifts of empty rows are 0."""
    shares = table.div(table.sum(axis=1).replace(0, np.nan), axis=0).fillna(0.0)
    lifts = lift(table).fillna(0.0)
    return [
        (
            clip(str(name), 120),
            [
                Cell(count=count, share=share, lift=times)
                for count, share, times in zip(table.loc[name], shares.loc[name], lifts.loc[name], strict=True)
            ],
        )
        for name in table.index
    ]
