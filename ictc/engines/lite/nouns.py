"""Tells nouns that stand alone ("hotels") from other words ("portable", "pre"). Knows words and the language model.

A word is such a noun if a sentence may end with it where a noun is due. The language model says so, by the probability
of a full stop; no list of words does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ictc.engines.lite.embedder import Array
from ictc.engines.lite.language_model import LanguageModel, PromptState

FRAMES = ("An advertisement about", "There are many kinds of")
"""Both ask for a mass noun or a plural: "about culinary" and "about restaurant" go on, "about restaurants" may end."""
FULL_STOP = "."
MIN_LOG_PROB = np.float32(-4.3)
"""Nouns have -1.5 to -4; adjectives, verbs and countable singulars -4.5 to -10."""
MAX_WORDS_AT_ONCE = 64


class NounJudge:
    """Judges words by how well a sentence ends with them."""

    def __init__(self, language_model: LanguageModel) -> None:
        self._language_model = language_model
        self._frames = [language_model.read(frame) for frame in FRAMES]

    def nouns_among(self, words: Sequence[str]) -> list[str]:
        """Return the words that stand alone as nouns, in their order."""
        log_probs = self._log_probs_of_ending(words)
        return [word for word, log_prob in zip(words, log_probs.tolist(), strict=True) if log_prob >= MIN_LOG_PROB]

    def _log_probs_of_ending(self, words: Sequence[str]) -> Array:
        """Return the log-probability of a full stop after each word, the mean over the frames, shape (N,)."""
        chunks = [words[start : start + MAX_WORDS_AT_ONCE] for start in range(0, len(words), MAX_WORDS_AT_ONCE)]
        judged = [np.mean([self._ending(frame, chunk) for frame in self._frames], axis=0) for chunk in chunks]
        return np.concatenate([np.zeros(0, np.float32), *judged])

    def _ending(self, frame: PromptState, words: Sequence[str]) -> Array:
        return self._language_model.log_probs_after(frame, [f" {word}" for word in words], token=FULL_STOP)
