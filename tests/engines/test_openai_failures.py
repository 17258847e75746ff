"""What failures of servers mean, in the words of servers that people use."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from ictc.engines.openai.failures import Failure, Meaning, failure_of_response, find_retry_after, meaning_of
from ictc.engines.openai.server import read_response

WAIT = {"Retry-After": "7"}


def meaning(status: int, body: Any, headers: dict[str, str] | None = None) -> Meaning:
    text = body if isinstance(body, str) and body.startswith("<") else json.dumps(body)
    failure = read_response(status, headers or {}, text)
    assert isinstance(failure, Failure)
    assert failure.text
    return meaning_of(failure)


def error(message: str, code: Any = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, **more}}


@pytest.mark.parametrize(
    ("expected", "status", "body"),
    [
        # The account
        (Meaning.ACCOUNT, 401, error("Incorrect API key provided", "invalid_api_key")),
        (Meaning.ACCOUNT, 401, "<html>401 Authorization Required</html>"),
        (Meaning.ACCOUNT, 402, error("Insufficient Balance")),
        (Meaning.ACCOUNT, 403, error("You do not have access to this resource")),
        (Meaning.ACCOUNT, 429, error("You exceeded your current quota, please check your plan", "insufficient_quota")),
        (Meaning.ACCOUNT, 429, error("You exceeded your current quota, please check your plan and billing details.")),
        (Meaning.ACCOUNT, 400, error("Your credit balance is too low to access the API", type="invalid_request_error")),
        (Meaning.ACCOUNT, 400, error("API key not valid. Please pass a valid API key.")),
        (Meaning.ACCOUNT, 200, error("Insufficient credits", 402)),
        (Meaning.ACCOUNT, 200, error("No cookie auth credentials found", 401)),
        (Meaning.ACCOUNT, 400, error("Budget has been exceeded! Current cost: 10.01, Max budget: 10.0")),
        (Meaning.ACCOUNT, 400, error("You have reached your specified API usage limits. You will regain access on")),
        (Meaning.ACCOUNT, 412, error("Account foo is suspended, possibly due to the monthly spending limit")),
        (Meaning.ACCOUNT, 400, error("Access denied, please make sure your account is in good standing.", "Arrearage")),
        (Meaning.ACCOUNT, 500, error("Project p has exceeded its monthly budget")),
        (Meaning.ACCOUNT, 407, "<html>Proxy Authentication Required</html>"),
        # A pause
        (Meaning.PAUSED, 403, {"message": "You have exceeded a secondary rate limit. Please wait a few minutes"}),
        (Meaning.PAUSED, 400, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
        (Meaning.PAUSED, 400, {"object": "error", "message": "The request queue is full.", "code": 400}),
        (Meaning.PAUSED, 498, error("Flex tier capacity exceeded.", "capacity_exceeded", type="capacity")),
        (Meaning.PAUSED, 429, error("Rate limit reached for requests per min")),
        (Meaning.PAUSED, 429, "<html>Too Many Requests</html>"),
        (Meaning.PAUSED, 429, [error("You exceeded your current quota. Please retry in 17.3s.", 429)]),
        (Meaning.PAUSED, 529, error("Overloaded", type="overloaded_error")),
        (Meaning.PAUSED, 503, error("The engine is currently overloaded, please try again later")),
        (Meaning.PAUSED, 500, error("Too many requests in the queue, the server is busy")),
        (Meaning.PAUSED, 200, error("Rate limit exceeded: free-models-per-min", 429)),
        (Meaning.PAUSED, 200, error("Rate limit exceeded", "rate_limit_exceeded")),
        (
            Meaning.PAUSED,
            200,
            {"choices": [{"error": {"code": 429, "message": "slow down"}, "finish_reason": "error"}]},
        ),
        (Meaning.PAUSED, 200, {"code": 429, "message": "too fast"}),
        # An outage
        (Meaning.DOWN, 502, "<html>Bad Gateway</html>"),
        (Meaning.DOWN, 503, error("Loading model", 503, type="unavailable_error")),
        (Meaning.DOWN, 504, "<html>Gateway Time-out</html>"),
        (Meaning.DOWN, 404, "<html>404 page not found</html>"),
        (Meaning.DOWN, 200, error("upstream connect error", 502)),
        # The request
        (Meaning.REFUSED, 400, error("cannot identify image file")),
        (Meaning.REFUSED, 422, {"detail": [{"loc": ["body", "messages"], "msg": "must alternate"}]}),
        (Meaning.REFUSED, 400, error("The response was filtered due to the prompt", "content_filter")),
        (Meaning.REFUSED, 403, error("Your chosen model requires moderation and your input was flagged", 403)),
        (Meaning.REFUSED, 403, "<html>403 Forbidden</html>"),
        (Meaning.TOO_LONG, 400, error("This model's maximum context length is 4096 tokens. However, you requested")),
        (Meaning.TOO_LONG, 400, error("the request exceeds the available context size, try increasing it")),
        (Meaning.TOO_LONG, 400, error("Please reduce the length of the messages", "context_length_exceeded")),
        (Meaning.TOO_LONG, 413, "<html>413 Request Entity Too Large</html>"),
        (Meaning.TOO_LONG, 429, error("Request too large for m on tokens per min (TPM): Limit 6000, Requested 8000")),
        (Meaning.NO_IMAGES, 500, error("image input is not supported - hint: you may need to provide the mmproj", 500)),
        (Meaning.NO_IMAGES, 400, error("At most 0 image(s) may be provided in one prompt.")),
        (Meaning.NO_IMAGES, 400, error("messages[1].content must be a string")),
        (Meaning.NO_IMAGES, 404, error("No endpoints found that support image input", 404)),
        (Meaning.NO_IMAGES, 400, error("tiny is not a multimodal model")),
        (Meaning.BAD_OUTPUT, 400, error("Failed to validate JSON.", "json_validate_failed", failed_generation="oh")),
        (
            Meaning.BAD_OUTPUT,
            500,
            error("The model produced output that does not match the expected peg-native format"),
        ),
        # The model, the server
        (Meaning.GONE, 404, error("The model `tiny` does not exist", "model_not_found")),
        (Meaning.FAILED, 424, error("Request failed during generation: Server error: CUDA out of memory.")),
        (Meaning.FAILED, 400, {"error": "The model has crashed without additional information. (Exit code: null)"}),
        (Meaning.FAILED, 412, error("precondition")),
        (Meaning.FAILED, 500, error("GPU memory budget exceeded")),
        (Meaning.FAILED, 500, error("CUDA error: an illegal memory access was encountered")),
        (Meaning.FAILED, 200, "<html>busy</html>"),
        (Meaning.FAILED, 200, []),
        (Meaning.FAILED, 200, {"choices": []}),
        (Meaning.FAILED, 200, error("Provider returned error", 500, metadata={"raw": "it broke"})),
    ],
)
def test_a_failure_means(expected: Meaning, status: int, body: Any) -> None:
    assert meaning(status, body) is expected


def test_a_server_that_names_a_time_asks_to_wait() -> None:
    assert meaning(503, error("unavailable"), WAIT) is Meaning.PAUSED
    assert meaning(503, error("unavailable")) is Meaning.DOWN
    assert meaning(429, error("exceeded your current quota"), WAIT) is Meaning.PAUSED
    assert meaning(403, error("please wait"), WAIT) is Meaning.PAUSED


def test_words_of_a_provider_behind_a_router_and_of_the_model_are_kept() -> None:
    failure = failure_of_response(
        400, {}, json.dumps(error("Provider returned error", metadata={"raw": "bad picture"}))
    )
    assert failure.text == "400 Provider returned error bad picture"
    failure = failure_of_response(400, {}, json.dumps(error("Failed", "json_validate_failed", failed_generation='{"a')))
    assert failure.raw_text == '{"a'


def test_no_secret_of_a_server_s_words_is_kept() -> None:
    said = error("Incorrect API key provided: sk-proj-1234567890abcdef. Header: Bearer 1234567890abcdef")
    failure = failure_of_response(401, {}, json.dumps(said))
    assert "1234567890abcdef" not in repr(failure)


def dated(text: str) -> str:
    """Return `text` with `<in N>` (a date), `<at N>` (seconds of 1970) and `<ms N>` as moments N seconds from now."""
    forms: dict[str, Callable[[float], str]] = {
        "in": lambda moment: formatdate(moment, usegmt=True),
        "at": lambda moment: f"{moment:.0f}",
        "ms": lambda moment: f"{moment * 1000:.0f}",
    }
    return re.sub(r"<(..) (-?\d+)>", lambda match: forms[match[1]](time.time() + float(match[2])), text)


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after": "180"}, "", 180),
        ({"Retry-After": "1.5"}, "", 1.5),
        ({"Retry-After": "0"}, "", 0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, "", 1.5),
        ({"Retry-After": "<in 120>"}, "", 120),
        ({"Retry-After": "<in 3720>", "Date": "<in 3600>"}, "", 120),
        ({"Retry-After": "<in -50>"}, "", 0),
        ({"Retry-After": "20s"}, "", 20),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, "", 360),
        ({"x-ratelimit-reset-requests": "8h", "x-ratelimit-remaining-requests": "9",
          "x-ratelimit-reset-tokens": "20ms", "x-ratelimit-remaining-tokens": "0"}, "", 0.02),
        ({"x-ratelimit-reset": "30"}, "", 30),
        ({"X-RateLimit-Reset": "<at 60>"}, "", 60),
        ({"X-RateLimit-Reset": "<ms 60>"}, "", 60),
        ({}, "Rate limit reached. Please try again in 1m2.5s. Visit us.", 62.5),
        ({}, "Please retry in 17.3s.", 17.3),
        ({}, "Try again in 20 seconds", 20),
        ({}, "Please try again later", None),
        ({"Retry-After": "soon"}, "", None),
        ({"Retry-After": "nan"}, "", None),
        ({}, "", None),
    ],
)  # fmt: skip
def test_how_long_to_wait(headers: dict[str, str], message: str, seconds: float | None) -> None:
    found = find_retry_after({name: dated(value) for name, value in headers.items()}, message)
    assert found == (pytest.approx(seconds, abs=3) if seconds else seconds)
