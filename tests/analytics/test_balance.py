"""Balance: the reference study's figures from its cluster sizes, and what holds for any sizes."""

from __future__ import annotations

import math
from dataclasses import asdict
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ictc.analytics.balance import effective_clusters, gini, largest_share, measure_balance

SIZES = st.lists(st.integers(0, 10_000), min_size=2, max_size=20).filter(any)

GOLDEN = {
    "marketing": ((21386, 21328, 21029, 9251, 3440), 76_434, (".909", "28.0", 5, ".49")),
    "identity": ((35686, 15255, 14279, 7755, 6245), 79_220, (".878", "45.0", 5, ".66")),
    "cultural": ((28036, 21091, 11486, 10793, 8119), 79_525, (".934", "35.3", 5, ".47")),
}


@pytest.mark.parametrize(("sizes", "num_ads", "printed"), GOLDEN.values(), ids=GOLDEN)
def test_the_reference_study_at_five_clusters(
    sizes: tuple[int, ...], num_ads: int, printed: tuple[str, str, int, str]
) -> None:
    balance = measure_balance(sizes)
    assert sum(sizes) == num_ads
    assert printed == (
        f"{balance.normalized_entropy:.3f}".removeprefix("0"),
        f"{100 * balance.largest_share:.1f}",
        balance.effective_clusters,
        f"{balance.coefficient_of_variation:.2f}".removeprefix("0"),
    )


@pytest.mark.parametrize(("largest", "num_ads", "printed"), [(25_835, 76_434, "33.8"), (23_957, 79_220, "30.2")])
def test_the_noise_sinks_of_the_reference_study_at_ten_clusters(largest: int, num_ads: int, printed: str) -> None:
    others = np.full(9, (num_ads - largest) / 9)
    assert f"{100 * largest_share([largest, *others]):.1f}" == printed


def test_a_cluster_counts_from_one_percent() -> None:
    assert effective_clusters([990, 10]) == 2
    assert effective_clusters([991, 9]) == 1


def test_equal_clusters_are_balanced() -> None:
    balance = measure_balance([7, 7, 7, 7])
    assert balance.normalized_entropy == pytest.approx(1)
    assert balance.coefficient_of_variation == balance.gini == 0
    assert balance.largest_share == 0.25


def test_one_cluster_with_everything_is_as_unbalanced_as_can_be() -> None:
    balance = measure_balance([12, 0, 0])
    assert (balance.normalized_entropy, balance.largest_share, balance.effective_clusters) == (0, 1, 1)
    assert balance.gini == pytest.approx(2 / 3)
    assert math.isnan(measure_balance([5]).normalized_entropy)


@given(SIZES, st.randoms(use_true_random=False))
def test_order_and_scale_do_not_matter(sizes: list[int], random: Random) -> None:
    shuffled = sizes.copy()
    random.shuffle(shuffled)
    expected = asdict(measure_balance(sizes))
    assert asdict(measure_balance(shuffled)) == pytest.approx(expected)
    assert asdict(measure_balance(np.array(sizes) * 3)) == pytest.approx(expected)


@given(SIZES)
def test_measures_stay_in_their_bounds(sizes: list[int]) -> None:
    balance, num_clusters = measure_balance(sizes), len(sizes)
    assert -1e-12 <= balance.normalized_entropy <= 1 + 1e-12
    assert 1 / num_clusters <= balance.largest_share <= 1
    assert 1 <= balance.effective_clusters <= num_clusters
    assert -1e-12 <= balance.gini <= (num_clusters - 1) / num_clusters + 1e-12


@given(SIZES)
def test_gini_is_half_the_relative_mean_difference(sizes: list[int]) -> None:
    counts = np.array(sizes, dtype=float)
    assert gini(sizes) == pytest.approx(np.abs(counts[:, None] - counts).mean() / (2 * counts.mean()), abs=1e-12)
