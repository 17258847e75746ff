"""How many text tokens the prompts and answers of each step have, by the model's own tokenizer where it can be had.

The prompts are the tracks' own, rendered for a typical ad; the answers are the typical ad's. Asks no server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ictc.steps.config import StepConfig
from ictc.steps.table import STEPS

CHARACTERS_PER_TOKEN = 4.2
"""Where the tokenizer is not at hand. With Qwen's, the prompts of this package have 4.2 to 4.4, answers in JSON 4.1."""
TEMPLATE_TOKENS = 20
"""What a chat template puts around two turns, an image and an empty thought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTokens:
    """Text tokens of one step's request, image tokens not counted."""

    prompt: float
    answer: float


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
    counted = [_count_track(config, counter) for config in configs]
    return {
        name: TextTokens(
            prompt=fmean(tokens[name].prompt for tokens in counted),
            answer=fmean(tokens[name].answer for tokens in counted),
        )
        for name in counted[0]
    }


def _count_track(config: StepConfig, counter: TokenCounter) -> dict[str, TextTokens]:
    counted = {}
    for step in STEPS:
        conversation, answer = step.example(config)
        counted[step.name] = TextTokens(
            prompt=TEMPLATE_TOKENS + sum(counter.count(turn.text) for turn in conversation),
            answer=max(counter.count(answer), 1),
        )
    return counted
