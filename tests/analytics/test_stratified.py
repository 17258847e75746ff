"""Estimates from stratified samples, against what is published and what others compute."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from ictc.analytics.intervals import wilson_interval
from ictc.analytics.stratified import effective_sizes, ratio_interval, score_interval

RNG = np.random.default_rng(5)


def test_of_one_stratum_it_is_wilsons_interval() -> None:
    counts, totals = np.array([0, 1, 7, 19, 20, 3]), np.array([20, 20, 20, 20, 20, 4])
    low, high = score_interval((counts / totals)[:, None], sizes=totals[:, None], weights=np.ones((6, 1)))
    expected = wilson_interval(counts, totals)
    assert (low, high) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_equal_strata_without_a_success_are_as_good_as_one() -> None:
    """Of 10 × 20 items without one success the pooled bound of 200 holds: the likeliest are equal proportions."""
    low, high = score_interval(np.zeros(10), sizes=np.full(10, 20.0), weights=np.full(10, 0.1))
    assert low == 0
    assert high == pytest.approx(wilson_interval(0, 200 - 9)[1], rel=1e-6)


def test_of_two_strata_the_difference_is_that_of_miettinen_and_nurminen() -> None:
    """Newcombe (1998, Statistics in Medicine 17, table II, method 5, example a): 56/70 - 48/80, .0528 to .3382.

    That method is Mee's; Miettinen and Nurminen's factor N / (N - 1) makes it a hair wider: .0523 to .3388 at most.
    """
    low, high = score_interval([56 / 70, 48 / 80], sizes=[70.0, 80.0], weights=[1.0, -1.0])
    assert low == pytest.approx(0.0528, abs=0.0012)
    assert high == pytest.approx(0.3382, abs=0.0012)


def test_of_many_items_it_is_the_usual_stratified_interval() -> None:
    """Cochran (1977), section 5.6, with the correction for finite populations."""
    weights, shares = np.array([0.5, 0.3, 0.2]), np.array([0.9, 0.2, 0.4])
    drawn, total = np.array([4000.0, 3000.0, 2000.0]), np.array([50_000.0, 6000.0, 20_000.0])
    low, high = score_interval(shares, sizes=effective_sizes(drawn, total), weights=weights)
    error = np.sqrt((weights**2 * shares * (1 - shares) / drawn * (1 - drawn / total)).sum())
    assert (high - low) / 2 == pytest.approx(1.959964 * error, rel=2e-3)


def test_what_is_known_wholly_has_no_width_and_what_is_not_known_has_all() -> None:
    sizes = effective_sizes([5, 0], [5, 9])
    assert sizes.tolist() == [np.inf, 0.0]
    low, high = score_interval([0.4, 0.7], sizes=sizes, weights=[0.5, 0.5])
    assert (low, high) == (pytest.approx(0.2), pytest.approx(0.7))


def test_the_estimate_is_that_of_prediction_powered_inference_whatever_it_is_tuned_to() -> None:
    """Against ppi-python, the code of Angelopoulos et al. (2023), with the weights of the design."""
    ppi = pytest.importorskip("ppi_py", reason="the reference implementation is in the extra test")
    strata, sizes, drawn = np.arange(3), np.array([5000, 3000, 2000]), np.array([200, 200, 200])
    model = np.repeat(strata, sizes)
    sampled = np.repeat(strata, drawn)
    said = np.where(RNG.random(600) < 0.8, sampled, RNG.integers(0, 3, 600))
    weights = (sizes / drawn)[sampled]
    for answer in strata:
        shares = np.array([(said[sampled == one] == answer).mean() for one in strata])
        estimate = (shares * sizes / sizes.sum()).sum()
        for tuned in (0.0, 0.5, 1.0, None):
            other = ppi.ppi_mean_pointestimate(
                (said == answer).astype(float),
                (sampled == answer).astype(float),
                (model == answer).astype(float),
                lam=tuned,
                w=weights,
            )
            assert float(np.squeeze(other)) == pytest.approx(estimate, abs=1e-9)
        low, high = score_interval(shares, sizes=effective_sizes(drawn, sizes), weights=sizes / sizes.sum())
        assert low < estimate < high


def test_recall_is_the_ratio_with_an_interval_that_holds_it() -> None:
    ratio, low, high = ratio_interval(
        [[0.9, 0.1], [0.0, 0.0], [1.0, 0.0]],
        sizes=[50.0, 50.0],
        weights=[0.5, 0.5],
        is_counted=[1.0, 0.0],
    )
    assert ratio[0] == pytest.approx(0.9)
    assert low[0] < 0.9 < high[0] < 1
    assert np.isnan(ratio[1])
    assert (low[1], high[1]) == (0.0, 1.0)
    assert ratio[2] == high[2] == 1
    assert 0.85 < low[2] < 1
