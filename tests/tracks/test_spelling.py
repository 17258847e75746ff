"""When two labels or names are the same."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ictc.tracks.spelling import plain_form, says_something, singular_form

OPPOSITES = [
    ("male model", "female model"),
    ("legal advice", "illegal advice"),
    ("with alcohol", "without alcohol"),
    ("suitable for children", "unsuitable for children"),
    ("smoking area", "non-smoking area"),
    ("visible logo", "invisible logo"),
    ("aging skin", "anti-aging skin"),
    ("for men", "for women"),
    ("for a man", "for a woman"),
    ("hot drink", "not drink"),
    ("man", "men"),
    ("word games", "world games"),
    ("summer dress", "summer press"),
    ("careful driver", "careless driver"),
    ("dog bites man", "man bites dog"),
    ("university", "universe"),
    ("good offer", "goods offer"),
    ("new", "news"),
    ("glass table", "glasses table"),
    ("short film", "shorts film"),
    ("live music", "lives music"),
    ("thirty women", "thirties women"),
    ("second chance", "seconds chance"),
    ("electronic music", "electronics music"),
    ("nicht alles", "nichts alles"),
    ("maße", "masse"),
    ("let's go", "lets go"),
    ("50 off", "500 off"),
    ("under 10 dollars", "under 100 dollars"),
    ("10 dollars", "10 euros"),
    ("$10", "€10"),
    ("-5 degrees", "5 degrees"),
    ("1980s style", "1990s style"),
    ("1980 style", "1980s style"),
    ("5-10 people", "5 10 people"),
    ("1.5 liters", "15 liters"),
    ("c++ course", "c# course"),
    ("c++ course", "c course"),
    ("grade a+", "grade a-"),
    ("grade a", "grade a-"),
    ("😀 faces", "😡 faces"),
    ("कम", "काम"),
    ("दिन", "दीन"),
    ("มา", "ม้า"),
    ("கல்", "கால்"),
    ("عِلم", "عَلَم"),
    ("食", "飲"),
]


@pytest.mark.parametrize(("one", "other"), OPPOSITES)
def test_labels_of_other_meaning_stay_apart(one: str, other: str) -> None:
    assert singular_form(one) != singular_form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("limited time offer", "Limited-Time Offers"),
        ("limited time offer", "limited\u2013time  offer."),
        ("snake case", "snake_case"),
        ("women's dresses", "women\u2019s dress"),
        ("kids' toys", "kids toy"),
        ("men's shoes", "mens shoes"),
        ("\u201cbest\u201d price", "best price"),
        ("movie nights", "movies night"),
        ("city", "cities"),
        ("lunch box", "lunch boxes"),
        ("sports bra", "sports bras"),
        ("action hero", "action heroes"),
        ("running shoes", "running shoe"),
        ("watches", "watch"),
        ("caf\u00e9", "cafe\u0301"),
        ("soft\u00adware", "software"),
        ("\u2764\ufe0f love", "\u2764 love"),
    ],
)
def test_spellings_and_plurals_of_one_label_are_the_same(one: str, other: str) -> None:
    assert singular_form(one) == singular_form(other)


@given(st.text(max_size=30))
@example("Café\u200b\u0301 İ")
def test_the_form_of_unicode_makes_no_difference(text: str) -> None:
    assert plain_form(unicodedata.normalize("NFD", text)) == plain_form(unicodedata.normalize("NFC", text))


@given(st.text("ab 1+#-'s", max_size=12), st.text("ab 1+#-'s", max_size=12))
def test_texts_that_differ_in_a_digit_or_a_symbol_are_never_the_same(one: str, other: str) -> None:
    if singular_form(one) == singular_form(other):
        assert [char for char in one if char in "1+#"] == [char for char in other if char in "1+#"]


@pytest.mark.parametrize("text", ["食", "7", "$$$", "🎉", "a"])
def test_one_character_can_say_something(text: str) -> None:
    assert says_something(text)


@pytest.mark.parametrize("text", ["", " ", "...", "?!", "\u200b", "—"])
def test_punctuation_says_nothing(text: str) -> None:
    assert not says_something(text)
