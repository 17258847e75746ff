"""What Step 2b reads: the labels by frequency, near-duplicates merged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rapidfuzz import fuzz, process

SAME_LABEL_SCORE = 90.0
"""Labels whose words, sorted, agree by this `token_sort_ratio` are one label ("limited time offer(s)")."""


@dataclass(frozen=True, slots=True)
class LabelHistogram:
    """The labels that Step 2b reads.

    Attributes:
        labels: the most frequent labels with their counts, largest first, near-duplicates added in.
        num_images: images with a label.
        num_distinct: distinct labels before anything was merged.
    """

    labels: tuple[tuple[str, int], ...]
    num_images: int
    num_distinct: int

    @property
    def covered_images(self) -> int:
        """Images whose label, or a near-duplicate of it, is among `labels`."""
        return sum(count for _, count in self.labels)

    @property
    def coverage(self) -> float:
        """Share of the labelled images that `labels` stand for, in [0, 1]."""
        return self.covered_images / self.num_images if self.num_images else 0.0


def build_histogram(counts: Mapping[str, int], top: int) -> LabelHistogram:
    """Merge near-duplicates and keep the `top` most frequent labels.

    Labels are taken by falling count (then alphabetically); each joins the most similar label kept before
    it, if that is similar enough. Rare labels are compared with the frequent ones only, so the cost is
    linear in the number of distinct labels.
    """
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    merged: Counter[str] = Counter()
    kept: dict[str, str] = {}
    for label, count in ordered:
        simple = simplify(label)
        match = process.extractOne(simple, kept, scorer=fuzz.token_sort_ratio, score_cutoff=SAME_LABEL_SCORE)
        if match is not None:
            merged[match[2]] += count
        else:
            merged[label] = count
            if len(kept) < 4 * top:
                kept[label] = simple
    labels = sorted(merged.items(), key=lambda pair: (-pair[1], pair[0]))[:top]
    return LabelHistogram(tuple(labels), sum(counts.values()), len(counts))


def simplify(label: str) -> str:
    """Return the label without punctuation and plural endings, for comparing only.

    >>> simplify("limited-time offers")
    'limited time offer'
    """
    words = re.findall(r"\w+", label.casefold())
    return " ".join(
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words
    )
