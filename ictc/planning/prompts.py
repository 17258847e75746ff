"""How many text tokens the prompts and answers of each step have, by the model's own tokenizer where it can be had.

The prompts are the tracks' own, rendered for a typical ad; the answers are the typical ad's. Asks no server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ictc.steps.base import TypicalRequest
from ictc.steps.config import StepConfig
from ictc.steps.table import STEPS

CHARACTERS_PER_TOKEN = 4.2
"""Where the tokenizer is not at hand. With Qwen's, the prompts of this package have 4.2 to 4.4, answers in JSON 4.1."""
TEMPLATE_TOKENS = 20
"""What a chat template puts around two turns, an image and an empty thought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTokens:
    """Text tokens of one step's request, image tokens not counted.

    Attributes:
        num_requests: how many the step makes, of each image or of the whole collection.
    """

    prompt: float
    answer: float
    num_requests: float = 1


@dataclass(frozen=True)
class TokenCounter:
    """Counts the tokens of a text; `source` says how, for people."""

    count: Callable[[str], float]
    source: str


def load_token_counter(model: str) -> TokenCounter:
    """Return the tokenizer of a model folder or of a model that was downloaded before, else an estimate."""
    path = _find_tokenizer(model)
    if path is not None:
        try:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(path))
        except Exception:  # the package is missing, or the file is of another kind: tokenizers has no error of its own
            return ESTIMATE
        return TokenCounter(lambda text: len(tokenizer.encode(text, add_special_tokens=False)), "the model's tokenizer")
    return ESTIMATE


ESTIMATE = TokenCounter(
    lambda text: len(text) / CHARACTERS_PER_TOKEN,
    f"an estimate of {CHARACTERS_PER_TOKEN:g} characters a token, as the model's tokenizer is not on this machine",
)


def _find_tokenizer(model: str) -> Path | None:
    if (path := Path(model) / "tokenizer.json").is_file():
        return path
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model, "tokenizer.json")
    except (ImportError, ValueError):  # the latter: `model` is no name of a repository
        return None
    return Path(found) if isinstance(found, str) else None


def count_text_tokens(configs: Sequence[StepConfig], counter: TokenCounter) -> dict[str, TextTokens]:
    """Return the tokens of each step, by its name, averaged over tracks."""
    return {step.name: _mean([_count(step.examples(config), counter) for config in configs]) for step in STEPS}


def _count(requests: Sequence[TypicalRequest], counter: TokenCounter) -> TextTokens:
    """Return the tokens of the average request of a step; of one, if it asks nothing."""
    counts = [max(request.count, 1) for request in requests]
    prompts = [TEMPLATE_TOKENS + sum(counter.count(turn.text) for turn in request.prompt) for request in requests]
    answers = [max(counter.count(request.answer), 1) for request in requests]
    num_requests = sum(request.count for request in requests)
    return TextTokens(prompt=fmean(prompts, counts), answer=fmean(answers, counts), num_requests=num_requests)


def _mean(tokens: Sequence[TextTokens]) -> TextTokens:
    return TextTokens(
        prompt=fmean(each.prompt for each in tokens),
        answer=fmean(each.answer for each in tokens),
        num_requests=fmean(each.num_requests for each in tokens),
    )
