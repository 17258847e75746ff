"""Asks for criteria: of a few captions at a time, and in sight of those that there are, so that others come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ictc.engines.base import GenerationRequest, JsonAnswer, Task
from ictc.errors import InvalidAnswer, StageError
from ictc.records import Caption
from ictc.stages.dialogue import Dialogue, ask_until_valid
from ictc.stages.retry import Attempt
from ictc.tracks.base import image_inputs
from ictc.tracks.criteria import (
    criteria_answer,
    describe_for_criteria,
    meaning_of,
    parse_criteria,
    render_criteria,
)

CAPTIONS_AT_A_TIME = 12
"""As many as the shortest context of our defaults, 4,096 tokens, has room for."""
CRITERIA_AT_A_TIME = 4
MAX_TOKENS = 160


@dataclass(frozen=True, kw_only=True)
class CriteriaWanted:
    """How criteria are asked for.

    Attributes:
        captions: of the sample, in an order that says nothing.
    """

    captions: Sequence[Caption]
    max_criteria: int
    seed: int

    def propose(self) -> Dialogue[list[str]]:
        """Come to criteria of different meanings, in the order in which they were named.

        Raises:
            StageError: no batch of captions got a valid answer.
        """
        criteria: dict[tuple[str, ...], str] = {}
        reason = ""
        for start in range(0, len(self.captions), CAPTIONS_AT_A_TIME):
            batch = self.captions[start : start + CAPTIONS_AT_A_TIME]
            try:
                named = yield from self._ask(batch, [*criteria.values()], name=f"suggest-{start}")
            except InvalidAnswer as error:
                reason = str(error)
                continue
            for one in named:
                criteria.setdefault(meaning_of(one), one)
            if len(criteria) >= self.max_criteria:
                break
        if not criteria:
            raise StageError(f"the model names no criterion (last: {reason}); try another --seed or a larger model")
        return [*criteria.values()][: self.max_criteria]

    def _ask(self, batch: Sequence[Caption], known: Sequence[str], *, name: str) -> Dialogue[list[str]]:
        """Come to the criteria that one batch of captions suggests.

        Raises:
            InvalidAnswer: no attempt gave any.
        """
        return (
            yield from ask_until_valid(
                lambda attempt: self._request(batch, known, attempt=attempt, name=name),
                lambda text: parse_criteria(text, CRITERIA_AT_A_TIME),
            )
        )

    def _request(
        self, batch: Sequence[Caption], known: Sequence[str], *, attempt: Attempt, name: str
    ) -> GenerationRequest:
        return GenerationRequest(
            request_id=name,
            task=Task.SUGGEST,
            messages=render_criteria(
                [describe_for_criteria(caption, attempt.text_share) for caption in batch],
                num_criteria=CRITERIA_AT_A_TIME,
                known=known,
            ),
            answer=JsonAnswer(criteria_answer(CRITERIA_AT_A_TIME).model_json_schema()),
            sampling=attempt.sampling(max_tokens=MAX_TOKENS, seed=self.seed),
            inputs={
                "images": [image_inputs(caption) for caption in batch],
                "known": list(known),
                "num_criteria": CRITERIA_AT_A_TIME,
            },
        )
