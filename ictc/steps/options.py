"""The letters by which a model chooses among clusters."""

from __future__ import annotations

import string
from collections.abc import Sequence
from itertools import count, islice, product
from random import Random
from typing import TypeVar

OptionT = TypeVar("OptionT")


def option_letters(num_options: int) -> list[str]:
    """Return option names: A to Z, then a to z, all one token each; of two capitals or more beyond 52.

    >>> option_letters(3), option_letters(60)[-1], option_letters(1000)[-1]
    (['A', 'B', 'C'], 'CH', 'BML')
    """
    letters = string.ascii_uppercase + string.ascii_lowercase
    if num_options <= len(letters):
        return list(letters[:num_options])
    length = next(length for length in count(2) if len(string.ascii_uppercase) ** length >= num_options)
    names = product(string.ascii_uppercase, repeat=length)
    return ["".join(name) for name in islice(names, num_options)]


def shuffle_options(options: Sequence[OptionT], seed: str) -> dict[str, OptionT]:
    """Return the options by their letters, in an order drawn from the seed.

    Each question has another order, so that a model's liking for the first or last option evens out.
    """
    shuffled = list(options)
    Random(seed).shuffle(shuffled)
    return dict(zip(option_letters(len(shuffled)), shuffled, strict=True))
