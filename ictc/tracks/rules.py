"""Rules of clusters, where they are wanted (`--evidence`): Step 2b is asked for them with the words of any track."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from ictc.tracks.answers import ClusterAnswer
from ictc.tracks.base import Track

ADDED = """

Add two more fields to each cluster:
- include: one sentence that says what an image must show or say to belong to it;
- exclude: one sentence that names images which seem to belong to it and do not."""


class RuledClusterAnswer(ClusterAnswer):
    """A cluster in an answer of Step 2b, with its rules."""

    include: str = Field(min_length=1, max_length=240)
    exclude: str = Field(min_length=1, max_length=240)


def with_rules(track: Track, *, groups_first: bool) -> Track:
    """Return the track where Step 2b asks each cluster for its rules.

    Args:
        groups_first: whether labels are grouped before clusters are named: then names alone stay, and are asked.
    """
    if groups_first:
        naming = replace(track.naming, user=track.naming.user + ADDED, answer=RuledClusterAnswer)
        inside = replace(track.naming_inside, user=track.naming_inside.user + ADDED, answer=RuledClusterAnswer)
        return replace(track, naming=naming, naming_inside=inside)
    synthesize = replace(track.synthesize, user=track.synthesize.user + ADDED, answer=RuledClusterAnswer)
    return replace(track, synthesize=synthesize)


def asks_rules(answer: type[ClusterAnswer]) -> bool:
    """Whether an answer of Step 2b has rules in it."""
    return issubclass(answer, RuledClusterAnswer)
