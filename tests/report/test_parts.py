"""The parts that the page is made of: fair samples, telling examples, data that no HTML parser misreads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas", reason="the report needs the extra analysis")
pytest.importorskip("sklearn", reason="the report needs the extra analysis")

from ictc.report.embedding import embed_texts  # noqa: E402
from ictc.report.examples import EXAMPLE_KINDS, measure_proximity, pick_examples  # noqa: E402
from ictc.report.images import ImageFinder  # noqa: E402
from ictc.report.overview import describe_labels  # noqa: E402
from ictc.report.payload import dump_json  # noqa: E402
from ictc.report.sampling import random_ranks, sample_positions  # noqa: E402

clusterings = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(
    lambda codes: pd.Series(pd.Categorical([f"c{code}" for code in codes]))
)


@given(clusterings, st.integers(1, 250), st.integers(0, 5))
def test_a_sample_keeps_its_limit_and_forgets_no_cluster(clusters: Any, limit: int, seed: int) -> None:
    positions = sample_positions(clusters, limit=limit, seed=seed)
    assert len(positions) <= max(limit, 0)
    assert (np.diff(positions) > 0).all()
    if limit >= len(clusters):
        assert len(positions) == len(clusters)
    if limit >= clusters.nunique():
        assert set(clusters.iloc[positions]) == set(clusters)
    assert (positions == sample_positions(clusters, limit=limit, seed=seed)).all()


@given(clusterings, st.integers(0, 5))
def test_ranks_count_through_each_cluster(clusters: Any, seed: int) -> None:
    ranks = pd.Series(random_ranks(clusters, seed))
    for _, members in ranks.groupby(clusters.to_numpy()):
        assert sorted(members) == list(range(len(members)))


def test_another_seed_draws_another_sample() -> None:
    clusters = pd.Series(pd.Categorical(["a"] * 500))
    assert (sample_positions(clusters, limit=20, seed=1) != sample_positions(clusters, limit=20, seed=2)).any()


def test_examples_are_what_their_names_say() -> None:
    """Captions on two arcs of a circle: one is the middle of its arc, one lies next to the other arc."""
    angles = np.radians([0, 8, 16, 24, 40, 70, 80, 82, 84, 90])
    codes = np.array([0] * 5 + [1] * 5)
    proximity = measure_proximity(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), codes)
    texts = [f"text {number}" for number in range(10)]
    assert pick_examples(np.arange(5), proximity, texts)["central"][0] == 2
    assert pick_examples(np.arange(5), proximity, texts)["borderline"][0] == 4
    assert pick_examples(np.arange(5, 10), proximity, texts)["borderline"][0] == 5
    assert (proximity.rival == np.array([1] * 5 + [0] * 5)).all()
    assert (proximity.margin > 0).all()


def test_a_caption_nearer_to_another_cluster_has_a_negative_margin() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], dtype=np.float32)
    margin = measure_proximity(vectors, np.array([0, 0, 0, 1, 1])).margin
    assert (margin < 0).tolist() == [False, False, True, False, False]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 4))
def test_no_ad_and_no_text_is_an_example_twice(texts: list[str], num_clusters: int) -> None:
    codes = np.arange(len(texts)) % num_clusters
    vectors = embed_texts(texts, "tfidf", 0).vectors
    picked = pick_examples(np.flatnonzero(codes == 0), measure_proximity(vectors, codes), texts)
    chosen = [position for positions in picked.values() for position in positions]
    assert list(picked) == list(EXAMPLE_KINDS)
    assert chosen
    assert len({texts[position] for position in chosen}) == len(chosen)
    assert all(codes[position] == 0 for position in chosen)


@settings(max_examples=30)
@given(st.lists(st.text(), min_size=1, max_size=20))
@example(["the same words"] * 5)
@example([""] * 3)
def test_any_texts_can_be_embedded(texts: list[str]) -> None:
    vectors = embed_texts(texts, "tfidf", 0).vectors
    norms = np.linalg.norm(vectors, axis=1)
    assert vectors.shape[0] == len(texts)
    assert np.logical_or(np.isclose(norms, 1, atol=1e-5), norms < 1e-6).all()


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none()))
def test_data_survives_inside_html_and_never_ends_its_script(value: dict[str, Any]) -> None:
    dumped = dump_json(value)
    assert not set(dumped) & set("<>&\u2028\u2029")
    assert orjson.loads(str(dumped)) == value


@pytest.mark.parametrize("path", ["../secret.png", "/secret.png", "a/../../secret.png", "", "nul\0.png", "."])
def test_no_path_leads_out_of_the_images(tmp_path: Path, path: str) -> None:
    (tmp_path / "ads" / "a").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "ads"):
        (place / "secret.png").touch()
    finder = ImageFinder(ads_dir=tmp_path / "ads", directory=tmp_path / "run")
    assert finder.find("secret", image_path=path) is None
    assert finder.find("secret", image_path="secret.png") == tmp_path / "ads" / "secret.png"


@pytest.mark.parametrize(
    ("synthesis", "words"),
    [
        (
            {"top_hooks": 60, "labels_read": 33, "share_covered": 0.5162},
            "the 33 most frequent, which stand for 52% of the labeled images",
        ),
        ({"top_hooks": 60, "labels_read": 0, "share_covered": 0.0}, "none: the clusters were given"),
        ({}, ""),
    ],
)
def test_the_page_tells_the_labels_that_were_read(synthesis: dict[str, object], words: str) -> None:
    assert describe_labels(synthesis, "image") == words
