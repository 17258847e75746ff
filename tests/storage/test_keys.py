"""Keys are equal on every machine and say what changed."""

from ictc.storage.keys import digest, explain_change


def test_a_digest_does_not_depend_on_the_order_of_names() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_digest_never_changes_from_version_to_version() -> None:
    assert digest({"model": "Qwen/Qwen3.5-9B", "seed": 42}) == "56ce9fec7d844dd3"


def test_a_change_is_told_in_words() -> None:
    old = {"num_clusters": 5, "prompt": "0" * 50, "model": "a"}
    new = {"num_clusters": 8, "prompt": "1" * 50, "model": "a"}
    assert explain_change(old, new) == "num_clusters 5 → 8, prompt changed"
