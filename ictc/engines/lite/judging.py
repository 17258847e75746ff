"""Judges the words read in an image by likelihood: is it an app's interface, which line is the brand.

Knows texts and the language model, nothing of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ictc.engines.lite.language_model import LanguageModel
from ictc.engines.lite.naming import plain, quote

ADVERTISEMENT = " an advertisement"
INTERFACE = " the user interface of an app"
MIN_INTERFACE_LOG_ODDS = 0.9
AS_BRAND = (
    "<|im_start|>user\nWhich company or brand is this from?<|im_end|>\n<|im_start|>assistant\nThe name of the brand is"
)
AS_COPY = "<|im_start|>user\nWrite an advertisement.<|im_end|>\n<|im_start|>assistant\n"
MAX_BRAND_WORDS = 4
MAX_BRAND_CHARS = 40
MAX_BRAND_CANDIDATES = 8


class Judge:
    """Compares how likely the language model finds one continuation against another."""

    def __init__(self, language_model: LanguageModel) -> None:
        self._language_model = language_model
        self._log_odds_without_text = self._interface_log_odds("")
        self._as_brand = language_model.read(AS_BRAND)
        self._as_copy = language_model.read(AS_COPY)

    def is_interface(self, text: str) -> bool:
        """Tell the words of a bare app screen from those of an advertisement or other content.

        In doubt it is content: a screen among the ads costs less than a lost ad.
        """
        return self._interface_log_odds(text) - self._log_odds_without_text > MIN_INTERFACE_LOG_ODDS

    def find_brand(self, lines: Sequence[str]) -> str:
        """Return the short line that is likelier as a brand's name than as a line of copy, "" if none is short."""
        candidates = [line for line in dict.fromkeys(lines) if is_short(line)][:MAX_BRAND_CANDIDATES]
        if not candidates:
            return ""
        continuations = [f" {plain(line)}" for line in candidates]
        as_brand = self._language_model.log_likelihoods(self._as_brand, continuations)
        as_copy = self._language_model.log_likelihoods(self._as_copy, continuations)
        return candidates[int(np.argmax(as_brand - as_copy))]

    def _interface_log_odds(self, text: str) -> float:
        state = self._language_model.read_on(
            self._language_model.read(quote(text)),
            "\n\nWhat is this text taken from?<|im_end|>\n<|im_start|>assistant\nThis text is taken from",
        )
        interface, advertisement = self._language_model.log_likelihoods(state, (INTERFACE, ADVERTISEMENT))
        return float(interface - advertisement)


def is_short(line: str) -> bool:
    """Whether a line could be a name."""
    return any(map(str.isalpha, line)) and len(line) <= MAX_BRAND_CHARS and len(line.split()) <= MAX_BRAND_WORDS
