"""Several runs over the same images: consensus, what becomes of clusters, and archetypes."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd
import pytest

from ictc.analytics.archetypes import find_archetypes
from ictc.analytics.consensus import (
    assignment_table,
    cluster_fates,
    find_consensus,
    group_table,
    make_report,
    summarize_fates,
)
from ictc.analytics.ensemble import Ensemble, fold, pairwise_agreement
from ictc.analytics.results import RunResults
from ictc.errors import ConfigError, InputError


def run_of(name: str, clusters: dict[str, str], num_clusters: int | None = None) -> RunResults:
    names = list(dict.fromkeys(clusters.values()))
    rows = pd.DataFrame({"image_id": list(clusters), "cluster": pd.Categorical(list(clusters.values()), names)})
    return RunResults(
        directory=Path(name),
        track=name,
        criterion="criterion",
        num_clusters=num_clusters or len(names),
        metadata={},
        definitions=(),
        judged=rows,
    )


def fold_columns(**runs: list[str]) -> Ensemble:
    """Return the ensemble of runs that are given as one cluster an image."""
    return fold([run_of(name, {f"ad_{n}": one for n, one in enumerate(column)}) for name, column in runs.items()])


def noisy(clusters: list[int], share: float, num_clusters: int, seed: int) -> list[str]:
    """Return the clusters with some images put anywhere."""
    rng = np.random.default_rng(seed)
    moved = rng.random(len(clusters)) < share
    return [str(rng.integers(num_clusters) if move else one) for one, move in zip(clusters, moved, strict=True)]


def test_folding_keeps_the_images_of_all_runs_and_every_count() -> None:
    first = run_of("first", {"a": "x", "b": "x", "c": "y", "only here": "y"})
    second = run_of("second", {"c": "p", "a": "q", "b": "q", "only there": "p"})
    ensemble = fold([first, second])
    assert list(ensemble.image_ids) == ["a", "b", "c"]
    assert ensemble.num_left_out == 2
    assert ensemble.groups.iloc[ensemble.group_of].astype(str).to_numpy().tolist() == [["x", "q"]] * 2 + [["y", "p"]]
    assert sorted(ensemble.sizes) == [1, 2]
    assert ensemble.table(*ensemble.names).loc["x", "q"] == 2
    assert ensemble.cluster_sizes(ensemble.names[0]).to_dict() == {"x": 2, "y": 1}


def test_runs_over_other_images_cannot_be_combined() -> None:
    with pytest.raises(InputError, match="no image has a cluster in all of"):
        fold([run_of("first", {"a": "x"}), run_of("second", {"b": "x"})])


def test_equal_runs_are_their_own_consensus() -> None:
    column = [str(n % 3) for n in range(90)]
    renamed = [{"0": "u", "1": "v", "2": "w"}[one] for one in column]
    ensemble = fold_columns(first=column, second=renamed)
    consensus = find_consensus(ensemble)
    assert consensus.support_of.tolist() == [1.0] * 3
    assert consensus.clusters["size"].tolist() == [30] * 3
    report = make_report(ensemble)
    assert (report.together, report.pac) == (1.0, 0.0)
    assert set(report.fates["fate"]) == {"stays"}
    assert report.agreement["ari"].tolist() == pytest.approx([1.0])


def test_the_consensus_of_noisy_runs_is_nearer_the_truth_than_each_of_them() -> None:
    truth = [n % 4 for n in range(2_000)]
    ensemble = fold_columns(**{f"run{seed}": noisy(truth, 0.35, 4, seed) for seed in range(5)})
    table = assignment_table(ensemble, find_consensus(ensemble))
    assert table["image_id"].tolist() == [f"ad_{n}" for n in range(2_000)]
    found = pd.crosstab(table["cluster_id"], pd.Series(truth))
    alone = [pd.crosstab(table[name], pd.Series(truth)) for name in ensemble.names]
    assert found.max(axis=1).sum() > 1.1 * max(one.max(axis=1).sum() for one in alone)
    right = found.idxmax(axis=1)[table["cluster_id"]].to_numpy() == truth
    assert table["support"][right].mean() > table["support"][~right].mean() + 0.1


def test_the_support_of_a_group_is_its_mean_share_in_its_consensus_cluster() -> None:
    ensemble = fold_columns(first=list("aaaaabbbbb"), second=list("xxxxyyyyyy"))
    groups = group_table(ensemble, find_consensus(ensemble, num_clusters=2)).set_index(ensemble.names)
    assert groups["cluster_id"].to_dict() == {("a", "x"): 1, ("a", "y"): 1, ("b", "y"): 2}
    assert groups["support"].to_dict() == pytest.approx(
        {("a", "x"): (5 / 5 + 4 / 5) / 2, ("a", "y"): (5 / 5 + 1 / 5) / 2, ("b", "y"): 1}
    )
    assert groups["size"].to_dict() == {("a", "x"): 4, ("a", "y"): 1, ("b", "y"): 5}


def test_the_consensus_has_the_middle_k_unless_told() -> None:
    columns = {f"k{k}": [str(n % k) for n in range(210)] for k in (2, 3, 5)}
    ensemble = fold_columns(**columns)
    assert len(find_consensus(ensemble).clusters) == 3
    assert len(find_consensus(ensemble, num_clusters=7).clusters) == 7
    with pytest.raises(ConfigError, match="--num_clusters 31: the runs tell only 30 groups"):
        find_consensus(ensemble, num_clusters=31)


def test_consensus_clusters_are_numbered_by_size_and_each_has_a_name_of_its_own() -> None:
    ensemble = fold_columns(first=list("aaaabbbccd" * 3), second=list("aaaabbbccd" * 3))
    clusters = find_consensus(ensemble, num_clusters=4).clusters
    assert clusters["cluster"].tolist() == list("abcd")
    assert clusters["cluster_id"].tolist() == [1, 2, 3, 4]
    assert clusters["share"].sum() == pytest.approx(1)
    split = fold_columns(first=list("aaaaaaaaab"), second=list("xyzxyzxyzw"), third=list("aaaaaaaaab"))
    assert find_consensus(split, num_clusters=4).clusters["cluster"].is_unique


def test_what_becomes_of_a_cluster() -> None:
    coarse = ["whole"] * 90 + ["kept"] * 60 + ["lost"] * 60 + ["gone"] * 60
    fine = [f"part {n % 3}" for n in range(90)] + ["kept too"] * 60 + [f"mix {n % 3}" for n in range(120)]
    ensemble = fold_columns(coarse=coarse, fine=fine)
    fates = cluster_fates(ensemble).set_index("cluster")
    assert fates["fate"].to_dict() == {
        **{"whole": "splits", "kept": "stays", "lost": "dissolves", "gone": "dissolves"},
        **{"part 0": "merges", "part 1": "merges", "part 2": "merges", "kept too": "stays"},
        **{"mix 0": "dissolves", "mix 1": "dissolves", "mix 2": "dissolves"},
    }
    whole = fates.loc["whole"]
    assert (whole["unmixed"], whole["together"]) == pytest.approx((1, 1 / 3))
    assert whole["low"] <= whole["jaccard"] <= whole["high"]
    summary = summarize_fates(cluster_fates(ensemble)).set_index("cluster")
    assert summary.loc["whole", ["stays", "splits", "merges", "dissolves"]].tolist() == [0, 1, 0, 0]


def test_agreement_is_told_for_each_pair_of_runs() -> None:
    ensemble = fold_columns(a=list("xxyy"), b=list("xxyy"), c=list("xyxy"))
    agreement = pairwise_agreement(ensemble).set_index(["first", "second"])
    assert len(agreement) == 3
    assert agreement["cramers_v"].tolist() == pytest.approx([1, 0, 0])


def test_the_lift_of_an_archetype_is_its_count_over_that_of_independent_tracks() -> None:
    ensemble = fold_columns(a=list("xxxxxyyyyy"), b=list("ppppqqqqqq"), c=list("mmmnmmmmmm"))
    archetypes = find_archetypes(ensemble)
    a, b, c = ensemble.names
    first = archetypes.iloc[0]
    assert tuple(first[[a, b, c]]) == ("y", "q", "m")
    assert first["count"] == 5
    assert first["expected"] == pytest.approx(10 * 0.5 * 0.6 * 0.9)
    assert first["lift"] == pytest.approx(5 / 2.7)
    assert archetypes["count"].sum() == 10
    assert archetypes["count"].is_monotonic_decreasing


def test_independent_tracks_have_no_archetypes() -> None:
    pairs = [(a, b) for a in "xxy" for b in "ppq"] * 5
    archetypes = find_archetypes(fold_columns(a=[a for a, _ in pairs], b=[b for _, b in pairs]))
    assert archetypes["lift"].tolist() == pytest.approx([1.0] * 4)


def test_runs_whose_ids_differ_in_their_unicode_form_are_over_the_same_images() -> None:
    runs = [
        run_of(name, {normalize(form, "café"): "x", "plain": "y"}) for name, form in (("mac", "NFD"), ("pc", "NFC"))
    ]
    ensemble = fold(runs)
    assert list(ensemble.image_ids) == [normalize("NFD", "café"), "plain"]
    assert ensemble.num_left_out == 0
