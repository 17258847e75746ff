"""Asks in which cluster of a proposal a label belongs: what Step 3 asks, of an image that is nothing but a label."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from ictc.engines.base import ChoiceAnswer, GenerationRequest, Task
from ictc.errors import InvalidAnswer
from ictc.stages.dialogue import Dialogue, ask_until_valid
from ictc.stages.retry import Attempt
from ictc.steps.options import Option, list_options, shuffle_options
from ictc.steps.synthesis.proposing import Aim, Proposal

MAX_TOKENS = 16


def place(label: str, proposal: Proposal, *, aim: Aim, name: str) -> Dialogue[int | None]:
    """Come to the number of a cluster, from 1; None if the model gives no valid answer.

    Args:
        name: of the requests.
    """
    return place_among(label, proposal.options, aim=aim, name=name)


def place_among(label: str, choices: Sequence[Option], *, aim: Aim, name: str) -> Dialogue[int | None]:
    """Come to the number of one of these clusters; None also if none fits, where that is one of the choices."""
    options = shuffle_options(choices, f"{aim.seed}/{label}")

    def parse(text: str) -> int | None:
        if text not in options:
            raise InvalidAnswer(f"{text[:40]!r} is none of the {len(options)} clusters")
        return options[text].cluster_id

    try:
        return (
            yield from ask_until_valid(
                lambda attempt: _request(label, options, aim=aim, attempt=attempt, name=name), parse
            )
        )
    except InvalidAnswer:
        return None


def _request(label: str, options: dict[str, Option], *, aim: Aim, attempt: Attempt, name: str) -> GenerationRequest:
    return GenerationRequest(
        request_id=name,
        task=Task.ASSIGN,
        messages=aim.track.assign.render(
            criterion=aim.criterion,
            clusters=list_options(options),
            image=orjson.dumps({"label": label}, option=orjson.OPT_INDENT_2).decode(),
        ),
        answer=ChoiceAnswer(tuple(options)),
        sampling=attempt.sampling(max_tokens=MAX_TOKENS, seed=aim.seed),
        inputs={
            "criterion": aim.criterion,
            **{"brand": "", "category": "", "text": label, "summary": "", "label": label},
            "options": {letters: option.to_row() for letters, option in options.items()},
        },
    )
