"""What a model's result means for an image: its outcome, or a failure that is worth another attempt."""

from __future__ import annotations

from ictc.engines.base import Answer, GenerationResult
from ictc.errors import InvalidAnswer
from ictc.records import add_counts
from ictc.stages.outcome import Outcome, rejected
from ictc.stages.retry import CUT_OFF, INVALID
from ictc.stages.work import ItemT, MapStage


def judge(stage: MapStage[ItemT], item: ItemT, result: GenerationResult) -> tuple[Outcome, str | None]:
    """Return the outcome if this were the last attempt, and the failure that it is, if one."""
    if not isinstance(result, Answer):
        return rejected(f"{result.kind.value}: {result.message}", raw_text=result.raw_text), result.kind
    try:
        outcome = stage.parse_answer(item, result)
        return outcome, INVALID if outcome.doubt else None
    except InvalidAnswer as error:
        failure = CUT_OFF if result.finish_reason == "length" else INVALID
        return rejected(f"{failure}: {error}", raw_text=result.text), failure


def count_tokens(result: GenerationResult) -> int | None:
    """Return the tokens that a result took, of prompt and answer; None if the engine doesn't tell."""
    return add_counts(result.prompt_tokens, result.completion_tokens) if isinstance(result, Answer) else 0
