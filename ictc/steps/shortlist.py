"""Which clusters are listed where an image is asked about, if there are more of them than one question should list.

Chosen by words alone, so that equal images are shown equal lists wherever they are asked about: the cluster that Step
2b put the image's label into, and those whose name, description and labels share most words with its label and caption,
rare words counting more (inverse document frequency, Spärck Jones 1972). The model chooses among them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import TYPE_CHECKING, Any

from ictc.config.levels import MOST_AT_ONCE
from ictc.records import ClusterDefinition, LabeledCaption
from ictc.steps.results import Results
from ictc.steps.synthesis.result import PlacedLabel
from ictc.steps.synthesize import SYNTHESIZE, definitions_of
from ictc.storage.keys import digest
from ictc.tracks.spelling import singular_form

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

MOST_LISTED = MOST_AT_ONCE
METHOD = 1
"""Another one where other clusters would be listed."""

WORDS = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, eq=False)
class Shortlist:
    """Clusters to choose some from.

    Attributes:
        clusters: K of them.
        placed: labels with the cluster that each belongs to, as far as that is known.
    """

    clusters: Sequence[ClusterDefinition]
    placed: Sequence[PlacedLabel] = ()

    def pick(self, item: LabeledCaption) -> frozenset[int]:
        """Return the numbers of `MOST_LISTED` clusters, or of all if there are no more."""
        import numpy as np

        label = item[1]
        scores = self._scores(item)
        home = self._home.get(singular_form(label)) if label else None
        if home is not None:
            scores[home] = np.inf
        # Of clusters that share equally much with it, those of more images come first.
        best = np.lexsort((-self._sizes, -scores))[:MOST_LISTED]
        return frozenset(self.clusters[row].cluster_id for row in best.tolist())

    def _scores(self, item: LabeledCaption) -> Floats:
        """Return how much each cluster has in common with an image, shape (K,)."""
        import numpy as np

        caption, label = item
        texts = (label, caption.category, caption.brand, caption.text, caption.summary, *caption.analysis.values())
        scores = np.zeros(len(self.clusters))
        for word in sorted(set(iter_words(texts))):
            if (found := self._postings.get(word)) is not None:
                rows, weights = found
                scores[rows] += weights
        return scores

    @cached_property
    def _row_of(self) -> Mapping[int, int]:
        return {cluster.cluster_id: row for row, cluster in enumerate(self.clusters)}

    @cached_property
    def _home(self) -> Mapping[str, int]:
        """The cluster of each label."""
        return {singular_form(one.label): self._row_of[one.cluster_id] for one in self.placed}

    @cached_property
    def _sizes(self) -> Integers:
        """How many images carry the labels of each cluster, shape (K,)."""
        import numpy as np

        sizes = np.zeros(len(self.clusters), np.int64)
        for one in self.placed:
            sizes[self._row_of[one.cluster_id]] += one.count
        return sizes

    @cached_property
    def _postings(self) -> Mapping[str, tuple[Integers, Floats]]:
        """For each word the clusters that have it, and what it counts in each of them."""
        import numpy as np

        words_of = [set(iter_words((one.name, one.description, one.include))) for one in self.clusters]
        for label in self.placed:
            words_of[self._row_of[label.cluster_id]].update(iter_words((label.label,)))
        num_having = Counter(word for words in words_of for word in words)
        rarity = {word: log((1 + len(words_of)) / (1 + count)) + 1 for word, count in num_having.items()}
        rows: dict[str, list[int]] = {}
        weights: dict[str, list[float]] = {}
        for row, words in enumerate(words_of):
            length = sum(rarity[word] ** 2 for word in words) ** 0.5
            for word in words:
                rows.setdefault(word, []).append(row)
                weights.setdefault(word, []).append(rarity[word] ** 2 / length)
        return {word: (np.array(rows[word]), np.array(weights[word])) for word in rows}


def shortlist_of(results: Results) -> Shortlist | None:
    """Return what says which clusters are listed, None where there are few enough to list all."""
    clusters, made = definitions_of(results), results.find(SYNTHESIZE)
    if len(clusters) <= MOST_LISTED:
        return None
    return Shortlist(clusters=clusters, placed=made.placed if made else ())


def shortlist_key(results: Results) -> dict[str, Any]:
    """Return what that adds to the key of the step."""
    shortlist = shortlist_of(results)
    if shortlist is None:
        return {}
    return {"listed": digest([METHOD, MOST_LISTED, [(one.label, one.cluster_id) for one in shortlist.placed]])}


def iter_words(texts: Iterable[str]) -> Iterator[str]:
    """Yield the words of texts in the singular; of scripts that part no words by spaces, their pairs of letters too.

    >>> sorted(set(iter_words(["Running shoes!", "\\u8fd0\\u52a8\\u978b"])))
    ['running', 'shoe', '\\u52a8\\u978b', '\\u8fd0\\u52a8', '\\u8fd0\\u52a8\\u978b']
    """
    for text in texts:
        for word in WORDS.findall(text):
            yield singular_form(word)
            if not word.isascii():
                yield from (word[start : start + 2] for start in range(len(word) - 1))
