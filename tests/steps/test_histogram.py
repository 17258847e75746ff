"""The histogram that Step 2b reads."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ictc.steps.histogram import build_histogram
from ictc.tracks.spelling import singular_form

COUNTS = st.dictionaries(st.text("ab s-'1+", min_size=1, max_size=8), st.integers(1, 5), max_size=30)


def test_spellings_are_added_to_the_most_frequent_of_them() -> None:
    counts = {"limited time offer": 5, "Limited-Time Offers": 2, "limited–time offer": 1, "social proof": 3}
    assert build_histogram(counts).head(10).labels == (("limited time offer", 8), ("social proof", 3))
    counts["Limited-Time Offers"] = 6
    assert build_histogram(counts).head(10).labels == (("Limited-Time Offers", 12), ("social proof", 3))


def test_only_the_most_frequent_labels_are_kept_and_the_rest_is_reported() -> None:
    histogram = build_histogram({"quiet luxury": 6, "fear of missing out": 3, "expert advice": 1}).head(2)
    assert histogram.labels == (("quiet luxury", 6), ("fear of missing out", 3))
    assert (histogram.covered_images, histogram.num_images, histogram.num_distinct) == (9, 10, 3)
    assert histogram.coverage == 0.9


def test_a_part_of_the_list_says_what_it_covers() -> None:
    histogram = build_histogram({"quiet luxury": 6, "fear of missing out": 3, "expert advice": 1}).head(3)
    assert (histogram.head(1).covered_images, histogram.head(1).num_images, histogram.head(1).num_distinct) == (
        6,
        10,
        3,
    )
    assert histogram.head(None) == histogram


def test_labels_that_differ_in_meaning_stay_apart() -> None:
    counts = dict.fromkeys(("male model", "female model", "50 off", "500 off", "offer limited", "limited offer"), 2)
    assert {label for label, _ in build_histogram(counts).head(10).labels} == counts.keys()


def test_no_alphabet_decides_which_of_equally_frequent_labels_are_cut_off() -> None:
    counts = {f"{letter}{number} thing": 1 for letter in "abcdefghijklmnopqrstuvwxyz" for number in range(40)}
    first_letters = Counter(label[0] for label, _ in build_histogram(counts).head(260).labels)
    assert len(first_letters) == 26
    assert max(first_letters.values()) < 30
    assert build_histogram(counts, seed=1).head(260) != build_histogram(counts, seed=2).head(260)
    assert build_histogram(counts, seed=1).head(260) == build_histogram(counts, seed=1).head(260)


def test_a_more_frequent_label_is_never_cut_off_for_a_rarer_one() -> None:
    counts = {f"thing {number}": 1 + number % 3 for number in range(300)}
    kept = build_histogram(counts).head(150).labels
    assert Counter(count for _, count in kept) == {3: 100, 2: 50}


@given(counts=COUNTS, top=st.integers(2, 40), seed=st.integers(0, 3))
def test_nothing_is_counted_twice(counts: dict[str, int], top: int, seed: int) -> None:
    histogram = build_histogram(counts, seed=seed).head(top)
    assert histogram.num_images == sum(counts.values())
    assert len(histogram.labels) <= top
    assert 0 <= histogram.covered_images <= histogram.num_images
    if len(counts) <= top:
        assert histogram.covered_images == histogram.num_images


@given(counts=COUNTS)
def test_each_label_is_its_most_frequent_spelling_and_stands_for_all_of_them(counts: dict[str, int]) -> None:
    for label, count in build_histogram(counts).head(40).labels:
        spellings = {other: n for other, n in counts.items() if singular_form(other) == singular_form(label)}
        assert (counts[label], count) == (max(spellings.values()), sum(spellings.values()))


@given(counts=COUNTS)
def test_the_order_in_which_labels_came_does_not_matter(counts: dict[str, int]) -> None:
    assert build_histogram(counts).head(20) == build_histogram(dict(reversed(counts.items()))).head(20)
