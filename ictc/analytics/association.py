"""How two ways of sorting the same items depend on each other, from the table of their counts.

Knows contingency tables: data frames of counts, one row and one column a category. Knows nothing of runs or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats


def contingency_table(
    rows: npt.ArrayLike, columns: npt.ArrayLike, weights: npt.NDArray[np.int64] | None = None
) -> pd.DataFrame:
    """Count how often each pair of categories occurs.

    Args:
        rows: category of each item, shape (N,). Categories of a categorical column that never occur are kept.
        columns: another category of the same items, shape (N,).
        weights: how many items each entry stands for, shape (N,); 1 if None.

    Returns:
        Counts, shape (R, C). Items with an unknown category on either side are left out.
    """
    first, second = pd.Categorical(rows), pd.Categorical(columns)
    known = (first.codes >= 0) & (second.codes >= 0)
    shape = len(first.categories), len(second.categories)
    cells = first.codes[known].astype(np.int64) * shape[1] + second.codes[known]
    counts = np.zeros(shape[0] * shape[1], dtype=np.int64)
    np.add.at(counts, cells, 1 if weights is None else weights[known])
    return pd.DataFrame(counts.reshape(shape), index=first.categories, columns=second.categories)


def expected_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the counts that the margins of `table` would give if rows and columns were independent, shape (R, C)."""
    counts = table.to_numpy()
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total if total else np.zeros(counts.shape)
    return pd.DataFrame(expected, index=table.index, columns=table.columns)


def lift(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many times more often each pair occurs than under independence, shape (R, C).

    observed / expected = P(row, column) / (P(row) P(column)), every probability over all items of `table` (Brin et al.
    1997, SIGMOD, "interest"). NaN where a row or a column is empty.
    """
    return table / expected_counts(table).replace(0.0, math.nan)


@dataclass(frozen=True, kw_only=True)
class ChiSquare:
    """Pearson's test of independence and the strength of the association.

    Attributes:
        cramers_v: √(χ² / (N · min(R - 1, C - 1))) (Cramér 1946, p. 282), in [0, 1].
        cramers_v_corrected: without the bias that makes small samples look associated (Bergsma 2013, J. Korean
            Statistical Society 42).
        expected: counts under independence, shape (R, C) without empty rows and columns, as all that follow.
        residuals: standardized (Pearson) residuals (O - E) / √E.
        adjusted_residuals: those over their standard error √((1 - row share)(1 - column share)), standard normal under
            independence (Haberman 1973, Biometrics 29).
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float
    num_items: int
    cramers_v: float
    cramers_v_corrected: float
    expected: pd.DataFrame
    residuals: pd.DataFrame
    adjusted_residuals: pd.DataFrame

    @property
    def is_approximate(self) -> bool:
        """Whether more than a fifth of the cells expect fewer than 5 items, so that p is rough (Cochran 1954)."""
        return bool((self.expected.to_numpy() < 5).mean() > 0.2)


def chi_square(table: pd.DataFrame) -> ChiSquare:
    """Test whether rows and columns of `table` are independent, without Yates' correction.

    Empty rows and columns are left out. With fewer than two of either left, nothing can be associated: both V are NaN.

    Raises:
        ValueError: the table has no items.
    """
    observed = table.loc[table.any(axis=1), table.any(axis=0)]
    outcome = stats.chi2_contingency(observed.to_numpy(), correction=False)
    total = int(observed.to_numpy().sum())
    expected = pd.DataFrame(outcome.expected_freq, index=observed.index, columns=observed.columns)
    residuals = (observed - expected) / np.sqrt(expected)
    row_rest = 1 - observed.sum(axis=1).to_numpy() / total
    column_rest = 1 - observed.sum(axis=0).to_numpy() / total
    with np.errstate(invalid="ignore"):
        adjusted = residuals / np.sqrt(np.outer(row_rest, column_rest))
    return ChiSquare(
        statistic=float(outcome.statistic),
        degrees_of_freedom=int(outcome.dof),
        p_value=float(outcome.pvalue),
        num_items=total,
        cramers_v=cramers_v(float(outcome.statistic), total, observed.shape),
        cramers_v_corrected=cramers_v_corrected(float(outcome.statistic), total, observed.shape),
        expected=expected,
        residuals=residuals,
        adjusted_residuals=adjusted,
    )


def cramers_v(statistic: float, num_items: int, shape: tuple[int, int]) -> float:
    """Return Cramér's V, NaN where a side has one category."""
    smaller = min(shape) - 1
    return math.sqrt(statistic / (num_items * smaller)) if smaller > 0 else math.nan


def cramers_v_corrected(statistic: float, num_items: int, shape: tuple[int, int]) -> float:
    """Return the bias-corrected Cramér's V (Bergsma 2013), NaN where a side has one category."""
    rows, columns = shape
    if min(shape) < 2 or num_items < 2:
        return math.nan
    bias = (rows - 1) * (columns - 1) / (num_items - 1)
    corrected_rows = rows - (rows - 1) ** 2 / (num_items - 1)
    corrected_columns = columns - (columns - 1) ** 2 / (num_items - 1)
    smaller = min(corrected_rows, corrected_columns) - 1
    return math.sqrt(max(0.0, statistic / num_items - bias) / smaller) if smaller > 0 else math.nan
