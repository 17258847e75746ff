"""Shares over time and by advertiser: periods, spellings of brands, and intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ictc.analytics.brands import normalize_brand, unify_brands
from ictc.analytics.intervals import newcombe_interval, wilson_interval
from ictc.analytics.trends import measure_trends, period_of
from ictc.errors import InputError


@pytest.mark.parametrize(
    ("spellings", "brand"),
    [
        (("Coca-Cola", "COCA COLA®", "coca‐cola", "Coca-Cola Co.", " Coca\u200b-Cola "), "coca cola"),
        (("Nike", "NIKE, Inc.", "ＮＩＫＥ", "Nike™"), "nike"),
        (("McDonald's", "McDonald’s Corporation"), "mcdonalds"),
        (("Müller GmbH & Co. KG", "MÜLLER", "Mu\u0308ller"), "müller"),
        (("Atlassian Pty Ltd", "Atlassian Pty. Ltd."), "atlassian"),
        (("Straße", "STRASSE"), "strasse"),
        (("Co.",), "co"),
        (("Disney+",), "disney+"),
        (("日本", "日本\n"), "日本"),
        (("", "…", "\u202e", " - "), ""),
    ],
)
def test_spellings_of_one_brand_are_the_same(spellings: tuple[str, ...], brand: str) -> None:
    assert {normalize_brand(spelling) for spelling in spellings} == {brand}


@given(st.text(max_size=30))
def test_normalizing_twice_changes_nothing_more(text: str) -> None:
    once = normalize_brand(text)
    assert normalize_brand(once) == once
    assert once == " ".join(once.split())


def test_a_brand_is_shown_in_its_most_frequent_spelling() -> None:
    brands = pd.Series(["NIKE", "Nike", "Nike, Inc.", "Nike", "", "!?", None, "=SUM(A1)"])
    shown = unify_brands(brands)
    assert shown[:4].tolist() == ["Nike"] * 4
    assert shown[4:7].isna().all()
    assert shown[7] == "=SUM(A1)"


@given(st.integers(0, 200), st.integers(1, 200))
def test_the_wilson_interval_is_that_of_scipy(count: int, more: int) -> None:
    low, high = wilson_interval(count, count + more)
    expected = stats.binomtest(count, count + more).proportion_ci(0.95, method="wilson")
    assert (float(low), float(high)) == pytest.approx(tuple(expected), abs=1e-9)


def test_the_newcombe_interval_is_that_of_its_paper() -> None:
    """Newcombe 1998, table II, method 10: 56/70 against 48/80 and 9/10 against 3/10."""
    difference, low, high = newcombe_interval([56, 9], [70, 10], base_counts=[48, 3], base_totals=[80, 10])
    assert difference == pytest.approx([0.2, 0.6])
    assert low == pytest.approx([0.0524, 0.1705], abs=5e-5)
    assert high == pytest.approx([0.3339, 0.8090], abs=5e-5)
    assert np.isnan(newcombe_interval(3, 4, base_counts=0, base_totals=0)[0])


@pytest.mark.parametrize(
    ("by", "periods"),
    [
        ("day", ["2024-12-30", "2025-03-01", "2025-03-01"]),
        ("week", ["2025-W01", "2025-W09", "2025-W09"]),
        ("month", ["2024-12", "2025-03", "2025-03"]),
    ],
)
def test_periods_are_those_of_the_calendar_in_utc(by: str, periods: list[str]) -> None:
    times = ["2024-12-30T00:00:00Z", "2025-03-01T23:59:59Z", "2025-03-02T01:00:00.5+02:00", "soon", None]
    found = period_of(pd.Series(times), by)  # type: ignore[arg-type]
    assert found[:3].tolist() == periods
    assert found[3:].isna().all()


def dated(counts: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Return rows of two clusters at given times."""
    rows = [
        (time, cluster)
        for time, pair in counts.items()
        for cluster, n in zip("ab", pair, strict=True)
        for _ in range(n)
    ]
    frame = pd.DataFrame(rows, columns=["timestamp", "cluster"])
    return frame.assign(cluster=pd.Categorical(frame["cluster"], ["a", "b", "never"], ordered=True))


def test_each_period_is_compared_with_the_one_before() -> None:
    rows = dated({"2025-02-03": (10, 70), "2025-01-03": (60, 20), "2025-03-03": (1, 1), "unknown": (3, 0)})
    trends = measure_trends(rows, "month", min_ads=5)
    assert trends.counts.loc["2025-01"].to_dict() == {"a": 60, "b": 20, "never": 0}
    assert (trends.num_unknown, trends.num_small) == (3, 2)
    shares = trends.shares.set_index(["month", "cluster"])
    assert len(shares) == 6
    assert shares.loc[[("2025-01", "a"), ("2025-01", "b")], "shift"].isna().all()
    row = shares.loc[("2025-02", "a")]
    assert (row["count"], row["total"], row["share"]) == (10, 80, 0.125)
    assert row["shift"] == pytest.approx(0.125 - 0.75)
    assert (row["low"], row["high"]) == pytest.approx([float(end) for end in wilson_interval(10, 80)])
    assert (row["shift_low"], row["shift_high"]) == pytest.approx(
        [float(end) for end in newcombe_interval(10, 80, base_counts=60, base_totals=80)[1:]]
    )
    assert row["clear"]
    assert not shares.loc[("2025-02", "never"), "clear"]


def test_a_brand_is_compared_with_all_other_ads_and_the_largest_comes_first() -> None:
    brands = ["Tiny", *["Ace"] * 20, *["BOLD"] * 39, "Bold, Inc."]
    clusters = ["a", *["a"] * 15, *["b"] * 5, *["a"] * 10, *["b"] * 30]
    rows = pd.DataFrame({"brand": brands, "cluster": pd.Categorical(clusters)})
    trends = measure_trends(rows, "brand", min_ads=2)
    assert trends.counts.index.tolist() == ["BOLD", "Ace"]
    assert trends.num_small == 1
    row = trends.shares.set_index(["brand", "cluster"]).loc[("Ace", "a")]
    assert row["shift"] == pytest.approx(15 / 20 - 11 / 41)
    assert row["clear"]


def test_what_cannot_be_told_is_an_error_in_words() -> None:
    rows = dated({"2025-01-03": (2, 1)})
    with pytest.raises(InputError, match="no week has 10 ads, the largest 3"):
        measure_trends(rows, "week", min_ads=10)
    with pytest.raises(InputError, match="no image with a cluster has a timestamp"):
        measure_trends(rows.assign(timestamp=None), "week")
