"""What the outcome of an image that no cluster fits is called (`--allow_none`), to models and to people.

In records and exported files it has no name but null, so that no name of a cluster can be taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ictc.tracks.spelling import plain_form

NONE_NAME = "None of these"
NONE_DESCRIPTION = "No other entry of this list fits."
"""Holds wherever the option stands in the list."""

APART = " (no cluster)"


def is_named_none(name: str) -> bool:
    """Whether a cluster is called like the outcome.

    >>> is_named_none("none of these.")
    True
    """
    return plain_form(name) == plain_form(NONE_NAME)


def name_none(names: Iterable[str]) -> str:
    """Return what the outcome is called beside clusters of these names: a name that none of them has.

    >>> name_none(["Food", "None of these"])
    'None of these (no cluster)'
    """
    taken = {plain_form(name) for name in names}
    name = NONE_NAME
    while plain_form(name) in taken:
        name += APART
    return name
