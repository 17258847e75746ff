"""The embedder of the lite engine: a text has one vector, whatever it is computed with."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from ictc.engines.lite.embedder import Embedder

pytestmark = pytest.mark.lite

TEXTS = [
    *("shoes", "running shoes", "a warm coat", "Ärmel, ½ price!", "", "😀 sale", "bank account"),
    *(f"a {color} dog on {place}" for color in ("brown", "black", "white") for place in ("grass", "sand", "ice")),
    "word " * 40,
]


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def test_a_vector_is_the_same_to_the_bit_whatever_it_is_computed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ictc.engines.lite.embedder.CACHED_TEXTS", 0)
    embedder = Embedder()
    alone = [embedder.embed([text])[0].tobytes() for text in TEXTS]
    for seed in range(2):
        order = Random(seed).sample(range(len(TEXTS)), len(TEXTS))
        together = embedder.embed([TEXTS[index] for index in order] * 2)
        assert [vector.tobytes() for vector in together] == [alone[index] for index in order] * 2


def test_known_texts_are_forgotten_only_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ictc.engines.lite.embedder.CACHED_TEXTS", 3)
    embedder = Embedder()
    first = embedder.embed(TEXTS[:6])
    assert np.linalg.norm(first, axis=1) == pytest.approx(1.0)
    assert (embedder.embed(TEXTS[5::-1]) == first[::-1]).all()
