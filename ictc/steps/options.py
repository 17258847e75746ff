"""What a model chooses among where it assigns: clusters by letters, and that none fits if that is allowed."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice, product
from random import Random
from typing import Any, TypeVar

from ictc.records import ClusterDefinition, row_of_cluster
from ictc.steps.none_of_these import NONE_DESCRIPTION, NONE_NAME, name_none

OptionT = TypeVar("OptionT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """An answer that can be given.

    Attributes:
        cluster_id: None for the answer that no cluster fits.
        include, exclude: the rules of a cluster, "" if it has none.
    """

    cluster_id: int | None
    name: str
    description: str
    include: str = ""
    exclude: str = ""

    def to_row(self) -> dict[str, Any]:
        """Return it for engines that read no prompts, without rules that it lacks."""
        return row_of_cluster(self)


NONE = Option(cluster_id=None, name=NONE_NAME, description=NONE_DESCRIPTION)


def make_options(clusters: Sequence[ClusterDefinition], *, allow_none: bool) -> tuple[Option, ...]:
    """Return an option for each cluster and, if it is allowed, one more, which has the name of no cluster."""
    options = tuple(Option(**cluster.to_row()) for cluster in clusters)
    none = replace(NONE, name=name_none(cluster.name for cluster in clusters))
    return (*options, none) if allow_none else options


def list_options(options: Mapping[str, Option]) -> str:
    """Return what a prompt says of options by their letters, a line each."""
    return "\n".join(f"{letters}. {' '.join(_say(option))}" for letters, option in options.items())


def _say(option: Option) -> Iterator[str]:
    yield f"{option.name}: {option.description}"
    if option.include:
        yield f"Belongs here: {option.include}"
    if option.exclude:
        yield f"Does not belong here: {option.exclude}"


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
