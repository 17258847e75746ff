"""What K clusters take of a model's context."""

from support.step_configs import make_config

from ictc.records import ClusterDefinition
from ictc.runs.context import count_need
from ictc.steps.table import STEPS
from ictc.tracks import BUILT_IN_TRACKS
from ictc.tracks.context import ContextNeed, count_tokens


def need(num_clusters: int, num_labels: int = 60, given: tuple[ClusterDefinition, ...] = ()) -> ContextNeed:
    counted = count_need(STEPS, make_config(num_clusters=num_clusters, num_labels=num_labels, given=given), num_labels)
    assert counted is not None
    return counted


def test_few_clusters_fit_the_smallest_default() -> None:
    for track in BUILT_IN_TRACKS:
        small = count_need(STEPS, make_config(track, num_clusters=20), 60)
        assert small is not None
        assert small.least < small.ample < 4096


def test_every_cluster_and_every_label_takes_its_place() -> None:
    assert need(100).least > 4096
    assert need(100).least - need(99).least >= 30
    assert need(5, num_labels=1000).least > 4096
    assert need(5, num_labels=1000).step == "2b"


def test_clusters_that_are_given_are_counted_as_they_are() -> None:
    short = tuple(ClusterDefinition(number, name=f"name {number}", description="") for number in range(1, 6))
    long = tuple(ClusterDefinition(number, name=f"name {number}", description="x" * 4000) for number in range(1, 6))
    assert need(5, given=short).least < 1000
    assert need(5, given=long).least > 5000
    assert need(5, num_labels=10_000, given=short) == need(5, given=short)


def test_letters_beyond_ascii_count_as_tokens() -> None:
    assert count_tokens("限时优惠") == 4
    assert count_tokens("") == 0
