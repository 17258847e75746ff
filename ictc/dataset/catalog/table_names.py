"""What tables of any kind have in common: how their files and columns are called, and which numbers lost digits."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ictc.dataset.catalog.metadata import MAX_EXACT
from ictc.errors import InputError

PACKED = ".gz"
EXACT_FLOATS = {"float": 2**24, "double": MAX_EXACT}
"""Up to which integer floating point numbers are exact, by Arrow's name of the type."""


def suffix_of_table(name: str) -> str:
    """Return the suffix that says of which kind a table is, in lower case.

    >>> suffix_of_table("posts.CSV"), suffix_of_table("posts.csv.gz")
    ('.csv', '.csv')
    """
    unpacked = name.removesuffix(PACKED)
    return unpacked[unpacked.rfind(".") :].lower()


def tidy_names(names: Sequence[object], known: Collection[str] = ()) -> list[str]:
    """Return the names of columns without spaces around them.

    Args:
        known: names that are ours, whatever their case.

    Raises:
        InputError: two columns have the same name.
    """
    plain = [str(name).strip("\ufeff \t\r\n") for name in names]
    ours = [name.lower() if name.lower() in known and name.lower() not in plain else name for name in plain]
    twice = next((name for name in ours if ours.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"has two columns of the same name, {twice!r}; rename one of them.")
    return ours
