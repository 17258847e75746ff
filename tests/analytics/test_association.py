"""Chi-square, Cramér's V, residuals and lift, against SciPy, the reference study and what holds for any table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from ictc.analytics.association import chi_square, contingency_table, cramers_v, lift

COUNTS = arrays(np.int64, st.tuples(st.integers(2, 5), st.integers(2, 5)), elements=st.integers(1, 40))


@settings(max_examples=40)
@given(COUNTS)
def test_chi_square_and_v_are_those_of_scipy(counts: np.ndarray) -> None:
    test = chi_square(pd.DataFrame(counts))
    expected = stats.chi2_contingency(counts, correction=False)
    assert test.statistic == pytest.approx(((counts - expected.expected_freq) ** 2 / expected.expected_freq).sum())
    assert test.p_value == pytest.approx(expected.pvalue)
    assert test.cramers_v == pytest.approx(stats.contingency.association(counts, method="cramer"), abs=1e-12)
    assert 0 <= test.cramers_v_corrected <= test.cramers_v + 1e-9


@pytest.mark.parametrize(
    ("statistic", "num_ads", "printed"), [(2706, 76_434, ".109"), (2512, 79_220, ".103"), (4779, 79_525, ".142")]
)
def test_v_of_the_reference_study_from_its_chi_square(statistic: float, num_ads: int, printed: str) -> None:
    """Four platforms, five clusters; .1415 is printed as .142."""
    assert cramers_v(statistic, num_ads, (4, 5)) == pytest.approx(float(printed), abs=6e-4)


@settings(max_examples=40)
@given(COUNTS)
def test_squared_residuals_add_up_to_chi_square(counts: np.ndarray) -> None:
    test = chi_square(pd.DataFrame(counts))
    assert (test.residuals.to_numpy() ** 2).sum() == pytest.approx(test.statistic)


@settings(max_examples=40)
@given(arrays(np.int64, (2, 2), elements=st.integers(1, 60)))
def test_each_adjusted_residual_of_a_fourfold_table_is_the_root_of_chi_square(counts: np.ndarray) -> None:
    test = chi_square(pd.DataFrame(counts))
    assert test.adjusted_residuals.to_numpy() ** 2 == pytest.approx(np.full((2, 2), test.statistic), abs=1e-9)


def test_adjusted_residuals_are_standard_normal_under_independence() -> None:
    rng = np.random.default_rng(7)
    draws = [
        chi_square(contingency_table(rng.choice(3, 400), rng.choice(4, 400))).adjusted_residuals for _ in range(200)
    ]
    assert np.std(draws) == pytest.approx(1, abs=0.05)


def test_the_corrected_v_of_unrelated_columns_is_nearly_0_where_the_plain_one_is_not() -> None:
    rng = np.random.default_rng(7)
    tests = [chi_square(contingency_table(rng.choice(8, 120), rng.choice(8, 120))) for _ in range(50)]
    assert np.mean([test.cramers_v for test in tests]) > 0.2
    assert np.mean([test.cramers_v_corrected for test in tests]) < 0.07


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_independent_margins_show_no_association(rows: list[int], columns: list[int]) -> None:
    table = pd.DataFrame(np.outer(rows, columns))
    assert chi_square(table).cramers_v == pytest.approx(0, abs=1e-7)
    assert lift(table).to_numpy() == pytest.approx(np.ones(table.shape))


def test_lift_is_the_observed_over_the_expected_share_of_all_items() -> None:
    table = pd.DataFrame([[30, 10], [10, 50]], index=["a", "b"], columns=["x", "y"])
    assert lift(table).at["a", "x"] == pytest.approx(0.3 / (0.4 * 0.4))
    assert lift(pd.DataFrame([[3, 0], [2, 0]])).isna().to_numpy().tolist() == [[False, True], [False, True]]


def test_empty_rows_do_not_count_and_a_single_column_has_no_association() -> None:
    table = pd.DataFrame([[5, 9], [8, 2], [0, 0]], index=list("abc"))
    assert chi_square(table).cramers_v == pytest.approx(chi_square(table.loc[["a", "b"]]).cramers_v)
    assert list(chi_square(table).residuals.index) == ["a", "b"]
    alone = chi_square(pd.DataFrame([[5], [8]]))
    assert np.isnan(alone.cramers_v)
    assert np.isnan(alone.cramers_v_corrected)
    assert alone.degrees_of_freedom == 0


def test_a_table_counts_known_pairs_and_keeps_categories_that_never_occur() -> None:
    clusters = pd.Categorical(["b", "a", "b", None], categories=["b", "a", "never"])
    platforms = pd.Series(["TikTok", "TikTok", None, "YouTube"])
    table = contingency_table(clusters, platforms)
    assert list(table.index) == ["b", "a", "never"]
    assert table.to_numpy().tolist() == [[1, 0], [1, 0], [0, 0]]
    assert contingency_table(["x", "y"], ["p", "p"], np.array([3, 4])).to_numpy().tolist() == [[3], [4]]
