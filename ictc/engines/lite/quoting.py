"""Chooses the words of an image that show best why it is in a cluster. Knows texts and embeddings, no requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ictc.engines.lite.embedder import Array, Embedder

MAX_WORDS = 12
STEP = 4
"""Words between the beginnings of two pieces of a long sentence."""
SENTENCES = re.compile(r"[^.!?;\n]*[^.!?;\s][^.!?;\n]*[.!?]*")
WORDS = re.compile(r"\S+")


def find_best_quote(texts: Sequence[str], prototype: Array, embedder: Embedder) -> str:
    """Return the piece of the texts whose meaning is nearest to a unit vector, shape (384,); "" if they have no words.

    Of equally near ones, the first.
    """
    pieces = list(dict.fromkeys(piece for text in texts for piece in iter_pieces(text)))
    if not pieces:
        return ""
    nearest = (embedder.embed(pieces) @ prototype).argmax()
    return pieces[int(nearest)]


def iter_pieces(text: str) -> Iterator[str]:
    """Yield the sentences of a text as they stand in it, long ones in pieces that overlap.

    >>> list(iter_pieces("50% off all flights!  Book now"))
    ['50% off all flights!', 'Book now']
    """
    for sentence in SENTENCES.finditer(text):
        words = list(WORDS.finditer(sentence.group()))
        for start in range(0, max(1, len(words) - MAX_WORDS + STEP), STEP):
            piece = words[start : start + MAX_WORDS]
            yield sentence.group()[piece[0].start() : piece[-1].end()]
