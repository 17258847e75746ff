"""Puts back the spaces that text recognition loses ("breakfastandcoffee"). Knows words and how common they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

LETTERS = re.compile(r"[A-Za-z]+")
GLUED_PUNCTUATION = re.compile(r"(?<=[A-Za-z]{2})([,;:!?]|\.(?=[A-Z]))(?=[A-Za-z])")
MIN_RUN_LENGTH = 7
MAX_WORD_LENGTH = 20
MIN_MEAN_LENGTH = 3.3
COMMON_RANK = 500


class Spacer:
    """Splits runs of letters into the most probable words.

    The probability of a word follows from its rank by Zipf's law; the best split is found by dynamic programming.
    """

    def __init__(self, ranks: Mapping[str, int]) -> None:
        """Take each known lower-case word with its rank, 0 for the most common."""
        self._ranks = {word: rank for word, rank in ranks.items() if len(word) > 1 or word == "a"}
        log_size = math.log(len(ranks))
        self._costs = {word: math.log((rank + 1) * log_size) for word, rank in self._ranks.items()}

    def restore(self, text: str) -> str:
        """Return `text` with a space after glued punctuation and between glued words; nothing else changes."""
        spaced = GLUED_PUNCTUATION.sub(r"\1 ", text)
        return LETTERS.sub(lambda match: self._separate(match.group()), spaced)

    def _separate(self, run: str) -> str:
        if len(run) < MIN_RUN_LENGTH or run.lower() in self._costs:
            return run
        words = self._best_split(run)
        return " ".join(words) if self._are_glued(words) else run

    def _best_split(self, run: str) -> list[str]:
        lowered = run.lower()
        best: list[tuple[float, int]] = [(0.0, 0)]
        for end in range(1, len(run) + 1):
            starts = range(max(0, end - MAX_WORD_LENGTH), end)
            best.append(
                min((best[start][0] + self._costs.get(lowered[start:end], math.inf), start) for start in starts)
            )
        if math.isinf(best[-1][0]):
            return [run]
        words: list[str] = []
        end = len(run)
        while end:
            start = best[end][1]
            words.insert(0, run[start:end])
            end = start
        return words

    def _are_glued(self, words: list[str]) -> bool:
        """Tell lost spaces from an unknown compound ("mirrorless"), which has two parts and no very common one."""
        if len(words) == 1 or sum(map(len, words)) / len(words) < MIN_MEAN_LENGTH:
            return False
        capitals = all(word[0].isupper() for word in words[1:])
        common = any(self._ranks[word.lower()] < COMMON_RANK for word in words)
        return capitals or common or len(words) > 2
