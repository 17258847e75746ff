"""What stands for a cluster where images are assigned. Knows definitions and embeddings, no labels and no images."""

from __future__ import annotations

import re

import numpy as np

from ictc.engines.lite.describing import opening_of
from ictc.engines.lite.embedder import Array, Embedder
from ictc.engines.lite.synthesis import embed_labels

SEPARATORS = re.compile(r"[,;:.()]|\b(?:and|or|including|such as|for example)\b", re.IGNORECASE)


def embed_definition(name: str, *, description: str, criterion: str, embedder: Embedder) -> Array:
    """Return the unit vector that stands for a cluster, shape (384,): the mean of what its name and description list.

    The mean of the phrases is closer to the cluster's members than the embedding of the sentence is.
    """
    phrases = list(dict.fromkeys([*phrases_of(name), *phrases_of(description.removeprefix(opening_of(criterion)))]))
    mean = embed_labels(phrases or [name], embedder).mean(axis=0)
    unit: Array = mean / np.linalg.norm(mean)
    return unit


def phrases_of(text: str) -> list[str]:
    """Return what a text lists, in lower case.

    >>> phrases_of("Travel and places to stay, including hotels, flights and resorts.")
    ['travel', 'places to stay', 'hotels', 'flights', 'resorts']
    """
    return [phrase for part in SEPARATORS.split(text.lower()) if (phrase := part.strip())]
