"""What is to be answered: distinct inputs, in one order, as rows of words.

Words become columns by their hash, so that memory grows with the words of each input alone, and inputs are in the order
of their digests, so that sums of floating-point numbers are the same whatever order they came in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy import sparse

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FIELD_COLUMNS = 2**16
"""Columns for the words of labels, and as many for those of texts; of 10^4 words, one in seven shares its column."""

WORDS = re.compile(r"\w+")
ROWS_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """An input that a model could be asked about.

    Attributes:
        key: a digest in hex: inputs of one key get one answer.
        count: how many images have it.
    """

    key: str
    _: KW_ONLY
    label: str
    text: str
    count: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Distinct inputs in the order of their keys.

    Attributes:
        keys: N of them.
        counts: how many images have each, shape (N,).
        labels: the number of the label of each, numbered in the order of keys, shape (N,).
        features: TF-IDF of the words of label and text, each of length 1, shape (N, 2 * FIELD_COLUMNS).
    """

    keys: list[str]
    counts: Integers
    labels: Integers
    features: sparse.csr_array

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return int(self.counts.sum())


def read_inputs(questions: Iterable[Question]) -> Inputs:
    """Return inputs in the order of their keys; those of one key are one.

    Args:
        questions: read once; nothing of their texts is kept.
    """
    place_of: dict[str, int] = {}
    counts: list[int] = []
    labels: list[bytes] = []

    def new_rows() -> Iterator[Mapping[str, int]]:
        for question in questions:
            place = place_of.setdefault(question.key, len(counts))
            if place < len(counts):
                counts[place] += question.count
                continue
            counts.append(question.count)
            labels.append(blake2b(question.label.casefold().encode(), digest_size=8).digest())
            yield count_words(label=question.label, text=question.text)

    words = _join(_hash_rows(new_rows()))
    keys = sorted(place_of)
    order = np.fromiter(map(place_of.__getitem__, keys), np.int64, len(keys))
    _, numbers = np.unique(np.array(labels, "S8")[order], return_inverse=True)
    words = words[order]
    weigh_words(words)
    return Inputs(keys=keys, counts=np.array(counts, np.int64)[order], labels=numbers.astype(np.int64), features=words)


def count_words(*, label: str, text: str) -> Counter[str]:
    """Return the words of an input by field: the label as a whole and word by word, and the text word by word.

    >>> sorted(count_words(label="Red car", text="a car, a").items())
    [('l:car', 1), ('l:red', 1), ('l=red car', 1), ('t:a', 2), ('t:car', 1)]
    """
    label = label.casefold()
    words = Counter(f"l:{word}" for word in WORDS.findall(label))
    words[f"l={label}"] = 1
    words.update(f"t:{word}" for word in WORDS.findall(text.casefold()))
    return words


def _hash_rows(rows: Iterator[Mapping[str, int]]) -> Iterator[sparse.csr_array]:
    """Yield rows of counts, those of labels in the first half of the columns, many at a time."""
    from scipy import sparse
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(FIELD_COLUMNS, input_type="pair", dtype=np.float32, alternate_sign=False)
    while block := [*islice(rows, ROWS_AT_A_TIME)]:
        fields = [
            hasher.transform([(word, number) for word, number in row.items() if word[0] == field] for row in block)
            for field in "lt"
        ]
        joined = sparse.hstack(fields, format="csr")
        joined.sum_duplicates()
        yield sparse.csr_array(joined)


def _join(blocks: Iterator[sparse.csr_array]) -> sparse.csr_array:
    """Return blocks of rows as one."""
    from scipy import sparse

    held = [sparse.csr_array((0, 2 * FIELD_COLUMNS), dtype=np.float32), *blocks]
    return sparse.csr_array(sparse.vstack(held, format="csr"))


def weigh_words(words: sparse.csr_array) -> None:
    """Turn counts of words into TF-IDF, in place: logarithms of both, and of each field one unit of length.

    Salton and Buckley (1988), Term-weighting approaches in automatic text retrieval; idf smoothed as in scikit-learn.
    """
    num_rows = words.shape[0]
    seen_in = np.bincount(words.indices, minlength=words.shape[1])
    idf = (np.log((1 + num_rows) / (1 + seen_in)) + 1).astype(np.float32)
    for start in range(0, num_rows, ROWS_AT_A_TIME):
        bounds = words.indptr[start : start + ROWS_AT_A_TIME + 1]
        part = slice(bounds[0], bounds[-1])
        columns = words.indices[part]
        weights = (np.log(words.data[part]) + 1) * idf[columns]
        field = 2 * np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)) + (columns >= FIELD_COLUMNS)
        lengths = np.sqrt(np.bincount(field, weights.astype(np.float64) ** 2))
        words.data[part] = weights / lengths[field]
