"""Between a `GenerationRequest` and vLLM's own words: the conversation, the sampling parameters, the output.

Knows no engine: what goes to it is built here, and what comes back is checked here against the request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ictc.engines.base import (
    Answer,
    ChoiceAnswer,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
    TextAnswer,
)
from ictc.engines.openai.reading import strip_thinking
from ictc.engines.vllm_failure import one_line

MAX_SCORED_OPTIONS = 128
"""vLLM's limit of `logprob_token_ids`."""
TOO_LONG_PARAMETERS = ("input_text", "input_tokens")
"""How a `VLLMValidationError` names a prompt that is too long."""


def build_conversation(request: GenerationRequest) -> list[dict[str, Any]]:
    """Return the messages in vLLM's form, with the image first in the first user turn."""
    conversation: list[dict[str, Any]] = [{"role": turn.role, "content": turn.text} for turn in request.messages]
    if request.image is not None:
        from PIL import Image

        picture = Image.frombytes("RGB", (request.image.width, request.image.height), request.image.rgb)
        turn = conversation[[turn.role for turn in request.messages].index("user")]
        turn["content"] = [
            {"type": "image_pil", "image_pil": picture, "uuid": request.image.key},
            {"type": "text", "text": turn["content"]},
        ]
    return conversation


def count_image_tokens(prompt: Any) -> int:
    """Return how many tokens of vLLM's rendered `prompt` stand for its image."""
    return sum(placeholder.length for placeholder in prompt.get("mm_placeholders", {}).get("image", ()))


def find_option_tokens(tokenizer: Any, options: Sequence[str]) -> tuple[int, ...] | None:
    """Return the token that each option consists of; None if one takes several, or two the same."""
    encoded = [tuple(tokenizer.encode(option, add_special_tokens=False)) for option in options]
    if len(options) > MAX_SCORED_OPTIONS or any(len(tokens) != 1 for tokens in encoded):
        return None
    return tuple(tokens[0] for tokens in encoded) if len(set(encoded)) == len(encoded) else None


def build_sampling_params(request: GenerationRequest, option_tokens: Sequence[int] | None, context_left: int) -> Any:
    """Return vLLM's sampling parameters.

    A choice between single tokens is one step over these tokens alone, which gives their probabilities too; any
    other choice is bounded by its longest option, at a token a byte at worst.
    """
    from vllm import SamplingParams as VllmSamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling, max_tokens = request.sampling, request.sampling.max_tokens
    constraint: dict[str, Any] = {}
    if isinstance(request.answer, JsonAnswer):
        constraint = {"structured_outputs": StructuredOutputsParams(json=dict(request.answer.schema))}
    elif isinstance(request.answer, ChoiceAnswer) and option_tokens:
        max_tokens = 1
        constraint = {"allowed_token_ids": list(option_tokens), "logprob_token_ids": list(option_tokens)}
    elif isinstance(request.answer, ChoiceAnswer):
        max_tokens = 1 + max(len(option.encode()) for option in request.answer.options)
        constraint = {"structured_outputs": StructuredOutputsParams(choice=list(request.answer.options))}
    return VllmSamplingParams(
        max_tokens=min(max_tokens, context_left),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed if can_seed(sampling.temperature) else None,
        output_kind=RequestOutputKind.FINAL_ONLY,
        **constraint,
    )


def can_seed(temperature: float) -> bool:
    """Whether a request may have a seed of its own.

    On the CPU, vLLM 0.32 dies of one that samples once its prompt is read in parts: "CPU Generator does not use
    offset". Greedy requests need none.
    """
    from vllm.platforms import current_platform

    return temperature == 0 or not current_platform.is_cpu()


def read_output(request: GenerationRequest, output: Any, option_tokens: Sequence[int] | None) -> GenerationResult:
    """Check vLLM's output against `request`."""
    completion = output.outputs[0]
    text, finish_reason, scores = completion.text, completion.finish_reason, None
    if finish_reason not in ("stop", "length"):
        return ItemError(
            request.request_id, ItemErrorKind.TRANSIENT, message=f"vLLM ended with {finish_reason!r}", raw_text=text
        )
    if isinstance(request.answer, TextAnswer):
        text = strip_thinking(text)
    elif isinstance(request.answer, ChoiceAnswer):
        options, finish_reason = request.answer.options, "stop"
        if option_tokens:
            text = options[option_tokens.index(completion.token_ids[0])]
            scores = dict(zip(options, read_scores(completion.logprobs[0], option_tokens), strict=True))
        elif text not in options:
            message = f"{one_line(text)!r} is none of the {len(options)} options"
            return ItemError(request.request_id, ItemErrorKind.UNCONSTRAINED, message=message, raw_text=text)
    return Answer(
        request_id=request.request_id,
        text=text,
        prompt_tokens=len(output.prompt_token_ids),
        completion_tokens=len(completion.token_ids),
        finish_reason=finish_reason,
        scores=scores,
    )


def read_scores(logprobs: Any, tokens: Sequence[int]) -> list[float]:
    """Return the probabilities of `tokens`, renormalized over them: vLLM gives them over the whole vocabulary."""
    values = [logprobs[token].logprob for token in tokens]
    likelihoods = [math.exp(value - max(values)) for value in values]
    return [likelihood / sum(likelihoods) for likelihood in likelihoods]


def item_error(request: GenerationRequest, error: BaseException) -> ItemError:
    """Return what an error of vLLM means for its request: bad requests stay bad, anything else may pass."""
    from vllm.exceptions import VLLMClientError

    kind = ItemErrorKind.TRANSIENT
    if getattr(error, "parameter", None) in TOO_LONG_PARAMETERS:
        kind = ItemErrorKind.PROMPT_TOO_LONG
    elif isinstance(error, VLLMClientError | ValueError):
        kind = ItemErrorKind.REFUSED
    return ItemError(request.request_id, kind, message=one_line(str(error) or type(error).__name__))
