"""How well a criterion splits a sample, and which criteria are poor, or the same as another.

A criterion is no use if it has one value for nearly all images, nor if it has another for each: then the values that
are made for it hang on which images they are made from. Both show in one figure: how much two sets of values that were
made from different images tell of each other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from ictc.suggesting.trials import Tried
from ictc.tracks.spelling import singular_form

MIN_SPLIT = 0.1
"""A criterion that tells less than a tenth of what it could is no use, however sure that is."""
RARE = 0.001
"""How often random values may count as good."""
MAX_LARGEST_SHARE = 0.9
MANY_LABELS_SHARE = 0.9
MIN_COVERAGE = 0.5
SAME_CORRELATION = 0.9
"""Criteria are one if they tell as much of each other as either tells of itself, up to chance."""
DIGITS = 3

Placement = Mapping[str, int]
"""The number of the value of each image that has one."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """One value of a criterion, with the share of the images that have it."""

    name: str
    description: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A criterion, and how well it splits the sample.

    Attributes:
        split: as from `measure_split`; what random values have is 0, and 1 is all that is possible.
        values: the most frequent first.
        coverage: share of the images that have a value in both sets.
        distinct_labels: how many different labels the images got, spellings of one merged.
        problem: why it is no good, "" if it is.
    """

    criterion: str
    split: float
    values: tuple[Value, ...]
    coverage: float
    distinct_labels: int
    problem: str = ""


def measure_split(first: Placement, second: Placement, *, num_values: int) -> float:
    """Return what two placements of the same images tell of each other, as a share of what could be told.

    (I - E[I]) / (ln K - E[I]), with I the mutual information of the two and E[I] what it would be by chance, given
    their sizes: the adjustment of Vinh et al. (2010, J. Machine Learning Research 11), with ln K, the entropy of K
    equal groups, as the most there can be. So it is 1 only if both put the images into the same K groups of one size,
    and 0 on average if either is random, or puts all into one; it may be below. What is in both is compared.

    Args:
        num_values: K, the most values that there may be.
    """
    from sklearn.metrics import mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    common = sorted(first.keys() & second.keys())
    if len(common) < 2:
        return 0.0
    rows, columns = ([placement[image_id] for image_id in common] for placement in (first, second))
    table = contingency_matrix(rows, columns, sparse=True).astype("int64")
    if 1 in table.shape:
        return 0.0
    expected = float(expected_mutual_information(table, len(common)))
    most = math.log(max(num_values, *table.shape))
    return (float(mutual_info_score(None, None, contingency=table)) - expected) / max(most - expected, 1e-9)


def measure_chance(num_images: int, *, num_values: int) -> float:
    """Return the split that random values exceed in one case of a thousand.

    2 N I of independent placements is about chi-squared with (K - 1)^2 degrees of freedom (Wilks 1938).

    >>> round(measure_chance(60, num_values=5), 2), round(measure_chance(20, num_values=5), 2)
    (0.13, 0.48)
    """
    from scipy.stats import chi2

    freedom = (num_values - 1) ** 2
    rare, expected = (float(two_n_i) / (2 * num_images) for two_n_i in (chi2.ppf(1 - RARE, freedom), freedom))
    room = math.log(num_values) - expected
    return min((rare - expected) / room, 1.0) if room > 0 else 1.0


def rank(tried: Sequence[Tried], *, num_images: int, num_values: int) -> list[Suggestion]:
    """Return a suggestion for each criterion: first those that split the sample, the best first; then the others.

    Of criteria that sort alike, the one that splits best is good.
    """
    measured = [(measure(one, num_images=num_images, num_values=num_values), one) for one in tried]
    measured.sort(key=lambda pair: (bool(pair[0].problem), -pair[0].split, pair[0].criterion))
    good: list[Tried] = []
    ranked: list[Suggestion] = []
    for suggestion, one in measured:
        twin = next((other for other in good if sort_alike(one, other, num_values=num_values)), None)
        if suggestion.problem or twin is None:
            ranked.append(suggestion)
            good += [] if suggestion.problem else [one]
        else:
            ranked.append(replace(suggestion, problem=f"sorts as {twin.criterion!r} does"))
    return sorted(ranked, key=lambda suggestion: bool(suggestion.problem))


def sort_alike(one: Tried, other: Tried, *, num_values: int) -> bool:
    """Whether two criteria tell as much of each other as each of itself: their correlation, corrected for attenuation
    (Spearman 1904), is nearly 1.
    """
    split = partial(measure_split, num_values=num_values)
    reliability = split(*one.placed) * split(*other.placed)
    between = [split(first, second) for first, second in product(one.placed, other.placed)]
    return reliability > 0 and sum(between) / len(between) >= SAME_CORRELATION * math.sqrt(reliability)


def measure(tried: Tried, *, num_images: int, num_values: int) -> Suggestion:
    """Return how well one criterion splits the sample, and what is wrong with it."""
    first, second = tried.placed
    suggestion = Suggestion(
        criterion=tried.criterion,
        split=round(measure_split(first, second, num_values=num_values), DIGITS) + 0.0,  # no -0.0
        values=find_values(tried),
        coverage=round(len(first.keys() & second.keys()) / num_images, DIGITS),
        distinct_labels=len({singular_form(label) for label in tried.labels.values()}),
    )
    chance = measure_chance(num_images, num_values=num_values)
    return replace(suggestion, problem=find_problem(suggestion, max(MIN_SPLIT, chance), num_images))


def find_problem(suggestion: Suggestion, min_split: float, num_images: int) -> str:
    """Return why a criterion is no good, "" if it is."""
    largest = max((value.share for value in suggestion.values), default=1.0)
    if suggestion.coverage < MIN_COVERAGE:
        return f"only {suggestion.coverage:.0%} of the images get a value"
    if largest >= MAX_LARGEST_SHARE:
        return f"one value for {largest:.0%} of the images"
    if suggestion.split >= min_split:
        return ""
    if suggestion.distinct_labels >= MANY_LABELS_SHARE * num_images:
        return "nearly every image has a value of its own"
    return "values made from one half of the sample sort it otherwise than those made from the other"


def find_values(tried: Tried) -> tuple[Value, ...]:
    """Return the values that were made from the first half, or the labels where those were one, the frequent first."""
    clusters, placed = tried.values[0], tried.placed[0]
    if not clusters:
        counts, descriptions = Counter(tried.labels.values()), dict[str, str]()
    else:
        sizes = Counter(placed.values())
        counts = Counter({one.name: sizes[one.cluster_id] for one in clusters})
        descriptions = {one.name: one.description for one in clusters}
    total = max(counts.total(), 1)
    return tuple(
        Value(name=name, description=descriptions.get(name, ""), share=round(count / total, DIGITS))
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
