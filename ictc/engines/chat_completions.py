"""The chat completions protocol: from a `GenerationRequest` to its fields, and from a completion to a result.

Knows the words of the protocol and checks what comes back against what was asked for: servers differ in how they
take a constraint, and an answer outside of it becomes an `ItemError`, never a guess. Knows no network.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ictc.engines.base import (
    Answer,
    AnswerFormat,
    ChoiceAnswer,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
)
from ictc.records import DecodedImage

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion, ChatCompletionTokenLogprob
    from openai.types.chat.chat_completion import Choice
    from openai.types.chat.chat_completion_token_logprob import TopLogprob

JPEG_QUALITY = 95
"""Without chroma subsampling: 5 ms a megapixel and an error of 2 of 255 levels; PNG takes 20 to 100 ms and, for a
photograph, four times the bytes."""

CHOICE_KEY = "answer"
CHOICE_WRAPPER_TOKENS = 16
"""Room for the JSON around a choice, even at a token a character."""
TOP_LOGPROBS = 20
"""The most that the protocol allows."""
MAX_UNATTRIBUTED_SHARE = 0.01
"""Scores are given if at most this share of the probability cannot be told apart by option."""

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f]")
_CHOICE_HEAD = re.compile(rb'\s*\{\s*"' + CHOICE_KEY.encode() + rb'"\s*:\s*')
# An answer that starts as JSON is no thinking, even if the words in an image say so. A template may open the section
# in the prompt, so that only its end is in the answer.
_THINKING = re.compile(r"\A(?!\s*\{).*</think>|\A\s*<think>.*\Z", re.DOTALL)


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


def read_completion(request: GenerationRequest, completion: ChatCompletion) -> GenerationResult:
    """Check the first choice of `completion` against `request`."""
    choice, usage = completion.choices[0], completion.usage
    raw_text = choice.message.content if isinstance(choice.message.content, str) else ""
    if refusal := _refusal(choice):
        return ItemError(request.request_id, ItemErrorKind.REFUSED, refusal, raw_text)
    is_cut_off = choice.finish_reason == "length"
    try:
        text = _check_text(strip_thinking(raw_text), request.answer, is_cut_off)
    except ValueError as error:
        return ItemError(request.request_id, ItemErrorKind.UNCONSTRAINED, str(error), raw_text)
    return Answer(
        request_id=request.request_id,
        text=text,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        finish_reason="length" if is_cut_off and not isinstance(request.answer, ChoiceAnswer) else "stop",
        scores=_read_scores(request.answer, choice),
    )


def strip_thinking(text: str) -> str:
    """Return `text` without its `<think>` section, closed or not."""
    return _THINKING.sub("", text).strip()


def _refusal(choice: Choice) -> str | None:
    if choice.finish_reason == "content_filter":
        return "stopped by the content filter of the server"
    return getattr(choice.message, "refusal", None)


def _check_text(text: str, answer: AnswerFormat, is_cut_off: bool) -> str:
    """Return what `text` answers; a ValueError says how it ignores the constraint."""
    if isinstance(answer, ChoiceAnswer):
        return _parse_choice(text, answer, is_cut_off)
    if isinstance(answer, JsonAnswer) and not is_cut_off:
        return _parse_document(text, answer)
    return text


def _parse_choice(text: str, answer: ChoiceAnswer, is_cut_off: bool) -> str:
    if text in answer.options:
        return text
    # A model may fill the rest with white space: once the option is complete, a brace is all that can follow.
    document = _parse_json(text.removesuffix("}") + "}" if is_cut_off else text)
    option = document.get(CHOICE_KEY) if isinstance(document, dict) else None
    if option not in answer.options:
        raise ValueError("not one of the options")
    return str(option)


def _parse_document(text: str, answer: JsonAnswer) -> str:
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for

    schema, document = dict(answer.schema), _parse_json(text)
    error = best_match(validator_for(schema)(schema).iter_errors(document))
    if error is not None:
        raise ValueError(f"not as the schema says, at {error.json_path}: {error.message[:200]}")
    # Where a schema bounds a string's length, xgrammar (vLLM, SGLang) lets bare control characters into it.
    return json.dumps(document) if _CONTROL_CHARACTER.search(text) else text


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def _read_scores(answer: AnswerFormat, choice: Choice) -> dict[str, float] | None:
    if not isinstance(answer, ChoiceAnswer) or choice.logprobs is None:
        return None
    try:
        return choice_scores(answer.options, choice.logprobs.content or ())
    except (AttributeError, TypeError):  # the client library doesn't check what a server leaves out
        return None


def choice_scores(options: Sequence[str], tokens: Sequence[ChatCompletionTokenLogprob]) -> dict[str, float] | None:
    """Return the probability of each option, from the alternatives to each token that the model wrote.

    An alternative that only one option can go on with counts for that option; one that all can go on with is another
    spelling and tells nothing. What some options share, or the server doesn't show, can't be told apart: beyond
    `MAX_UNATTRIBUTED_SHARE` of it there are no scores. They are relative to the allowed answers, so exact only
    where the server masks all others before it takes log-probabilities, as vLLM does.

    Returns:
        A probability for each option, summing to 1; None if they can't be told.
    """
    head = _CHOICE_HEAD.match(b"".join(_bytes_of(token) for token in tokens))
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
        path += _bytes_of(token)
        path_probability *= math.exp(token.logprob)
    said = _fitting(forms, path)
    if len(said) != 1:
        return None
    scores[next(iter(said))] += path_probability
    total = math.fsum(scores.values())
    if unattributed > MAX_UNATTRIBUTED_SHARE * total:
        return None
    return {option: score / total for option, score in scores.items()}


def _weigh_alternatives(
    alive: Mapping[str, bytes], path: bytes, token: ChatCompletionTokenLogprob
) -> tuple[dict[str, float], float]:
    """Return what the alternatives to `token` after `path` give to each option, and what can't be told apart."""
    written = path + _bytes_of(token)
    shown = {path + _bytes_of(other): math.exp(other.logprob) for other in token.top_logprobs}
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


def _bytes_of(token: ChatCompletionTokenLogprob | TopLogprob) -> bytes:
    return bytes(token.bytes) if token.bytes is not None else token.token.encode()


def _fitting(forms: Mapping[str, bytes], text: bytes) -> dict[str, bytes]:
    """Return the options whose JSON form begins with `text`, or `text` with it."""
    return {option: form for option, form in forms.items() if form.startswith(text) or text.startswith(form)}
