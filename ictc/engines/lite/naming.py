"""Names what a text is about under a criterion: words from the models' own vocabulary, ranked.

There is no list of categories here. The candidates are all words that both models know whole; the
language model says which of them the criterion and the text make likely, the embedder which of those
are close to the text.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ictc.engines.lite.embedder import Array, Embedder
from ictc.engines.lite.language_model import LanguageModel

CONTENT_FREE_TEXTS = ("", "...", "N/A")
CALIBRATION = np.float32(0.85)
"""How much of a word's log-probability without any text is taken off (contextual calibration, Zhao et al., 2021)."""
CRITERION_WEIGHT = np.float32(0.15)
"""How much counts that a word answers the criterion at all: its gain in log-probability over no criterion."""
MIN_LOG_PROB = -10.0
SIMILARITY_WEIGHT = np.float32(35.0)
"""Nats that a cosine similarity of 1 is worth."""
NUM_CANDIDATES = 300
"""Words that the language model proposes. It hardly expects "cats" as an answer even where a text speaks of cats, and
the embedder can only choose among what it is given."""
MIN_WORD_LENGTH = 3
STEM_LENGTH = 4
MAX_TEXT_CHARS = 500
CACHED_NAMES = 1024


class Namer:
    """Finds the words that name what a text is about."""

    def __init__(self, embedder: Embedder, language_model: LanguageModel) -> None:
        self._embedder = embedder
        self._language_model = language_model
        known = frozenset(embedder.words_by_frequency())
        words = sorted(
            (id_, word)
            for word, id_ in language_model.whole_words().items()
            if word in known and len(word) >= MIN_WORD_LENGTH
        )
        self._ids = np.array([id_ for id_, _ in words])
        self._words = [word for _, word in words]
        self._baseline = lru_cache(64)(self._compute_baseline)
        self._without_criterion = self._without_text(None)
        self.name = lru_cache(CACHED_NAMES)(self._name)

    def _name(self, text: str, *, criterion: str, num_words: int = 2) -> tuple[str, ...]:
        """Return the `num_words` best words, best first, no two of one stem."""
        log_probs = self._log_probs(text, criterion=criterion)
        gain = np.where(log_probs > MIN_LOG_PROB, log_probs - self._baseline(criterion), -np.inf)
        candidates = np.argsort(-gain, kind="stable")[:NUM_CANDIDATES]
        words = [self._words[index] for index in candidates]
        similarity = self._embedder.embed(words) @ self._embedder.embed([text])[0]
        score = gain[candidates] + SIMILARITY_WEIGHT * similarity
        ranked = [words[index] for index in np.argsort(-score, kind="stable")]
        return tuple(first_of_each_stem(ranked)[:num_words])

    def _compute_baseline(self, criterion: str) -> Array:
        """Return what each word owes to the prompt and not to the text, less what it owes to the criterion."""
        without_text = self._without_text(criterion)
        return CALIBRATION * without_text - CRITERION_WEIGHT * (without_text - self._without_criterion)

    def _without_text(self, criterion: str | None) -> Array:
        log_probs = [self._log_probs(text, criterion=criterion) for text in CONTENT_FREE_TEXTS]
        mean: Array = np.logaddexp.reduce(log_probs, axis=0) - np.log(np.float32(len(log_probs)))
        return mean

    def _log_probs(self, text: str, *, criterion: str | None) -> Array:
        asked, opening = ("", "It") if criterion is None else (f"the {plain(criterion)} of ", f"The {plain(criterion)}")
        state = self._language_model.read_on(
            self._language_model.read(quote(text)),
            f"\n\nWhat is {asked}this image? Answer with one or two words.<|im_end|>\n"
            f"<|im_start|>assistant\n{opening} is",
        )
        log_probs: Array = state.log_probs[self._ids]
        return log_probs


def first_of_each_stem(words: list[str]) -> list[str]:
    """Return the words without those that begin like an earlier one ("traveling" after "travel")."""
    kept: dict[str, str] = {}
    for word in words:
        kept.setdefault(word[:STEM_LENGTH], word)
    return list(kept.values())


def quote(text: str) -> str:
    """Return the opening of a prompt about an image that says `text`.

    All prompts about one image begin with it, so that the model reads it once.
    """
    return f'<|im_start|>user\nAn image says: "{plain(text)[:MAX_TEXT_CHARS]}"'


def plain(text: str) -> str:
    """Return the text without what would be read as chat markup."""
    return text.replace("<|", "< |")
