"""Agreement beyond chance, against published examples and reference implementations."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")
metrics = pytest.importorskip("sklearn.metrics")

from ictc.analytics.reliability import cohen_kappa, krippendorff_alpha  # noqa: E402

N = -1
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
        [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
    ]
).T
"""Four observers, twelve units (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C)."""


def test_alpha_of_the_example_of_its_inventor() -> None:
    found = krippendorff_alpha(KRIPPENDORFF)
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.num_units == 11  # one unit has a single code


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_the_reference_implementation(seed: int) -> None:
    reference = pytest.importorskip("krippendorff", reason="the reference implementation is in the extra test")
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, 4, size=(40, 3))
    data = np.where(codes < 0, np.nan, codes).T
    expected = reference.alpha(reliability_data=data, level_of_measurement="nominal")
    assert krippendorff_alpha(codes).value == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 4, 60), rng.integers(0, 3, 60)
    second = np.where(rng.random(60) < 0.6, first, second)
    weights = rng.uniform(0.5, 5, 60)
    assert cohen_kappa(first, second).value == pytest.approx(metrics.cohen_kappa_score(first, second))
    weighted = metrics.cohen_kappa_score(first, second, sample_weight=weights)
    assert cohen_kappa(first, second, weights=weights).value == pytest.approx(weighted)


def test_coders_who_never_differ_are_not_beyond_doubt() -> None:
    codes = np.repeat(np.arange(4), 10)
    for found in (krippendorff_alpha(np.stack([codes, codes], axis=1)), cohen_kappa(codes, codes)):
        assert found.value == found.high == 1
        assert 0.8 < found.low < 0.95


def test_what_cannot_be_told_is_not_a_number() -> None:
    one_code = np.zeros((5, 2), dtype=np.intp)
    assert np.isnan(krippendorff_alpha(one_code).value)
    assert np.isnan(cohen_kappa(one_code[:, 0], one_code[:, 1]).value)
    nothing = np.full((5, 2), -1)
    assert krippendorff_alpha(nothing).num_units == cohen_kappa(nothing[:, 0], nothing[:, 1]).num_units == 0
