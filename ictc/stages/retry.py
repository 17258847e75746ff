"""What is tried when one request fails: named rungs, a ladder of them for each kind of failure, then rejection."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ictc.engines.base import Answer, GenerationResult, ItemErrorKind, SamplingParams
from ictc.errors import InvalidAnswer

CUT_OFF = "answer cut off at max_tokens"
INVALID = "answer not valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How a request departs from its first form.

    Attributes:
        number: 0 for the first.
        tokens_factor: multiplies `max_tokens`.
        image_share: multiplies the image token budget.
        text_share: multiplies how much of the image's own text the prompt carries.
        vary: whether to sample another answer instead of the greedy one.
    """

    number: int = 0
    tokens_factor: int = 1
    image_share: float = 1.0
    text_share: float = 1.0
    vary: bool = False

    def sampling(self, *, max_tokens: int, seed: int) -> SamplingParams:
        """Return the sampling parameters of this attempt; each has its own seed."""
        return SamplingParams(
            max_tokens=max_tokens * self.tokens_factor,
            temperature=0.7 if self.vary else 0.0,
            seed=seed + self.number,
        )


FIRST = Attempt()


def again(attempt: Attempt) -> Attempt:
    """Ask the same once more, as the failure was not the request's."""
    return attempt


def another_answer(attempt: Attempt) -> Attempt:
    """Sample: the greedy answer would be the same invalid one."""
    return replace(attempt, vary=True)


def more_room(attempt: Attempt) -> Attempt:
    """Allow twice the tokens, and another wording, since a model that rambles rambles again."""
    return replace(attempt, tokens_factor=attempt.tokens_factor * 2, vary=attempt.number > 0)


def shorter_prompt(attempt: Attempt) -> Attempt:
    """Halve what is variable in the prompt: the image's tokens and the text that came from it."""
    return replace(attempt, image_share=attempt.image_share / 2, text_share=attempt.text_share / 2)


LADDERS = {
    INVALID: (another_answer, another_answer),
    CUT_OFF: (more_room, more_room),
    ItemErrorKind.UNCONSTRAINED: (another_answer, another_answer),
    ItemErrorKind.PROMPT_TOO_LONG: (shorter_prompt, shorter_prompt, shorter_prompt),
    ItemErrorKind.TRANSIENT: (again, again),
    ItemErrorKind.REFUSED: (),
}


def next_attempt(attempt: Attempt, failure: str) -> Attempt | None:
    """Return what to try after `failure`, or None when its ladder is used up."""
    ladder = LADDERS[failure]
    if attempt.number >= len(ladder):
        return None
    return replace(ladder[attempt.number](attempt), number=attempt.number + 1)


def text_of(result: GenerationResult) -> str:
    """Return what the model said.

    Raises:
        InvalidAnswer: nothing, with the reason.
    """
    if not isinstance(result, Answer):
        raise InvalidAnswer(f"{result.kind.value}: {result.message}")
    return result.text


def failure_of(result: GenerationResult) -> str:
    """Return which ladder an invalid result climbs."""
    if not isinstance(result, Answer):
        return result.kind
    return CUT_OFF if result.finish_reason == "length" else INVALID
