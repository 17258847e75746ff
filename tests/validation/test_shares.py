"""What holds of every sample and every correction, whatever the run, the coders and the groups are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pandas", reason="validation needs the extra analysis")

from pathlib import Path

from ictc.analytics.results import RunResults
from ictc.records import ClusterDefinition
from ictc.validation.codings import MISSING, Codings
from ictc.validation.drawing import Sample, draw_sample, stratum_codes
from ictc.validation.shares import correct_shares, correct_shifts, count_cells, measure_clusters


def make_run(codes: list[int], num_clusters: int, order: list[int] | None = None) -> RunResults:
    """Return a run in which each image has the cluster of its code, or none where that is `num_clusters`."""
    definitions = tuple(ClusterDefinition(n, name=f"C{n}", description="") for n in range(1, num_clusters + 1))
    clusters = [None if code == num_clusters else definitions[code].name for code in codes]
    rows = pd.DataFrame({"image_id": [f"image {number}" for number in range(len(codes))]})
    rows["cluster"] = pd.Categorical(clusters, categories=[one.name for one in definitions], ordered=True)
    judged = rows if order is None else rows.iloc[order].reset_index(drop=True)
    return RunResults(
        directory=Path("run"),
        track="marketing",
        criterion="",
        num_clusters=num_clusters,
        metadata={},
        definitions=definitions,
        judged=judged,
    )


def make_codings(sample: Sample, answers: dict[str, list[int]], coders: int) -> Codings:
    """Return what coders say of a sample: of each image a code a coder."""
    names = [f"coder_{number}" for number in range(coders)]
    ids = pd.Index(sample.images["image_id"], name="image_id")
    columns = {
        name: pd.Series([answers[image_id][place] for image_id in ids], index=ids, dtype="Int64")
        for place, name in enumerate(names)
    }
    table = pd.DataFrame({"stratum": sample.images["stratum"].to_numpy(), **columns}, index=ids)
    return Codings(
        run=sample.run,
        drawing=sample.drawing,
        per_cluster=sample.per_cluster,
        coders=tuple(names),
        table=table,
        notes={name: {} for name in names},
        complaints=(),
    )


@st.composite
def runs(draw: st.DrawFn) -> RunResults:
    num_clusters = draw(st.integers(1, 4))
    codes = draw(st.lists(st.integers(0, num_clusters), min_size=1, max_size=60))
    return make_run(codes, num_clusters)


@given(run=runs(), per_cluster=st.integers(1, 20), seed=st.integers(0, 99), shuffle=st.randoms())
def test_a_sample_does_not_hang_on_the_order_of_the_images(run, per_cluster, seed, shuffle):
    order = list(range(len(run.judged)))
    shuffle.shuffle(order)
    codes = stratum_codes(run).tolist()
    one = draw_sample(run, per_cluster=per_cluster, seed=seed)
    other = draw_sample(make_run(codes, run.num_clusters, order), per_cluster=per_cluster, seed=seed)
    pd.testing.assert_frame_equal(one.images, other.images)
    assert one.drawing == other.drawing


@given(run=runs(), per_cluster=st.integers(1, 20), seed=st.integers(0, 99))
def test_inclusion_probabilities_sum_up_to_the_sample_and_their_inverses_to_the_images(run, per_cluster, seed):
    sample = draw_sample(run, per_cluster=per_cluster, seed=seed)
    strata = sample.strata.set_index("code")
    probabilities = strata["probability"][sample.images["stratum"]]
    assert (strata["probability"] * strata["size"]).sum() == pytest.approx(len(sample.images))
    assert (1 / probabilities).sum() == pytest.approx(len(run.judged))
    assert (strata["drawn"] == np.minimum(strata["size"], per_cluster)).all()
    assert set(draw_sample(run, per_cluster=per_cluster + 1, seed=seed).images["image_id"]) >= set(
        sample.images["image_id"]
    )


@settings(max_examples=30)
@given(
    run=runs(), per_cluster=st.integers(1, 9), coders=st.integers(1, 3), num_groups=st.integers(1, 4), data=st.data()
)
def test_corrected_shares_sum_up_to_one_and_lie_in_their_intervals(run, per_cluster, coders, num_groups, data):
    sample = draw_sample(run, per_cluster=per_cluster, seed=0)
    codes = st.lists(st.integers(MISSING, run.num_clusters), min_size=coders, max_size=coders)
    answers = {image_id: data.draw(codes) for image_id in sample.images["image_id"]}
    codings = make_codings(sample, answers, coders)
    groups = pd.Series([f"g{number % num_groups}" for number in range(len(run.judged))], dtype="category")
    for cells in (count_cells(codings), count_cells(codings, groups)):
        shares = correct_shares(cells)
        sums = shares.groupby("group")[["raw", "corrected"]].sum().to_numpy()
        assert sums == pytest.approx(np.ones_like(sums))
        ends = shares[["low", "corrected", "high"]].to_numpy()
        assert ((np.diff(ends, axis=1) >= 0).all(axis=1)).all()
        assert ends.min() >= 0
        assert ends.max() <= 1
        shift, low, high = correct_shifts(cells, cells)
        assert shift == pytest.approx(np.zeros_like(shift))
        assert ((low <= shift) & (shift <= high)).all()
    told = measure_clusters(count_cells(codings))
    for name in ("precision", "recall"):
        known = told[told[name].notna()]
        assert ((known[f"{name}_low"] <= known[name]) & (known[name] <= known[f"{name}_high"])).all()


@given(run=runs(), per_cluster=st.integers(1, 9), coders=st.integers(1, 3), num_groups=st.integers(1, 4))
def test_coders_who_say_what_the_model_says_leave_the_shares_as_they_are(run, per_cluster, coders, num_groups):
    sample = draw_sample(run, per_cluster=per_cluster, seed=0)
    answers = {image_id: [code] * coders for image_id, code in sample.images.itertuples(index=False)}
    groups = pd.Series([f"g{number % num_groups}" for number in range(len(run.judged))], dtype="category")
    shares = correct_shares(count_cells(make_codings(sample, answers, coders), groups))
    assert shares["corrected"].to_numpy() == pytest.approx(shares["raw"].to_numpy())
