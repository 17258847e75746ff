"""When two short texts are the same: written differently, or one the plural of the other. Nothing else is the same.

What is taken for the same is counted as one, and whoever reads the result never learns of the other. So in doubt texts
stay apart: every letter, mark, digit and symbol makes a difference ("male" and "female", "C++" and "C#", "50" and "500",
"with" and "without"), as does the order of words. Similarity of letters says nothing about meaning, and stemmers
("university", "universe") and lemmatizers ("better", "good") know too much.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

_LETTER = r"[^\W\d_]"
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe0e\ufe0f\ufeff]")
"""Hints for layout. Not the joiners U+200C and U+200D, which make other words in some scripts, and other emoji."""
_APOSTROPHE = re.compile("[\u2018\u2019\u02bc\uff07\u00b4`]")
_QUOTE = re.compile('(?<!\\d)["\u201c-\u201f\u00ab\u00bb]')
"""Behind a digit it stands for inches."""
_HYPHEN = re.compile(rf"(?<={_LETTER})[-_\u2010-\u2015](?={_LETTER})")
"""Before a digit it may be a minus, and behind a letter at the end a grade."""
_LAST_STOP = re.compile(rf"(?<={_LETTER})[.,;:\u3002\uff0c]+$")

_POSSESSIVE = re.compile(rf"^({_LETTER}+)'s$|^({_LETTER}+s)'$")
_CONTRACTION = re.compile("^(it|s?he|that|what|who|t?here|where|how|when|why|let)'s$")
_PLURAL_IN_ES = re.compile(rf"(?<=ss|sh|ch|zz)es$|(?<=x)es$|(?<={_LETTER}{{3}}o)es$(?<!shoes)")
_SINGULAR_IN_IE = """
auntie birdie bookie brownie calorie collie cookie cutie foodie genie goalie groupie hippie hoodie indie junkie magpie
movie necktie newbie pixie prairie rookie selfie smoothie sweetie talkie veggie walkie zombie
""".split()  # noqa: SIM905 - a list literal would be a page long
_NO_PLURAL = """
affairs always arms besides blues boxers briefs clothes contents corps customs damages does glasses goods greens grounds
hers indies jeans leaves lens lives manners mars means news odds ours pants premises proceeds remains seconds shorts slacks
sometimes spectacles spirits theirs tights trunks vegas yours
ones twenties thirties forties fifties sixties seventies eighties nineties
cours dans fils fois gens mois pays sans sous temps tous vers
anders bereits falls iets links nichts niets rechts
gracias mais menos pais
""".split()  # noqa: SIM905
"""Without the s, or the es, they are other words: in English; in French; in German and Dutch; in Spanish and Portuguese."""
_SHORTEST_PLURAL = 4
_JOINING = str.maketrans("/&,", "   ")


def plain_form(text: str) -> str:
    """Return a text without what is only a way of writing it: case, layout, and the kinds of hyphens and quotes.

    >>> plain_form("Limited\u2013Time  \u201cOffer\u201d."), plain_form("C++"), plain_form("-50%")
    ('limited time offer', 'c++', '-50%')
    """
    plain = unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).lower()  # no casefold: Maße is not Masse
    plain = _QUOTE.sub("", _APOSTROPHE.sub("'", plain))
    plain = " ".join(_LAST_STOP.sub("", _HYPHEN.sub(" ", plain).rstrip()).split())
    return unicodedata.normalize("NFC", plain)


def singular_form(text: str) -> str:
    """Return the plain form with every word in the singular, as far as a plural can be told by its ending.

    It is for comparing, not for reading: some words lose an s that is no plural's.

    >>> singular_form("Women's Dresses"), singular_form("news"), singular_form("1980s")
    ('women dress', 'news', '1980s')
    """
    return " ".join(map(_singular, plain_form(text).split()))


def words_that_mean(text: str, *, without: Collection[str]) -> tuple[str, ...]:
    """Return the distinct words of a text in the singular and in one order: texts of equal ones mean the same.

    Args:
        without: words that make no difference, unless there are no others.

    >>> words_that_mean("Cars & Trucks", without={"and", "the"}) == words_that_mean("the truck and car", without={"and", "the"})
    True
    """
    words = set(singular_form(text.translate(_JOINING)).split())
    return tuple(sorted(words.difference(without) or words))


@lru_cache(maxsize=1 << 16)
def _singular(word: str) -> str:
    if (possessive := _POSSESSIVE.match(word)) and not _CONTRACTION.match(word):
        word = possessive[2] or possessive[1] + "s"
    if len(word) < _SHORTEST_PLURAL or not word.endswith("s") or not word.isalpha() or word in _NO_PLURAL:
        return word
    if word.endswith(("ss", "ics")):
        return word
    if word.endswith("ies") and len(word) > _SHORTEST_PLURAL and word[:-1] not in _SINGULAR_IN_IE:
        return word[:-3] + "y"
    return _PLURAL_IN_ES.sub("", word) if _PLURAL_IN_ES.search(word) else word[:-1]


def says_something(text: str) -> bool:
    """Whether a text has a letter, a digit or a symbol in it, not only punctuation."""
    return any(unicodedata.category(character)[0] in "LNS" for character in text)
