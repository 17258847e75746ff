"""One name for each advertiser, however the ads spell it. Knows text only."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

LEGAL_FORMS = frozenset(
    """
    ab ag bv co company corp corporation gmbh inc incorporated kg kgaa kk limited llc llp lp ltd mbh nv ohg oy plc pte
    pty sa sarl sas sl srl
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
"""Stripped from the end of a name. Forms that are also words of their own, such as SpA, AS and SE, are not."""

_MARKS = str.maketrans(dict.fromkeys("™®©℠"))
_JOINING = re.compile(r"[.'’‘`´]")


def normalize_brand(brand: str) -> str:
    """Return the name by which spellings of one advertiser are the same, "" if nothing is left.

    Without trademark signs and invisible characters, in Unicode NFKC, case folded; dots and apostrophes are dropped,
    other punctuation becomes a space, and legal forms at the end are stripped as long as a name remains.

    >>> normalize_brand("Coca-Cola® Co."), normalize_brand("COCA COLA")
    ('coca cola', 'coca cola')
    """
    text = unicodedata.normalize("NFKC", brand.translate(_MARKS)).casefold()
    text = unicodedata.normalize("NFKC", _JOINING.sub("", text))
    words = "".join(_replace(character) for character in text).split()
    while len(words) > 1 and words[-1] in LEGAL_FORMS:
        words.pop()
    return " ".join(words)


def _replace(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Cf"):
        return " " if character.isspace() else ""
    return " " if category.startswith("P") else character


def unify_brands(brands: pd.Series) -> pd.Series:
    """Return each ad's brand in the spelling that is most frequent among those that are the same; NaN for no brand."""
    spellings = brands.fillna("").astype(str).value_counts().rename_axis("spelling").reset_index(name="count")
    spellings["brand"] = spellings["spelling"].map(normalize_brand)
    spellings = spellings.sort_values(["count", "spelling"], ascending=[False, True])
    shown = spellings.drop_duplicates("brand").set_index("brand")["spelling"]
    shown = shown[shown.index != ""]
    return brands.map(dict(zip(spellings["spelling"], spellings["brand"].map(shown), strict=True)))
