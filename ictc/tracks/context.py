"""How many tokens of context K clusters take in Steps 2b and 3: arithmetic over a track's own prompts.

Knows no engine, tokenizer or setting. What is counted is an estimate, so it comes as two numbers: what no run can do
with less than, and what leaves room to spare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ictc.engines.base import Message
from ictc.records import ClusterDefinition
from ictc.tracks.base import Track

CHARACTERS_PER_TOKEN = 4.0
"""Of plain English in the tokenizers of today's models; a letter beyond ASCII is taken for a token of its own."""
TEMPLATE_TOKENS = 20
"""What a chat template puts around two turns."""


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens of something that is not there yet: of a short one, and of the longest to be reckoned with."""

    least: int
    ample: int


CLUSTER = Size(least=40, ample=100)
"""Name and description of one cluster, with the JSON or the letter around them."""
LABEL = Size(least=8, ample=16)
"""One label with its count, a line of Step 2b's prompt."""
IMAGE = Size(least=100, ample=700)
"""Caption and label of one image as JSON; of a long one Step 3 asks again with less of its words."""


@dataclass(frozen=True, slots=True)
class ContextNeed:
    """Tokens of context, prompt and answer together, that a text step takes.

    Attributes:
        step: "2b" or "3", whichever takes more.
        least: a shorter context can't work.
        ample: leaves room for long names, descriptions and labels.
    """

    step: str
    least: int
    ample: int


def count_context(
    track: Track, criterion: str, *, num_clusters: int, num_labels: int, given: Sequence[ClusterDefinition] = ()
) -> ContextNeed:
    """Return what Steps 2b and 3 need of the context of a model.

    Args:
        num_labels: most labels that Step 2b will read.
        given: the clusters that stand in for those of Step 2b, () if it is to make `num_clusters`.
    """
    needs = [_count_assign(track, criterion, num_clusters, given)]
    if not given:
        needs.append(_count_synthesize(track, criterion, num_clusters, num_labels))
    return max(needs, key=lambda need: (need.least, need.ample))


def _count_synthesize(track: Track, criterion: str, num_clusters: int, num_labels: int) -> ContextNeed:
    prompt = track.synthesize.render(criterion=criterion, num_clusters=num_clusters, labels="", coverage="x" * 160)
    around = count_prompt(prompt)
    return ContextNeed(
        "2b",
        least=around + num_labels * LABEL.least + num_clusters * CLUSTER.least,
        ample=around + num_labels * LABEL.ample + num_clusters * CLUSTER.ample,
    )


def _count_assign(track: Track, criterion: str, num_clusters: int, given: Sequence[ClusterDefinition]) -> ContextNeed:
    around = count_prompt(track.assign.render(criterion=criterion, clusters="", image=""))
    clusters = Size(num_clusters * CLUSTER.least, num_clusters * CLUSTER.ample)
    if given:
        tokens = count_tokens("\n".join(f"AA. {one.name}: {one.description}" for one in given))
        clusters = Size(tokens, tokens)
    return ContextNeed("3", around + clusters.least + IMAGE.least, around + clusters.ample + IMAGE.ample)


def count_prompt(conversation: Sequence[Message]) -> int:
    """Return about how many tokens a conversation has."""
    return TEMPLATE_TOKENS + sum(count_tokens(turn.text) for turn in conversation)


def count_tokens(text: str) -> int:
    """Return about how many tokens a text has, rather too many than too few.

    >>> count_tokens("limited time offer"), count_tokens("限时优惠")
    (5, 4)
    """
    ascii_characters = sum(character.isascii() for character in text)
    return -(-ascii_characters // int(CHARACTERS_PER_TOKEN)) + len(text) - ascii_characters
