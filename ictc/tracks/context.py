"""How many tokens of context prompts take: arithmetic over a track's own templates and what is put into them.

Knows no engine, tokenizer or setting. What is counted is an estimate, so it comes as two numbers: what no run can do
with less than, and what leaves room to spare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from ictc.engines.base import Message

CHARACTERS_PER_TOKEN = 4.0
"""Of plain English in the tokenizers of today's models; a letter beyond ASCII is taken for a token of its own."""
TEMPLATE_TOKENS = 20
"""What a chat template puts around two turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Tokens of something that is not there yet: of a short one, and of the longest to be reckoned with."""

    least: int
    ample: int

    def plus(self, other: Size) -> Size:
        """Return the size of both together."""
        return Size(least=self.least + other.least, ample=self.ample + other.ample)

    def times(self, number: int) -> Size:
        """Return the size of so many."""
        return Size(least=self.least * number, ample=self.ample * number)


NOTHING = Size(least=0, ample=0)
CLUSTER = Size(least=40, ample=100)
"""Name and description of one cluster, with the JSON or the letter around them."""
RULES = Size(least=20, ample=120)
"""The two rules of a cluster that has them, with the JSON or the words around them."""
LABEL_LINE = Size(least=8, ample=16)
"""One label with its count, a line of Step 2b's prompt."""
IMAGE = Size(least=100, ample=700)
"""Caption and label of one image as JSON; of a long one Step 3 asks again with less of its words."""


@dataclass(frozen=True, slots=True)
class ContextNeed:
    """Tokens of context, prompt and answer together, that a text step takes.

    Attributes:
        step: its number.
        least: a shorter context can't work.
        ample: leaves room for long names, descriptions and labels.
    """

    step: str
    _: KW_ONLY
    least: int
    ample: int


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
