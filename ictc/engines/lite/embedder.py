"""Sentence embeddings by all-MiniLM-L6-v2, computed by ONNX Runtime.

Not by PyTorch, which from the package index brings gigabytes of CUDA libraries to a machine without a GPU, and these
six layers need none. One text at a time: so without padding, and whatever else is in flight, an embedding is the same
to the bit; texts side by side would be quicker by a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ictc.engines.lite.bert import build_encoder, embed
from ictc.engines.lite.graph import open_graph
from ictc.engines.lite.weights import MINILM, MINILM_TOKENIZER, locate

Array = npt.NDArray[np.float32]

MAX_TOKENS = 256
CACHED_TEXTS = 50_000


class Embedder:
    """Maps texts to unit vectors whose dot product is their similarity in meaning."""

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        self._weights: dict[str, Array] = load_file(locate(MINILM))
        self._encoder = open_graph(build_encoder(self._weights).SerializeToString())
        self._tokenizer: Any = Tokenizer.from_file(str(locate(MINILM_TOKENIZER)))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._known: dict[str, Array] = {}

    def embed(self, texts: Sequence[str]) -> Array:
        """Return the unit vectors of `texts`, shape (N, 384); the same for a text, whatever stands beside it."""
        found = {text: vector for text in texts if (vector := self._known.get(text)) is not None}
        made = {text: self._embed(text) for text in sorted(set(texts) - found.keys())}
        found.update(made)
        self._keep(made)
        return np.stack([found[text] for text in texts])

    def words_by_frequency(self) -> list[str]:
        """Return the lower-case words that the vocabulary holds in one piece; WordPiece lists common ones first."""
        by_id = sorted(self._tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        return [word for word, _ in by_id if word.isascii() and word.isalpha()]

    def _keep(self, vectors: dict[str, Array]) -> None:
        """Remember vectors, and forget those that came first where they are too many; threads may do so at once."""
        self._known.update(vectors)
        if (surplus := len(self._known) - CACHED_TEXTS) > 0:
            for text in list(self._known)[:surplus]:
                self._known.pop(text, None)

    def _embed(self, text: str) -> Array:
        (vector,) = self._encoder.run(None, {"embedded": embed(self._tokenizer.encode(text).ids, self._weights)})
        return np.asarray(vector)


def softmax(x: Array) -> Array:
    """Return `x` as probabilities along its last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result
