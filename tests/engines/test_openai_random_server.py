"""A server whose shape and failures are drawn at random: nothing is lost or invented, the run ends or waits."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.fault_server import MODEL, FaultServer, Reply, failure
from support.openai_engine import PATIENT, ask, collect, engine_on

from ictc.engines.base import Answer, AnswerFormat, ChoiceAnswer, GenerationResult, ItemError, JsonAnswer
from ictc.errors import EngineUnavailableError

NUM_EXAMPLES = int(os.environ.get("ICTC_EXAMPLES", "40"))
NUM_IMAGES = 12
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "maxLength": 30, "pattern": "^[a-z0-9_ ]*$"}},
    "required": ["label"],
    "additionalProperties": False,
}
FORMS: tuple[AnswerFormat, ...] = (JsonAnswer(SCHEMA), ChoiceAnswer(("A", "B", "C")))

SHAPES: dict[str, Callable[[str], dict[str, Any]]] = {
    "text": lambda text: {"content": text},
    "fence": lambda text: {"content": f"```json\n{text}\n```"},
    "open fence": lambda text: {"content": f"Sure:\n```\n{text}"},
    "preface": lambda text: {"content": f"Here you are: {text} Have a nice day."},
    "thinking": lambda text: {"content": f"<think>{{}} or {{</think>\n{text}"},
    "parts": lambda text: {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": text}]},
    "reasoning_content": lambda text: {"content": None, "reasoning_content": text},
    "reasoning": lambda text: {"content": "", "reasoning": text},
    "tool call": lambda text: {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": text}}]},
    "document": lambda text: {"content": json.loads(text)},
}
LISTINGS: tuple[Any, ...] = (
    {"data": [{"id": MODEL}]},
    [{"id": MODEL}],
    {"models": [{"name": MODEL}]},
    {"data": []},
    None,
)
USAGES: tuple[Any, ...] = ({"prompt_tokens": 3, "completion_tokens": 4}, {"prompt_tokens": None}, {}, None, "many", [1])
REFUSALS = {
    "response_format": "'response_format' of type 'json_schema' is not supported",
    "chat_template_kwargs": "Unrecognized request argument supplied: chat_template_kwargs",
    "logprobs": "logprobs is not supported with this model",
    "seed": "[{'type': 'extra_forbidden', 'loc': ['body', 'seed']}]",
}
PASSING: dict[str, Reply] = {
    "429": failure(429, "Rate limit reached"),
    "429 with a time": failure(429, "wait", headers={"Retry-After": "0.02"}),
    "200 with 429": Reply(body=json.dumps({"error": {"message": "slow down", "code": 429}}).encode()),
    "503": failure(503, "Loading model"),
    "502": Reply(502, b"<html>Bad Gateway</html>"),
    "500": failure(500, "CUDA error"),
    "reset": Reply(reset=True),
    "no JSON": Reply(body=b"<html>busy</html>"),
    "no choices": Reply(body=b'{"choices": []}'),
    "too many tokens": failure(400, "max_tokens is too large: this model supports at most 40 completion tokens"),
}
LASTING = {"402": failure(402, "Insufficient Balance"), "401": failure(401, "bad key"), "404": failure(404, "no model")}


@dataclass
class RandomServer:
    """Answers each image with words of its own, in a shape and through troubles that were drawn.

    Attributes:
        troubles: what comes instead of an answer, by the number of the request.
        ends_at: from which request on nothing but `end` comes.
        poison: images that it refuses.
        given: what it answered, by image.
    """

    shape: str
    usage: Any
    refused: frozenset[str]
    troubles: Mapping[int, str]
    end: str | None
    ends_at: int
    poison: frozenset[str]
    num_requests: int = 0
    given: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def answer(self, body: Mapping[str, Any]) -> Reply:
        self.num_requests += 1
        if self.end is not None and self.num_requests >= self.ends_at:
            return LASTING[self.end]
        if self.num_requests in self.troubles:
            return PASSING[self.troubles[self.num_requests]]
        for name in sorted(self.refused & body.keys()):
            if name != "response_format" or body[name]["type"] == "json_schema":
                return failure(400, REFUSALS[name])
        words = json.dumps(body["messages"])
        found = re.search(r"Sort (ad_\d+)", words)
        image_id = found[1] if found else "probe"
        if image_id in self.poison:
            return failure(400, "cannot identify image file")
        is_choice = '\\"enum\\"' in words or '"enum"' in json.dumps(body.get("response_format"))
        said = (
            "ABC"[len(image_id) % 3 - 1 + int(image_id == "ad_1")] if is_choice else f"{image_id} {self.num_requests}"
        )
        self.given[image_id].add(said)
        text = json.dumps({"answer": said} if is_choice else {"label": said})
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **SHAPES[self.shape](text)}}
        return Reply(body=json.dumps({"choices": [choice], "usage": self.usage}).encode())


servers = st.builds(
    RandomServer,
    shape=st.sampled_from(sorted(SHAPES)),
    usage=st.sampled_from(USAGES),
    refused=st.frozensets(st.sampled_from(sorted(REFUSALS))),
    troubles=st.dictionaries(st.integers(1, 30), st.sampled_from(sorted(PASSING)), max_size=12),
    end=st.none() | st.none() | st.sampled_from(sorted(LASTING)),
    ends_at=st.integers(1, 25),
    poison=st.frozensets(st.sampled_from(["ad_3", "ad_7"])),
)


@pytest.fixture(scope="module", autouse=True)
def short_waits_of_this_module() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("gate.FIRST_WAIT_S", "gate.MIN_WAIT_S", "engine.FIRST_BACKOFF_S"):
            monkeypatch.setattr(f"ictc.engines.openai.{name}", 0.005)
        yield


def converse(server: RandomServer, form: AnswerFormat, listing: Any) -> tuple[list[GenerationResult], str]:
    """Return the results, and the error that the engine ended with."""
    models = failure(404) if listing is None else Reply(body=json.dumps(listing).encode())
    results: list[GenerationResult] = []

    async def run() -> None:
        async with (
            FaultServer(answer=server.answer, models=models) as host,
            engine_on(host, window=4, **PATIENT | {"max_retries": 4}) as engine,
        ):
            await collect(engine, [ask(f"ad_{number}", answer=form) for number in range(NUM_IMAGES)], results)

    try:
        asyncio.run(run())
    except EngineUnavailableError as error:
        return results, str(error)
    return results, ""


@given(servers, st.sampled_from(FORMS), st.sampled_from(LISTINGS))
@settings(max_examples=NUM_EXAMPLES)
@example(RandomServer("fence", None, frozenset(REFUSALS), {}, None, 1, frozenset({"ad_3"})), FORMS[0], None)
@example(RandomServer("text", {}, frozenset(), dict.fromkeys(range(1, 80), "500"), None, 1, frozenset()), FORMS[1], [])
def test_nothing_is_lost_and_nothing_invented(server: RandomServer, form: AnswerFormat, listing: Any) -> None:
    results, error = converse(server, form, listing)
    ids = [result.request_id for result in results]
    assert len(set(ids)) == len(ids)
    for result in results:
        if isinstance(result, Answer):
            said = json.loads(result.text)["label"] if isinstance(form, JsonAnswer) else result.text
            assert said in server.given[result.request_id]
        else:
            assert isinstance(result, ItemError)
            assert result.request_id in server.poison, result
    if error:
        assert server.end is not None or not server.given
        assert "run the same command again to resume" in error
    else:
        assert set(ids) == {f"ad_{number}" for number in range(NUM_IMAGES)}
