"""Shares of the clusters, corrected for the model's errors by what people say of a sample.

The estimator is that of prediction-powered inference, the model's share plus what the sample says of its error
(Angelopoulos et al. 2023, Science 382; its power-tuned form, PPI++, 2023, arXiv 2311.01453), with the weights of the
sample's design. Its strata are the model's answers, so the model says one thing of all images of a stratum; then the
tuning parameter cancels and it is, for each of its values, the stratified estimator of Horvitz and Thompson (1952) and
Cochran (1977, section 5.4), as Fisch et al. (2024, "Stratified prediction-powered inference") has it. For the images of
a month or a platform strata are the model's answers within it, post-stratified (Cochran 1977, section 5A.9): given how
many of the coded images lie in a cell, they are a simple random sample of it (Holt and Smith 1979, J. Royal Statistical
Society A 142).

The intervals are score intervals (`ictc.analytics.stratified`), not the normal ones of these papers: of 20 images a
cluster most cells show no error at all, where a normal interval has no width, and holds in a third of all cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ictc.analytics.association import contingency_table
from ictc.analytics.intervals import Array
from ictc.analytics.stratified import effective_sizes, ratio_interval, score_interval
from ictc.validation.codings import Codings
from ictc.validation.drawing import answer_names, stratum_codes

ROUNDING = 1e-6
"""Less than this much of an image is none."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Cells:
    """What is known of the images of each group and stratum.

    Attributes:
        groups: names of the G groups, such as months; one where all images are one.
        names: of the answers, K clusters and last that none fits; strata are the same, by what the model said.
        all_images: how many there are, shape (G, K + 1).
        coded: how many of them have an answer, shape (G, K + 1).
        answers: mean answer of those, by group, stratum and answer, shape (G, K + 1, K + 1). An image that coders
            differ on has a part of each answer. Where nothing is coded: what is said of the stratum in other groups,
            and where that is nothing, too, what the model says.
    """

    groups: list[str]
    names: list[str]
    all_images: Array
    coded: Array
    answers: Array

    @property
    def sizes(self) -> Array:
        """Effective sizes of the samples, shape (G, K + 1)."""
        return effective_sizes(self.coded, self.all_images)

    def take(self, places: Sequence[int]) -> Cells:
        """Return the same of some groups."""
        return replace(
            self,
            groups=[self.groups[place] for place in places],
            all_images=self.all_images[places],
            coded=self.coded[places],
            answers=self.answers[places],
        )

    def others(self, places: Sequence[int]) -> Cells:
        """Return the same of all images but those of one group, for some groups each."""
        sums = self.answers * self.coded[..., None]
        pooled = _means(sums.sum(axis=0), self.answers[0] if len(self.groups) else np.eye(len(self.names)))
        without = sums.sum(axis=0) - sums[places]
        return replace(
            self.take(places),
            all_images=self.all_images.sum(axis=0) - self.all_images[places],
            coded=self.coded.sum(axis=0) - self.coded[places],
            answers=_means(without, np.broadcast_to(pooled, without.shape)),
        )

    @property
    def weights(self) -> Array:
        """The strata's shares of their groups, shape (G, K + 1)."""
        with np.errstate(invalid="ignore"):  # of a group without images
            return np.asarray(self.all_images / self.all_images.sum(axis=1, keepdims=True))


def mean_answers(codings: Codings) -> tuple[npt.NDArray[np.intp], Array]:
    """Return which rows of the codings have an answer, and the mean of each one's answers, shape (rows, K + 1).

    Coders count alike; those who could not tell, or were not asked, are left out, and an image on which nobody could
    tell is missing (at random within its stratum: Cochran 1977, section 13.2 on how much that assumes).
    """
    num_answers = len(codings.run.definitions) + 1
    codes = codings.table[list(codings.coders)].fillna(-1).to_numpy(dtype=np.intp)
    counts = (codes[:, :, None] == np.arange(num_answers)).sum(axis=1).astype(np.float64)
    rows = np.flatnonzero(counts.sum(axis=1))
    return rows, counts[rows] / counts[rows].sum(axis=1, keepdims=True)


def count_cells(codings: Codings, groups: pd.Series | None = None) -> Cells:
    """Count the images of each group and stratum, and what coders say of them.

    Args:
        groups: of all images of the run, in the order of its rows, as a categorical; null for those of none. None for
            one group of all.
    """
    run, names = codings.run, answer_names(codings.run)
    strata = pd.Categorical.from_codes(stratum_codes(run), categories=range(len(names)))
    if groups is None:
        groups = pd.Series(pd.Categorical.from_codes(np.zeros(len(run.judged), np.intp), categories=["all"]))
    groups = groups.set_axis(run.judged["image_id"])
    all_images = contingency_table(groups.array, strata)
    rows, means = mean_answers(codings)
    coded = codings.table.iloc[rows]
    of_group = groups[coded.index].cat.codes.to_numpy()
    of_stratum = coded["stratum"].to_numpy(dtype=np.intp)
    known = of_group >= 0
    sums = np.zeros((*all_images.shape, len(names)))
    np.add.at(sums, (of_group[known], of_stratum[known]), means[known])
    elsewhere = np.zeros((len(names), len(names)))
    np.add.at(elsewhere, of_stratum, means)
    counts = sums.sum(axis=2)
    fallback = _means(elsewhere, np.eye(len(names)))
    return Cells(
        groups=[str(name) for name in all_images.index],
        names=names,
        all_images=all_images.to_numpy().astype(np.float64),
        coded=counts.round(),
        answers=_means(sums, np.broadcast_to(fallback, sums.shape)),
    )


def _means(sums: Array, otherwise: Array) -> Array:
    totals = sums.sum(axis=-1, keepdims=True)
    is_known = totals > ROUNDING
    return np.where(is_known, sums / np.where(is_known, totals, 1.0), otherwise)


def correct_shares(cells: Cells) -> pd.DataFrame:
    """Return the shares of the clusters as the model has them and corrected, a row a group and answer.

    Columns: group, cluster; `raw`; `corrected` with its interval of 95 %, `low` and `high`; `coded`, images with an
    answer in the group. The corrected shares of a group sum up to 1, as do the raw ones. Where a stratum has no coded
    image the interval allows for any answer there.
    """
    weights, by_answer = cells.weights, np.swapaxes(cells.answers, 1, 2)
    low, high = score_interval(by_answer, sizes=cells.sizes[:, None], weights=weights[:, None])
    corrected = (by_answer * weights[:, None]).sum(axis=2)
    num_answers = len(cells.names)
    columns = {
        "group": np.repeat(np.array(cells.groups, dtype=object), num_answers),
        "cluster": cells.names * len(cells.groups),
        "raw": weights.ravel(),
        "corrected": corrected.ravel(),
        "low": np.minimum(low, corrected).clip(0.0, 1.0).ravel(),
        "high": np.maximum(high, corrected).clip(0.0, 1.0).ravel(),
        "coded": np.repeat(cells.coded.sum(axis=1).astype(int), num_answers),
    }
    return pd.DataFrame(columns)


def correct_shifts(cells: Cells, base: Cells) -> tuple[Array, Array, Array]:
    """Return the differences of corrected shares, cells less base, and their intervals, shape (G, K + 1) each.

    Groups of the two, in the same order, have no image in common; where a base has none, all is NaN.
    """
    weights = np.concatenate([cells.weights, -base.weights], axis=1)[:, None]
    is_known = np.isfinite(weights).all(axis=-1)
    weights = np.where(np.isfinite(weights), weights, 0.0)
    answers = np.swapaxes(np.concatenate([cells.answers, base.answers], axis=1), 1, 2)
    sizes = np.concatenate([cells.sizes, base.sizes], axis=1)[:, None]
    low, high = score_interval(answers, sizes=sizes, weights=weights)
    shift = (answers * weights).sum(axis=2)
    low, high = np.clip(np.minimum(low, shift), -1.0, 1.0), np.clip(np.maximum(high, shift), -1.0, 1.0)
    shift, low, high = (np.where(is_known, one, np.nan) for one in (shift, low, high))
    return shift, low, high


def measure_clusters(cells: Cells) -> pd.DataFrame:
    """Return precision and recall of the model's answers by what coders say, a row a group and answer.

    Columns: group, cluster; `images` of the model's; `coded`; `precision`, the share of them that coders put there,
    too; `recall`, the share of the images that coders would put there, of all of the group, that the model has there;
    each with its interval of 95 %. Precision has the score interval of its stratum (Wilson's, with the correction for
    a finite population), recall that of a ratio of stratified estimates. Both are NaN where nothing is coded of what
    the model has there; recall may then be anything that its interval holds.
    """
    agreeing, by_answer = _agreeing(cells), np.swapaxes(cells.answers, 1, 2)
    low, high = score_interval(agreeing[..., None], sizes=cells.sizes[..., None], weights=1.0)
    is_coded = cells.coded > 0
    recall, recall_low, recall_high = ratio_interval(
        by_answer, sizes=cells.sizes[:, None], weights=cells.weights[:, None], is_counted=np.eye(len(cells.names))
    )
    columns = {
        "group": np.repeat(np.array(cells.groups, dtype=object), len(cells.names)),
        "cluster": cells.names * len(cells.groups),
        "images": cells.all_images.ravel().astype(int),
        "coded": cells.coded.ravel().astype(int),
        "precision": np.where(is_coded, agreeing, np.nan).ravel(),
        "precision_low": np.where(is_coded, np.minimum(low, agreeing), np.nan).ravel(),
        "precision_high": np.where(is_coded, np.maximum(high, agreeing), np.nan).ravel(),
        "recall": np.where(is_coded | (cells.all_images == 0), recall, np.nan).ravel(),
        "recall_low": np.fmin(recall_low, recall).ravel(),
        "recall_high": np.fmax(recall_high, recall).ravel(),
    }
    return pd.DataFrame(columns)


def measure_accuracy(cells: Cells) -> tuple[Array, Array, Array]:
    """Return the share of all images of each group that coders put where the model has them, with its interval."""
    agreeing = _agreeing(cells)
    low, high = score_interval(agreeing, sizes=cells.sizes, weights=cells.weights)
    value = (agreeing * cells.weights).sum(axis=1)
    return value, np.minimum(low, value), np.maximum(high, value)


def _agreeing(cells: Cells) -> Array:
    """Return the share of each cell's images that coders put where the model has them, shape (G, K + 1)."""
    own = np.arange(len(cells.names))
    return cells.answers[:, own, own]
