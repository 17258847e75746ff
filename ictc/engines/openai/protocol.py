"""The chat completions protocol: from a `GenerationRequest` to its fields, and from a completion to a result.

Knows the words of the protocol and checks what comes back against what was asked for: servers differ in how they
take a constraint, and an answer outside of it becomes an `ItemError`, never a guess. Knows no network.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ictc.engines.base import (
    Answer,
    ChoiceAnswer,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
)
from ictc.engines.openai.reading import NoAnswer, Reply, read_answer, read_reply, strip_thinking
from ictc.engines.openai.scores import CHOICE_KEY, read_scores
from ictc.records import DecodedImage

JPEG_QUALITY = 95
"""Without chroma subsampling: 5 ms a megapixel and an error of 2 of 255 levels; PNG takes 20 to 100 ms and, for a
photograph, four times the bytes."""

CHOICE_WRAPPER_TOKENS = 16
"""Room for the JSON around a choice, even at a token a character."""
CUT_OFF_REASONS = ("length", "max_tokens", "MAX_TOKENS")
"""How servers say that an answer ended for want of tokens."""
BROKEN_OFF_REASONS = ("error", "abort", "aborted", "cancelled", "insufficient_system_resource")
"""How servers say that an answer ended for a trouble of their own."""
TOP_LOGPROBS = 20
"""The most that the protocol allows."""


def encode_image(image: DecodedImage) -> str:
    """Return the image as a `data:` URL."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.frombytes("RGB", (image.width, image.height), image.rgb)
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def build_messages(request: GenerationRequest, image_url: str | None) -> list[dict[str, Any]]:
    """Return the conversation, with the image first in the first user turn."""
    messages: list[dict[str, Any]] = [{"role": turn.role, "content": turn.text} for turn in request.messages]
    if image_url is not None:
        turn = messages[[turn.role for turn in request.messages].index("user")]
        turn["content"] = [
            {"type": "image_url", "image_url": {"url": image_url}},
            {"type": "text", "text": turn["content"]},
        ]
    return messages


def build_fields(request: GenerationRequest) -> dict[str, Any]:
    """Return every field but the model and the messages.

    A choice is asked for as a JSON object with an `enum`: the one form that vLLM, SGLang, llama.cpp, Ollama and
    hosted OpenAI all constrain.
    """
    sampling = request.sampling
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    if isinstance(request.answer, JsonAnswer):
        fields["response_format"] = _json_schema_format(request.task, request.answer.schema)
    elif isinstance(request.answer, ChoiceAnswer):
        fields["response_format"] = _json_schema_format(request.task, _choice_schema(request.answer), strict=True)
        fields["max_tokens"] += CHOICE_WRAPPER_TOKENS
        fields |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    return fields


def _json_schema_format(name: str, schema: Mapping[str, Any], **options: bool) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), **options}}


def _choice_schema(answer: ChoiceAnswer) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {CHOICE_KEY: {"type": "string", "enum": list(answer.options)}},
        "required": [CHOICE_KEY],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class Call:
    """A request in the words of the protocol, before it is fitted to a server.

    Attributes:
        fields: everything but the model and the messages.
    """

    request: GenerationRequest
    messages: list[dict[str, Any]]
    fields: Mapping[str, Any]

    @property
    def has_image(self) -> bool:
        """Whether a server needs eyes to answer."""
        return self.request.image is not None


def read_completion(request: GenerationRequest, completion: Mapping[str, Any]) -> GenerationResult:
    """Check the first choice of `completion` against `request`."""
    choice = completion["choices"][0]
    reply = read_reply(choice)
    if refusal := _refusal(choice):
        return ItemError(
            request.request_id, ItemErrorKind.REFUSED, message=refusal, raw_text=raw_text_of(reply, choice)
        )
    is_cut_off = choice.get("finish_reason") in CUT_OFF_REASONS
    try:
        text = read_answer(request, reply, is_cut_off=is_cut_off)
    except NoAnswer as error:
        if not (is_cut_off and isinstance(request.answer, JsonAnswer)):
            raw_text = raw_text_of(reply, choice)
            return ItemError(request.request_id, ItemErrorKind.UNCONSTRAINED, message=str(error), raw_text=raw_text)
        text = strip_thinking(reply.content) or reply.raw_text
    prompt_tokens, completion_tokens = read_usage(completion.get("usage"))
    return Answer(
        request_id=request.request_id,
        text=text,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        finish_reason="length" if is_cut_off and not isinstance(request.answer, ChoiceAnswer) else "stop",
        scores=read_scores(request.answer, choice.get("logprobs")),
    )


def is_broken_off(choice: Mapping[str, Any]) -> bool:
    """Return whether a server gave up on an answer, so that what there is of it is not the model's."""
    reason = choice.get("finish_reason")
    if reason is None:
        return not (read_reply(choice).raw_text or _refusal(choice))
    return reason in BROKEN_OFF_REASONS


def raw_text_of(reply: Reply, choice: Mapping[str, Any]) -> str:
    """Return what a rejection keeps of an answer: its text, else the whole of it."""
    return reply.raw_text or json.dumps(choice.get("message"), ensure_ascii=False)


def read_usage(usage: Any) -> tuple[int | None, int | None]:
    """Return the tokens of the prompt and of the answer, None for what a server doesn't tell."""
    counts = usage if isinstance(usage, Mapping) else {}
    return _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))


def _count(value: Any) -> int | None:
    try:
        count = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
        return int(count) if count >= 0 and count.is_integer() else None
    except (ValueError, OverflowError):
        return None


def _refusal(choice: Mapping[str, Any]) -> str | None:
    if choice.get("finish_reason") == "content_filter":
        return "stopped by the content filter of the server"
    message = choice.get("message")
    refusal = message.get("refusal") if isinstance(message, Mapping) else None
    return refusal if isinstance(refusal, str) and refusal else None
