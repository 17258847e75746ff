"""How many clusters there are to be, level by level: `--num_clusters` and `--levels`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter

MIN_CLUSTERS, MAX_CLUSTERS = 2, 1000
MOST_AT_ONCE = 100
"""Clusters in one answer; more are made in parts."""
AUTO = "auto"
ALL_LEVELS = "all"
"""What commands that take a level take for all of them."""
MAX_LEVEL_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSize:
    """How many clusters a level has."""

    name: str
    num_clusters: int


def parse_num_clusters(value: Any) -> Any:
    """Return K, "auto", or the numbers of nested levels as text, the coarsest first.

    Of anything else pydantic says what is wrong.

    Raises:
        ValueError: two levels have one number.

    >>> parse_num_clusters("Auto"), parse_num_clusters("7"), parse_num_clusters("20, 5"), parse_num_clusters([5, 20])
    ('auto', 7, '5,20', '5,20')
    """
    if isinstance(value, str) and value.strip().lower() == AUTO:
        return AUTO
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    if not isinstance(value, list | tuple):
        return _parse_number(value)
    numbers = sorted(map(_parse_number, value))
    if len(set(numbers)) < len(numbers):
        typed = ",".join(map(str, value))
        raise ValueError(f"--num_clusters {typed}: each level needs another number of clusters; leave out the repeated")
    return numbers[0] if len(numbers) == 1 else ",".join(map(str, numbers))


def _parse_number(value: Any) -> int:
    number: int = TypeAdapter(Annotated[int, Field(ge=MIN_CLUSTERS, le=MAX_CLUSTERS)]).validate_python(value)
    return number


NumClusters = Annotated[int | str, BeforeValidator(parse_num_clusters)]
"""A number of clusters, "auto", or the numbers of nested levels, such as "5,20,80"."""


def parse_levels(value: Any) -> Any:
    """Return the names of levels, separated by commas.

    Raises:
        ValueError: they are fewer than two, or one of them can't be a name, or is there twice.
    """
    if value is None:
        return None
    names = [str(name).strip() for name in (value if isinstance(value, list | tuple) else str(value).split(","))]
    typed = ",".join(names)
    if len(names) < 2:
        raise ValueError(f"--levels {typed}: name two levels or more, the coarsest first, such as coarse,fine")
    if not all(0 < len(name) <= MAX_LEVEL_NAME for name in names):
        raise ValueError(f"--levels {typed}: each name needs 1 to {MAX_LEVEL_NAME} characters")
    if any(name.casefold() == ALL_LEVELS for name in names) or not typed.isprintable():
        raise ValueError(f"--levels {typed!r}: no level can be called {ALL_LEVELS!r}, or by what can't be printed")
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"--levels {typed}: a name is there twice; give each level its own")
    return typed


LevelNames = Annotated[str, BeforeValidator(parse_levels)]
"""The names of nested levels, such as "coarse,medium,fine"."""


def size_levels(num_clusters: int | str, names: str | None) -> tuple[LevelSize, ...]:
    """Return the levels, the coarsest first; () for clusters that are not nested.

    Args:
        num_clusters: as from `parse_num_clusters`.
        names: as from `parse_levels`.

    Raises:
        ValueError: names and numbers don't go together.

    >>> [level.num_clusters for level in size_levels(80, "coarse,medium,fine")]
    [4, 19, 80]
    >>> [level.name for level in size_levels("5,20", None)]
    ['level 1', 'level 2']
    """
    named = names.split(",") if names else []
    if num_clusters == AUTO:
        if named:
            raise ValueError("--levels needs --num_clusters with numbers; auto chooses one")
        return ()
    numbers = [int(number) for number in str(num_clusters).split(",")]
    if len(numbers) == 1 and not named:
        return ()
    if len(numbers) == 1:
        numbers = _derive_numbers(numbers[0], num_levels=len(named))
    if named and len(named) != len(numbers):
        raise ValueError(
            f"--levels {names} names {len(named)} levels, and --num_clusters {num_clusters} has {len(numbers)} "
            "numbers: give as many, or one number, that of the finest level"
        )
    named = named or [f"level {number}" for number in range(1, len(numbers) + 1)]
    return tuple(LevelSize(name=name, num_clusters=number) for name, number in zip(named, numbers, strict=True))


def _derive_numbers(finest: int, *, num_levels: int) -> list[int]:
    """Return numbers that grow by one factor up to the finest.

    Raises:
        ValueError: there are not so many.
    """
    steps = range(1, num_levels + 1)
    numbers = [max(MIN_CLUSTERS, round(finest ** (step / num_levels))) for step in steps]
    if len(set(numbers)) < num_levels:
        raise ValueError(f"--num_clusters {finest} has no room for {num_levels} levels: raise it, or name fewer levels")
    return numbers
