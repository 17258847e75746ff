"""Sentence embeddings by all-MiniLM-L6-v2, computed with NumPy.

NumPy because PyTorch from the package index brings gigabytes of CUDA libraries to a machine without a
GPU, and these six layers need none. Texts are embedded one at a time: without padding an embedding
can't depend on what else is in flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ictc.engines.lite.weights import MINILM, MINILM_TOKENIZER, locate

Array = npt.NDArray[np.float32]

NUM_LAYERS = 6
NUM_HEADS = 12
LAYER_NORM_EPSILON = np.float32(1e-12)
MAX_TOKENS = 256
CACHED_TEXTS = 50_000


class Embedder:
    """Maps texts to unit vectors whose dot product is their similarity in meaning.

    Architecture: BERT (Devlin et al., 2019) with mean pooling (Reimers and Gurevych, 2019).
    """

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        self._weights: dict[str, Array] = load_file(locate(MINILM))
        self._tokenizer: Any = Tokenizer.from_file(str(locate(MINILM_TOKENIZER)))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._embed_cached = lru_cache(CACHED_TEXTS)(self._embed_one)

    def embed(self, texts: Sequence[str]) -> Array:
        """Return the unit vectors of `texts`, shape (N, 384)."""
        return np.stack([self._embed_cached(text) for text in texts])

    def words_by_frequency(self) -> list[str]:
        """Return the lower-case words that the vocabulary holds in one piece; WordPiece lists common ones first."""
        by_id = sorted(self._tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        return [word for word, _ in by_id if word.isascii() and word.isalpha()]

    def _embed_one(self, text: str) -> Array:
        ids = self._tokenizer.encode(text).ids
        hidden = self._weights["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + self._weights["embeddings.position_embeddings.weight"][: len(ids)]
        hidden = hidden + self._weights["embeddings.token_type_embeddings.weight"][0]
        hidden = self._layer_norm(hidden, "embeddings.LayerNorm")
        for layer in range(NUM_LAYERS):
            hidden = self._transform(hidden, f"encoder.layer.{layer}")
        mean: Array = hidden.mean(axis=0)
        unit: Array = mean / np.linalg.norm(mean)
        return unit

    def _transform(self, hidden: Array, layer: str) -> Array:
        from scipy.special import erf

        attended = self._linear(self._attend(hidden, f"{layer}.attention.self"), f"{layer}.attention.output.dense")
        hidden = self._layer_norm(hidden + attended, f"{layer}.attention.output.LayerNorm")
        wide = self._linear(hidden, f"{layer}.intermediate.dense")
        gelu = wide * np.float32(0.5) * (1 + erf(wide * np.float32(0.5**0.5)))
        return self._layer_norm(hidden + self._linear(gelu, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")

    def _attend(self, hidden: Array, name: str) -> Array:
        query, key, value = (self._heads(self._linear(hidden, f"{name}.{part}")) for part in ("query", "key", "value"))
        weights = softmax(query @ key.transpose(0, 2, 1) / np.float32(query.shape[-1] ** 0.5))
        merged: Array = (weights @ value).transpose(1, 0, 2).reshape(hidden.shape)
        return merged

    def _heads(self, x: Array) -> Array:
        return x.reshape(len(x), NUM_HEADS, -1).transpose(1, 0, 2)

    def _linear(self, x: Array, name: str) -> Array:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _layer_norm(self, x: Array, name: str) -> Array:
        centered = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centered * centered).mean(axis=-1, keepdims=True) + LAYER_NORM_EPSILON)
        normed: Array = centered / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return normed


def softmax(x: Array) -> Array:
    """Return `x` as probabilities along its last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result
