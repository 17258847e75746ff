"""The histogram that Step 2b reads."""

from hypothesis import given
from hypothesis import strategies as st

from ictc.stages.histogram import build_histogram

COUNTS = st.dictionaries(st.text("abc xyz-", min_size=1, max_size=14), st.integers(1, 50), max_size=30)


def test_near_duplicates_are_added_to_the_most_frequent_of_them() -> None:
    counts = {"limited time offer": 5, "Limited-Time Offers": 2, "offer limited time": 1, "social proof": 3}
    assert build_histogram(counts, top=10).labels == (("limited time offer", 8), ("social proof", 3))


def test_only_the_most_frequent_labels_are_kept_and_the_rest_is_reported() -> None:
    histogram = build_histogram({"quiet luxury": 6, "fear of missing out": 3, "expert advice": 1}, top=2)
    assert histogram.labels == (("quiet luxury", 6), ("fear of missing out", 3))
    assert (histogram.covered_images, histogram.num_images, histogram.num_distinct) == (9, 10, 3)
    assert histogram.coverage == 0.9


def test_labels_that_differ_in_meaning_stay_apart() -> None:
    counts = {"young parents": 2, "young professionals": 2, "running shoes": 2, "walking shoes": 2}
    assert len(build_histogram(counts, top=10).labels) == 4


@given(counts=COUNTS, top=st.integers(2, 40))
def test_nothing_is_counted_twice(counts: dict[str, int], top: int) -> None:
    histogram = build_histogram(counts, top)
    assert histogram.num_images == sum(counts.values())
    assert len(histogram.labels) <= top
    assert 0 <= histogram.covered_images <= histogram.num_images
    assert {label for label, _ in histogram.labels} <= counts.keys()
    if len(counts) <= top:
        assert histogram.covered_images == histogram.num_images


@given(counts=COUNTS)
def test_the_order_in_which_labels_came_does_not_matter(counts: dict[str, int]) -> None:
    assert build_histogram(counts, 20) == build_histogram(dict(reversed(counts.items())), 20)
