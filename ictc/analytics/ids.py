"""Ids of the same images as different tables spell them. Knows Unicode, and nothing of what the tables say."""

from __future__ import annotations

from collections import Counter
from unicodedata import normalize

import pandas as pd


def match_ids(ids: pd.Index, known: pd.Index) -> dict[str, str]:
    """Return which of `known` an id stands for that is not among them, where only the Unicode form tells them apart.

    A Mac writes file names in decomposed letters, a keyboard writes composed ones; spaces around an id count as little.
    An id that could stand for several, or that several could stand for, stands for none.
    """
    strangers = ids.difference(known, sort=False)
    if strangers.empty:
        return {}
    named: dict[str, list[str]] = {}
    for one in known.difference(ids, sort=False):
        named.setdefault(_plain(one), []).append(one)
    spelled = Counter(map(_plain, strangers))
    matches = {one: named.get(_plain(one), []) for one in strangers if spelled[_plain(one)] == 1}
    return {one: found[0] for one, found in matches.items() if len(found) == 1}


def _plain(image_id: object) -> str:
    return normalize("NFC", str(image_id)).strip()
