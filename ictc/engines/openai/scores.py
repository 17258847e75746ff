"""The probability of each option of a closed choice, from the log-probabilities of the tokens that a model wrote.

Knows the form in which a choice is asked for, and nothing of servers: what one leaves out costs the scores, not the
answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ictc.engines.base import AnswerFormat, ChoiceAnswer

CHOICE_KEY = "answer"
"""The one key of the JSON object that a choice is asked for as."""
MAX_UNATTRIBUTED_SHARE = 0.01
"""Scores are given if at most this share of the probability cannot be told apart by option."""

_CHOICE_HEAD = re.compile(rb'\s*\{\s*"' + CHOICE_KEY.encode() + rb'"\s*:\s*')


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was written, or could have been: its bytes, its probability, and those beside it."""

    text: bytes
    probability: float
    shown: tuple[Token, ...] = ()


def read_scores(answer: AnswerFormat, logprobs: Any) -> dict[str, float] | None:
    """Return the scores of a choice from the `logprobs` of a completion; None if they don't tell."""
    if not isinstance(answer, ChoiceAnswer) or not isinstance(logprobs, dict):
        return None
    try:
        return choice_scores(answer.options, [_read_token(token) for token in logprobs["content"]])
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None


def _read_token(token: Mapping[str, Any]) -> Token:
    spelled = token.get("bytes")
    text = bytes(spelled) if spelled is not None else token["token"].encode()
    shown = tuple(_read_token(other) for other in token.get("top_logprobs") or ())
    return Token(text, math.exp(token["logprob"]), shown)


def choice_scores(options: Sequence[str], tokens: Sequence[Token]) -> dict[str, float] | None:
    """Return the probability of each option, from the alternatives to each token that the model wrote.

    An alternative that only one option can go on with counts for that option; one that all can go on with is another
    spelling and tells nothing. What some options share, or the server doesn't show, can't be told apart: beyond
    `MAX_UNATTRIBUTED_SHARE` of it there are no scores. They are relative to the allowed answers, so exact only
    where the server masks all others before it takes log-probabilities, as vLLM does.

    Returns:
        A probability for each option, summing to 1; None if they can't be told.
    """
    head = _CHOICE_HEAD.match(b"".join(token.text for token in tokens))
    if head is None:
        return None
    forms = {option: head[0] + json.dumps(option, ensure_ascii=False).encode() for option in options}
    scores, unattributed = dict.fromkeys(options, 0.0), 0.0
    path, path_probability = b"", 1.0
    for token in tokens:
        alive = _fitting(forms, path)
        if len(alive) < 2:
            break
        branches, untold = _weigh_alternatives(alive, path, token)
        for option, probability in branches.items():
            scores[option] += path_probability * probability
        unattributed += path_probability * untold
        path += token.text
        path_probability *= token.probability
    said = _fitting(forms, path)
    if len(said) != 1:
        return None
    scores[next(iter(said))] += path_probability
    total = math.fsum(scores.values())
    if unattributed > MAX_UNATTRIBUTED_SHARE * total:
        return None
    return {option: score / total for option, score in scores.items()}


def _weigh_alternatives(alive: Mapping[str, bytes], path: bytes, token: Token) -> tuple[dict[str, float], float]:
    """Return what the alternatives to `token` after `path` give to each option, and what can't be told apart."""
    written = path + token.text
    shown = {path + other.text: other.probability for other in token.shown}
    owners = {text: set(_fitting(alive, text)) for text in shown}
    unseen = set(alive).difference(_fitting(alive, written), *owners.values())
    branches: dict[str, float] = {}
    untold = len(unseen) * min(shown.values(), default=1.0)
    for text, probability in shown.items():
        if text == written:
            continue
        if len(owners[text]) == 1:
            option = owners[text].pop()
            branches[option] = branches.get(option, 0.0) + probability
        elif 0 < len(owners[text]) < len(alive):
            untold += probability
    return branches, untold


def _fitting(forms: Mapping[str, bytes], text: bytes) -> dict[str, bytes]:
    """Return the options whose JSON form begins with `text`, or `text` with it."""
    return {option: form for option, form in forms.items() if form.startswith(text) or text.startswith(form)}
