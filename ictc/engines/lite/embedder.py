"""Sentence embeddings by all-MiniLM-L6-v2, computed with NumPy.

NumPy because PyTorch from the package index brings gigabytes of CUDA libraries to a machine without a
GPU, and these six layers need none. Only texts of equally many tokens are computed together, and the products of
matrices one text at a time: so without padding, and whatever else is in flight, an embedding is the same to the bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
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
TOKENS_AT_ONCE = 1024
"""What is computed together: enough that the weights are read seldom, few enough that the rest stays in the cache."""


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
        self._known: dict[str, Array] = {}

    def embed(self, texts: Sequence[str]) -> Array:
        """Return the unit vectors of `texts`, shape (N, 384); the same for a text, whatever stands beside it."""
        found = {text: vector for text in texts if (vector := self._known.get(text)) is not None}
        for batch in self._iter_batches(sorted(set(texts) - found.keys())):
            vectors = self._embed_batch(np.array([ids for _, ids in batch]))
            made = {text: vector for (text, _), vector in zip(batch, vectors, strict=True)}
            found.update(made)
            self._keep(made)
        return np.stack([found[text] for text in texts])

    def words_by_frequency(self) -> list[str]:
        """Return the lower-case words that the vocabulary holds in one piece; WordPiece lists common ones first."""
        by_id = sorted(self._tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        return [word for word, _ in by_id if word.isascii() and word.isalpha()]

    def _iter_batches(self, texts: Sequence[str]) -> Iterator[list[tuple[str, list[int]]]]:
        """Yield texts with their tokens, equally many in each batch."""
        by_length: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
        for text in texts:
            ids = self._tokenizer.encode(text).ids
            by_length[len(ids)].append((text, ids))
        for length, entries in by_length.items():
            size = max(TOKENS_AT_ONCE // length, 1)
            yield from (entries[start : start + size] for start in range(0, len(entries), size))

    def _keep(self, vectors: dict[str, Array]) -> None:
        """Remember vectors, and forget those that came first where they are too many; threads may do so at once."""
        self._known.update(vectors)
        if (surplus := len(self._known) - CACHED_TEXTS) > 0:
            for text in list(self._known)[:surplus]:
                self._known.pop(text, None)

    def _embed_batch(self, ids: npt.NDArray[np.int64]) -> Array:
        """Return the unit vectors, shape (B, 384), of token ids, shape (B, T)."""
        hidden: Array = self._weights["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        hidden = hidden + self._weights["embeddings.token_type_embeddings.weight"][0]
        hidden = self._layer_norm(hidden, "embeddings.LayerNorm")
        for layer in range(NUM_LAYERS):
            hidden = self._transform(hidden, f"encoder.layer.{layer}")
        return np.stack([mean / np.linalg.norm(mean) for mean in hidden.mean(axis=1)])

    def _transform(self, hidden: Array, layer: str) -> Array:
        from scipy.special import erf

        attended = self._linear(self._attend(hidden, f"{layer}.attention.self"), f"{layer}.attention.output.dense")
        hidden = self._layer_norm(hidden + attended, f"{layer}.attention.output.LayerNorm")
        wide = self._linear(hidden, f"{layer}.intermediate.dense")
        gelu = wide * np.float32(0.5) * (1 + erf(wide * np.float32(0.5**0.5)))
        return self._layer_norm(hidden + self._linear(gelu, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")

    def _attend(self, hidden: Array, name: str) -> Array:
        query, key, value = (self._heads(self._linear(hidden, f"{name}.{part}")) for part in ("query", "key", "value"))
        weights = softmax(query @ key.swapaxes(2, 3) / np.float32(query.shape[-1] ** 0.5))
        merged: Array = (weights @ value).swapaxes(1, 2).reshape(hidden.shape)
        return merged

    def _heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], NUM_HEADS, -1).swapaxes(1, 2)

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
