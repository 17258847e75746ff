"""Names groups of labels and defines them in plain English. Knows words, how often and where they stand, no images.

A name is one or two nouns of the group's own labels: frequent there, near to what the group is about, and of no other
group. The definition is a sentence of the name and the next such nouns. Words of labels count only if the models know
them whole, so that no label can bring text of its own into a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from ictc.engines.lite.embedder import Array, Embedder
from ictc.engines.lite.naming import first_of_each_stem
from ictc.engines.lite.nouns import NounJudge
from ictc.engines.lite.synthesis import LabelGroup, words_of

NAME_JOINT = " and "
WORD = re.compile("[a-z]{3,}")
NO_CONTENT = frozenset(("and", "the", "for", "with", "not", "other"))
NUM_JUDGED = 12
"""Best words of a group of which nouns are sought."""
NUM_LISTED = 5
"""Nouns that a definition lists beside the name."""
SHARE_WEIGHT = np.float32(0.1)
"""What e times as many images are worth, as a cosine similarity."""
CONTRAST = np.float32(0.5)
"""How much of a word's similarity to the nearest other group is taken off."""
ENOUGH_SHARE = 0.6
"""A noun that so many of a group's images have names it alone."""
RARE = 0.5
"""A noun that has less than this share of the most frequent one's images names no group beside it."""
MAX_NAME_CHARS = 60
NUMBER_CHARS = 5
TINY = np.float32(1e-9)
OPENERS = re.compile(
    r"(an?|the|this|that|these|those|their|its|our|your|my|what|who|whom|whose|which|where|when|why|how|whether)\b",
    re.IGNORECASE,
)
"""With these words a criterion begins that takes no article."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A group in words."""

    name: str
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedWords:
    """The words of one group.

    Attributes:
        words: those that fit no other group better before all others, and of these the best first.
        own: those that fit no other group better.
        shares: of the group's images that have each.
    """

    words: tuple[str, ...]
    own: frozenset[str]
    shares: Mapping[str, float]


class Describer:
    """Describes groups beside one another."""

    def __init__(self, embedder: Embedder, nouns: NounJudge) -> None:
        self._embedder = embedder
        self._nouns = nouns
        self._known = frozenset(embedder.words_by_frequency())

    def describe(self, groups: Sequence[LabelGroup], *, criterion: str, max_chars: int) -> list[Description]:
        """Return a name and a definition for each group, no name twice."""
        words = self._rank_words(groups)
        taken: set[frozenset[str]] = set()
        descriptions = []
        for group, ranked in zip(groups, words, strict=True):
            description = self._describe_one(group, ranked, criterion=criterion, max_chars=max_chars, taken=taken)
            taken.add(meaning_of(description.name))
            descriptions.append(description)
        return descriptions

    def describe_first(
        self, groups: Sequence[LabelGroup], *, criterion: str, max_chars: int, taken: Iterable[str]
    ) -> Description:
        """Return a name that says other than `taken`, and a definition, for the first of the groups."""
        ranked = self._rank_words(groups)[0]
        used = set(map(meaning_of, taken))
        return self._describe_one(groups[0], ranked, criterion=criterion, max_chars=max_chars, taken=used)

    def _describe_one(
        self,
        group: LabelGroup,
        ranked: RankedWords,
        *,
        criterion: str,
        max_chars: int,
        taken: Collection[frozenset[str]],
    ) -> Description:
        nouns = first_of_each_stem(self._nouns.nouns_among(ranked.words[:NUM_JUDGED]))
        name = next(name for name in iter_names(group, nouns, ranked) if meaning_of(name) not in taken)
        listed = [noun for noun in nouns if noun in ranked.own - meaning_of(name)][:NUM_LISTED]
        return Description(name=name, definition=define(name, listed, criterion=criterion, max_chars=max_chars))

    def _rank_words(self, groups: Sequence[LabelGroup]) -> list[RankedWords]:
        shares = [self._word_shares(group) for group in groups]
        words = sorted({word for group in shares for word in group})
        if not words:
            return [RankedWords(words=(), own=frozenset(), shares={}) for _ in groups]
        scores = self._score_words(words, shares)
        own = scores == scores.max(axis=0)
        rankings = []
        for row, mine, group in zip(scores, own, shares, strict=True):
            order = [index for index in np.lexsort((-row, ~mine)) if words[index] in group]
            mine_words = frozenset(words[index] for index in order if mine[index])
            rankings.append(RankedWords(words=tuple(words[index] for index in order), own=mine_words, shares=group))
        return rankings

    def _score_words(self, words: Sequence[str], shares: Sequence[Mapping[str, float]]) -> Array:
        """Return how well each word names each group, shape (G, W): frequent there, near to it, far from the others."""
        vectors = self._embedder.embed(words)
        table = np.array([[group.get(word, 0.0) for word in words] for group in shares], np.float32)
        similarity = center(vectors, table) @ vectors.T
        contrast = similarity - CONTRAST * highest_of_others(similarity)
        scores: Array = np.where(
            table > 0, contrast + SHARE_WEIGHT * np.log(np.maximum(table, TINY)), -np.float32(np.inf)
        )
        return scores

    def _word_shares(self, group: LabelGroup) -> dict[str, float]:
        """Return the share of the group's images that have each known word in their label."""
        weights: Counter[str] = Counter()
        for label, number in zip(group.labels, group.counts, strict=True):
            for word in set(WORD.findall(label.lower())) & self._known - NO_CONTENT:
                weights[word] += number
        total = sum(group.counts)
        return {word: weight / total for word, weight in weights.items()}


def center(vectors: Array, weights: Array) -> Array:
    """Return the unit vector of each group, shape (G, D), the mean of word vectors, shape (W, D), by weights (G, W)."""
    means = weights @ vectors
    unit: Array = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), TINY)
    return unit


def highest_of_others(scores: Array) -> Array:
    """Return for each group and word the highest score with another group, shape (G, W); 0 if there is no other."""
    if len(scores) == 1:
        return np.zeros_like(scores)
    return np.stack([np.delete(scores, number, axis=0).max(axis=0) for number in range(len(scores))])


def iter_names(group: LabelGroup, nouns: Sequence[str], ranked: RankedWords) -> Iterator[str]:
    """Yield names without end, the best first: of the group's own nouns, of all, whole labels, and with numbers.

    >>> group = LabelGroup(labels=("travel and hotels",), counts=(4,))
    >>> words, shares = ("travel", "hotels"), {"travel": 0.8, "hotels": 0.4}
    >>> ranked = RankedWords(words=words, own=frozenset(["travel"]), shares=shares)
    >>> names = iter_names(group, words, ranked)
    >>> [next(names) for _ in range(4)]
    ['Travel', 'Travel', 'Travel and Hotels', 'Hotels']
    """
    yield from join_nouns([noun for noun in nouns if noun in ranked.own], ranked.shares)
    yield from join_nouns(nouns, ranked.shares)
    yield from map(tidy_name, group.labels)
    yield from (f"{tidy_name(group.labels[0])[: MAX_NAME_CHARS - NUMBER_CHARS]} {number}" for number in count(2))


def join_nouns(nouns: Sequence[str], shares: Mapping[str, float]) -> Iterator[str]:
    """Yield names of one noun or two, the best first: one alone where most images have it in their label.

    Nouns that are rare beside the most frequent one come last.

    >>> list(join_nouns(["travel", "hotels", "ferries"], {"travel": 0.4, "hotels": 0.3, "ferries": 0.1}))
    ['Travel and Hotels', 'Travel', 'Hotels', 'Ferries']
    """
    highest = max((shares[noun] for noun in nouns), default=0.0)
    frequent = [noun for noun in nouns if shares[noun] >= RARE * highest]
    for place, noun in enumerate(frequent):
        alone = noun.capitalize()
        pairs = [f"{alone}{NAME_JOINT}{other.capitalize()}" for other in frequent[place + 1 :]]
        yield from (alone, *pairs) if shares[noun] >= ENOUGH_SHARE else (*pairs, alone)
    yield from (noun.capitalize() for noun in nouns if noun not in frequent)


def meaning_of(name: str) -> frozenset[str]:
    """Return the words of a name without what joins them."""
    return frozenset(words_of(name))


def tidy_name(label: str) -> str:
    """Return a label as a name.

    >>> tidy_name("no readable text")
    'No readable text'
    """
    return (label[:1].upper() + label[1:])[:MAX_NAME_CHARS]


def define(name: str, others: Sequence[str], *, criterion: str, max_chars: int) -> str:
    """Return one sentence that says what the group is, with as many of the others as fit.

    >>> define("Travel", ["hotels", "flights"], criterion="product category", max_chars=300)
    'The product category is travel, including hotels and flights.'
    >>> define("Delivery", [], criterion="what is complained about", max_chars=300)
    'What is complained about is delivery.'
    """
    opening = f"{opening_of(criterion)}{name.lower()}"
    if len(opening) >= max_chars:
        opening = name
    sentences = (f"{opening}{listing(others[:number])}." for number in range(len(others), -1, -1))
    return next((sentence for sentence in sentences if len(sentence) <= max_chars), name[:max_chars])


def opening_of(criterion: str) -> str:
    """Return how a definition by this criterion begins.

    >>> opening_of("emotional tone")
    'The emotional tone is '
    """
    asked = " ".join(criterion.split()).rstrip(".?!")
    subject = asked if OPENERS.match(asked) else f"the {asked}"
    return f"{subject[:1].upper()}{subject[1:]} is "


def listing(words: Sequence[str]) -> str:
    """Return words as the end of a sentence, "" if there are none.

    >>> listing(["hotels", "flights", "resorts"])
    ', including hotels, flights and resorts'
    """
    if not words:
        return ""
    *before, last = words
    return f", including {', '.join(before)}{' and ' if before else ''}{last}"
