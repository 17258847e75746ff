"""Every interval that is printed holds as often as it says: over a thousand seeded worlds of each kind.

A score interval of so few items holds a little more or less often than 95 %, by the grain of what can be observed: down
to 92 % (Brown, Cai and DasGupta 2001, Statistical Science 16, of Wilson's). Less is a failure.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("scipy")

from ictc.analytics.intervals import newcombe_interval, wilson_interval
from ictc.analytics.reliability import cohen_kappa, krippendorff_alpha
from ictc.analytics.stratified import effective_sizes, ratio_interval, score_interval
from ictc.validation.shares import Cells, correct_shares, correct_shifts, measure_accuracy, measure_clusters

NUM_WORLDS = 1000
STATED = 0.95
GRAIN = 0.025
LEAST = STATED - GRAIN - 3 * np.sqrt(STATED * (1 - STATED) / NUM_WORLDS)

Array = npt.NDArray[np.float64]
SIZES = np.array([9000, 5000, 3000, 1200, 150, 12])
PRECISIONS = {"careful": 0.97, "usual": 0.85, "poor": 0.55, "perfect": 1.0}


def holds(low: npt.ArrayLike, truth: npt.ArrayLike, high: npt.ArrayLike) -> float:
    hit = (np.asarray(low) <= np.asarray(truth) + 1e-9) & (np.asarray(truth) <= np.asarray(high) + 1e-9)
    return float(hit.mean())


@pytest.mark.parametrize(("share", "size"), [(0.02, 40), (0.3, 25), (0.5, 200)])
def test_wilson_and_newcombe(share: float, size: int) -> None:
    rng = np.random.default_rng(1)
    counts, others = rng.binomial(size, share, 20_000), rng.binomial(2 * size, 0.4, 20_000)
    low, high = wilson_interval(counts, size)
    assert holds(low, share, high) > LEAST
    _, low, high = newcombe_interval(counts, size, base_counts=others, base_totals=2 * size)
    assert holds(low, share - 0.4, high) > LEAST


def draw_worlds(precision: float, per_cluster: int, num_groups: int) -> tuple[Array, Cells]:
    """Return the true counts of many worlds, shape (worlds, groups, K, K), by model and truth, and what samples show.

    The groups of the cells are those of the first world, those of the second and so on.
    """
    rng, num = np.random.default_rng(int(1000 * precision) + per_cluster + num_groups), len(SIZES)
    shape = (NUM_WORLDS, num, num_groups, num)
    counts, drawn = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    of_group = np.arange(1, num_groups + 1) / np.arange(1, num_groups + 1).sum()
    for world in range(NUM_WORLDS):
        confusion = (1 - precision) * rng.dirichlet(np.full(num, 0.5), num) + precision * np.eye(num)
        for stratum, size in enumerate(SIZES):
            counts[world, stratum] = rng.multinomial(size, np.outer(of_group, confusion[stratum]).ravel()).reshape(
                num_groups, num
            )
            drawn[world, stratum] = rng.multivariate_hypergeometric(
                counts[world, stratum].ravel(), min(per_cluster, size)
            ).reshape(num_groups, num)
    true, seen = (np.swapaxes(one, 1, 2).astype(np.float64) for one in (counts, drawn))
    coded = seen.sum(axis=3)
    answers = np.where(coded[..., None] > 0, seen / np.maximum(coded[..., None], 1), np.eye(num))
    cells = Cells(
        groups=[str(number) for number in range(NUM_WORLDS * num_groups)],
        names=[str(number) for number in range(num)],
        all_images=true.sum(axis=3).reshape(-1, num),
        coded=coded.reshape(-1, num),
        answers=answers.reshape(-1, num, num),
    )
    return true, cells


def every(cells: Cells, start: int, step: int) -> Cells:
    return Cells(
        groups=cells.groups[start::step],
        names=cells.names,
        all_images=cells.all_images[start::step],
        coded=cells.coded[start::step],
        answers=cells.answers[start::step],
    )


@pytest.mark.parametrize("kind", PRECISIONS)
def test_corrected_shares_precision_recall_and_accuracy(kind: str) -> None:
    true, cells = draw_worlds(PRECISIONS[kind], 20, 1)
    table = true[:, 0]
    shares, told, accuracy = correct_shares(cells), measure_clusters(cells), measure_accuracy(cells)
    right, truly = np.diagonal(table, axis1=1, axis2=2), table.sum(axis=1)
    assert holds(shares["low"], (truly / SIZES.sum()).ravel(), shares["high"]) > LEAST
    assert holds(told["precision_low"], (right / SIZES).ravel(), told["precision_high"]) > LEAST
    is_there = (truly > 0).ravel() & told["recall"].notna()
    recall = (right / np.maximum(truly, 1)).ravel()
    assert holds(told["recall_low"][is_there], recall[is_there], told["recall_high"][is_there]) > LEAST
    assert holds(accuracy[1], right.sum(axis=1) / SIZES.sum(), accuracy[2]) > LEAST


@pytest.mark.parametrize("kind", PRECISIONS)
def test_corrected_shares_of_groups_and_their_shifts(kind: str) -> None:
    true, cells = draw_worlds(PRECISIONS[kind], 20, 3)
    truly = true.sum(axis=2)
    truly /= truly.sum(axis=2, keepdims=True)
    shares = correct_shares(cells)
    assert holds(shares["low"], truly.ravel(), shares["high"]) > LEAST
    _, low, high = correct_shifts(every(cells, 2, 3), every(cells, 0, 3))
    assert holds(low, truly[:, 2] - truly[:, 0], high) > LEAST


@pytest.mark.parametrize("size", [2, 5, 20])
def test_weighted_sums_over_all_kinds_of_strata(size: int) -> None:
    rng = np.random.default_rng(size)
    num_strata = 8
    weights = rng.dirichlet(np.ones(num_strata), NUM_WORLDS) * rng.choice([-1, 1], (NUM_WORLDS, num_strata))
    true = rng.beta(0.4, 1.0, (NUM_WORLDS, num_strata))
    observed = rng.binomial(size, true) / size
    low, high = score_interval(observed, sizes=np.full(num_strata, float(size)), weights=weights)
    assert holds(low, (weights * true).sum(axis=1), high) > LEAST
    ratio, low, high = ratio_interval(
        observed, sizes=np.full(num_strata, float(size)), weights=np.abs(weights), is_counted=np.arange(num_strata) < 2
    )
    parts = np.abs(weights) * true
    assert holds(low, parts[:, :2].sum(axis=1) / parts.sum(axis=1), high) > LEAST
    assert np.nanmin(ratio) >= 0


def test_a_sample_of_nearly_all_is_corrected_for_what_is_left() -> None:
    rng = np.random.default_rng(3)
    true, drawn = 30, 80  # of 100
    counts = rng.hypergeometric(true, 100 - true, drawn, 20_000)
    low, high = score_interval(
        (counts / drawn)[:, None], sizes=effective_sizes([drawn], [100]), weights=np.ones((20_000, 1))
    )
    assert holds(low, true / 100, high) > LEAST
    assert np.mean(high - low) < 0.6 * (wilson_interval(24, 80)[1] - wilson_interval(24, 80)[0])


@pytest.mark.parametrize(("accuracy", "size"), [(0.98, 60), (0.85, 60), (0.7, 150)])
def test_alpha_and_kappa(accuracy: float, size: int) -> None:
    rng = np.random.default_rng(size)
    shares = np.array([0.45, 0.25, 0.2, 0.1])

    def code(number: int) -> npt.NDArray[np.intp]:
        truth = rng.choice(4, number, p=shares)[:, None]
        return np.where(rng.random((number, 2)) < accuracy, truth, rng.choice(4, (number, 2), p=shares))

    many = code(400_000)
    true_alpha = beyond_chance(many)
    worlds = [code(size) for _ in range(NUM_WORLDS // 3)]
    alphas = [krippendorff_alpha(one) for one in worlds]
    kappas = [cohen_kappa(one[:, 0], one[:, 1]) for one in worlds]
    for found in (alphas, kappas):
        assert holds([one.low for one in found], true_alpha, [one.high for one in found]) > LEAST


def beyond_chance(codes: npt.NDArray[np.intp]) -> float:
    """Return alpha, and kappa, of very many units of two coders with equal margins."""
    observed = (codes[:, 0] != codes[:, 1]).mean()
    margins = np.bincount(codes.ravel(), minlength=4) / codes.size
    return float(1 - observed / (1 - (margins**2).sum()))
