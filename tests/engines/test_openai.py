"""The `openai` engine against a real HTTP server that fails in every way that servers do."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import math
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from support.fault_server import MODEL, FaultServer, Reply, completion, failure, satisfy
from support.openai_engine import PATIENT, answer_with, ask, collect, engine_on, on_server, spec_of, words_of

from ictc.config import ModelSpec
from ictc.engines.base import (
    Answer,
    AnswerFormat,
    ChoiceAnswer,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
)
from ictc.engines.openai import load_openai_engine
from ictc.engines.openai.reading import strip_thinking
from ictc.errors import ConfigError, EngineLoadError, EngineUnavailableError
from ictc.records import DecodedImage

SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "maxLength": 40}, "brand": {"type": "string"}},
    "required": ["category", "brand"],
    "additionalProperties": False,
}
OPTIONS = ("Food", "Fashion", "Travel")


def error_of_loading(spec: ModelSpec) -> str:
    with pytest.raises(EngineLoadError) as caught:
        asyncio.run(load_openai_engine(spec))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What a request says


def test_a_request_carries_its_sampling_and_turns_thinking_off() -> None:
    (result,), server = answer_with([], ask())
    assert result == Answer("ad_1", text="Sort ad_1.", prompt_tokens=11, completion_tokens=7)
    (body,) = server.requests
    assert body["messages"] == [
        {"role": "system", "content": "You sort ads."},
        {"role": "user", "content": "Sort ad_1."},
    ]
    sent = {name: body[name] for name in ("model", "max_tokens", "temperature", "top_p", "seed")}
    assert sent == {"model": MODEL, "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "seed": 7}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "response_format" not in body


def test_the_image_arrives_first_with_the_same_size_and_colors() -> None:
    picture = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    picture.paste((250, 20, 30), (40, 10, 70, 40))
    _, server = answer_with([], ask(image=DecodedImage(width=96, height=64, rgb=picture.tobytes())))
    image_part, text_part = server.requests[0]["messages"][1]["content"]
    header, _, data = image_part["image_url"]["url"].partition(",")
    arrived = Image.open(io.BytesIO(base64.b64decode(data)))
    assert header == "data:image/jpeg;base64"
    assert text_part == {"type": "text", "text": "Sort ad_1."}
    assert arrived.size == (96, 64)
    difference = [abs(a - b) for a, b in zip(arrived.tobytes(), picture.tobytes(), strict=True)]
    assert sum(difference) / len(difference) < 2


def test_extra_body_reaches_the_server_and_wins() -> None:
    _, server = answer_with([], ask(), extra_body={"top_k": 5, "chat_template_kwargs": {"thinking": False}})
    assert server.requests[0]["top_k"] == 5
    assert server.requests[0]["chat_template_kwargs"] == {"thinking": False}


# What an answer may be


def test_json_and_choices_are_asked_for_by_schema() -> None:
    results, server = answer_with(
        [], ask("a", answer=JsonAnswer(SCHEMA)), ask("b", answer=ChoiceAnswer(OPTIONS)), window=1
    )
    assert [result.text for result in results if isinstance(result, Answer)] == [
        '{"category": "some words", "brand": "some words"}',
        "Food",
    ]
    formats = [body["response_format"]["json_schema"] for body in server.requests]
    assert formats[0]["schema"] == SCHEMA
    assert formats[1]["schema"]["properties"]["answer"]["enum"] == list(OPTIONS)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (JsonAnswer(SCHEMA), "The ad shows shoes."),
        (JsonAnswer(SCHEMA), '{"brand": "Acme"}'),
        (JsonAnswer(SCHEMA), '{"category": "shoes", "brand": 5}'),
        (JsonAnswer(SCHEMA), "[" * 100_000),
        (JsonAnswer(SCHEMA), ""),
        (JsonAnswer(SCHEMA), None),
        (ChoiceAnswer(OPTIONS), ""),
        (ChoiceAnswer(OPTIONS), "I choose Food."),
        (ChoiceAnswer(OPTIONS), '{"answer": "Sports"}'),
        (ChoiceAnswer(OPTIONS), '{"answer": ["Food"]}'),
        (ChoiceAnswer(OPTIONS), "<think>Food or Travel"),
    ],
)
def test_an_answer_outside_of_the_constraint_is_an_error_with_its_text(answer: AnswerFormat, text: str | None) -> None:
    (result,), _ = answer_with([completion(text)], ask(answer=answer))
    assert isinstance(result, ItemError)
    assert result.kind is ItemErrorKind.UNCONSTRAINED
    assert result.raw_text == (text or json.dumps({"role": "assistant", "content": text}))


def test_json_keeps_any_text() -> None:
    words = {"category": 'quotes " and \\ and 漢字', "brand": "<think>"}
    (result,), _ = answer_with([completion(json.dumps(words))], ask(answer=JsonAnswer(SCHEMA)))
    assert isinstance(result, Answer)
    assert json.loads(result.text) == words


def test_bare_control_characters_in_json_are_escaped() -> None:
    (result,), _ = answer_with([completion('{"category": "a\tb", "brand": "\x14"}')], ask(answer=JsonAnswer(SCHEMA)))
    assert isinstance(result, Answer)
    assert json.loads(result.text) == {"category": "a\tb", "brand": "\x14"}


def test_json_cut_off_by_max_tokens_is_an_answer_that_says_so() -> None:
    (result,), _ = answer_with([completion('{"category": "sh', finish_reason="length")], ask(answer=JsonAnswer(SCHEMA)))
    assert isinstance(result, Answer)
    assert (result.text, result.finish_reason) == ('{"category": "sh', "length")


@pytest.mark.parametrize("text", ['{"answer": "Fo', '{"answer": ', '{"answer": "Food", "'])
def test_a_choice_cut_off_before_it_is_complete_is_an_error(text: str) -> None:
    (result,), _ = answer_with([completion(text, finish_reason="length")], ask(answer=ChoiceAnswer(OPTIONS)))
    assert isinstance(result, ItemError)
    assert (result.kind, result.raw_text) == (ItemErrorKind.UNCONSTRAINED, text)


def test_a_choice_cut_off_in_the_white_space_after_it_is_complete() -> None:
    reply = completion('{"answer": "Food"  \n ', finish_reason="length")
    (result,), _ = answer_with([reply], ask(answer=ChoiceAnswer(OPTIONS)))
    assert isinstance(result, Answer)
    assert (result.text, result.finish_reason) == ("Food", "stop")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("<think>\nhm\n</think>\n\nbold sale", "bold sale"),
        ("hm, the template opened it</think> bold sale", "bold sale"),
        ("<think>never closed", ""),
        ("bold sale", "bold sale"),
        ('{"text": "</think> on a billboard"}', '{"text": "</think> on a billboard"}'),
    ],
)
def test_thinking_is_stripped(raw: str, text: str) -> None:
    assert strip_thinking(raw) == text
    (result,), _ = answer_with([completion(raw)], ask())
    assert isinstance(result, Answer)
    assert result.text == text


# Scores


def logprobs(*steps: dict[str, float]) -> dict[str, Any]:
    """Return log-probabilities where each step maps tokens to probabilities, the token that was written first."""
    content = []
    for step in steps:
        shown = [{"token": token, "logprob": math.log(p), "bytes": list(token.encode())} for token, p in step.items()]
        content.append({**shown[0], "top_logprobs": shown})
    return {"content": content}


def scores_of(options: tuple[str, ...], *steps: dict[str, float]) -> dict[str, float] | None:
    text = "".join(next(iter(step)) for step in steps)
    reply = completion(text, logprobs=logprobs(*steps))
    (result,), _ = answer_with([reply], ask(answer=ChoiceAnswer(options)))
    assert isinstance(result, Answer)
    return None if result.scores is None else {option: round(score, 3) for option, score in result.scores.items()}


def test_scores_are_the_shares_of_the_options() -> None:
    assert scores_of(
        OPTIONS,
        {'{"answer": "': 0.9, "{": 0.1},
        {"Food": 0.5, "Fash": 0.1, "Fa": 0.1, "Travel": 0.2, "nonsense": 0.1, "Sports": 1e-6},
        {'"}': 1.0},
    ) == {"Food": 0.556, "Fashion": 0.222, "Travel": 0.222}


def test_scores_follow_options_with_a_common_beginning() -> None:
    assert scores_of(
        ("New York", "New Delhi", "Rome"),
        {'{"answer": "': 1.0},
        {"New": 0.8, "Rome": 0.2},
        {" York": 0.75, " Delhi": 0.25},
        {'"}': 1.0},
    ) == {"New York": 0.6, "New Delhi": 0.2, "Rome": 0.2}


def test_scores_tell_an_option_from_one_that_it_begins() -> None:
    assert scores_of(("1", "10"), {'{"answer": "': 1.0}, {"1": 1.0}, {'"}': 0.7, "0": 0.3}) == {"1": 0.7, "10": 0.3}


def test_there_are_no_scores_when_they_cannot_be_told_apart() -> None:
    shared_branch = ({'{"answer": "': 1.0}, {"Rome": 0.6, "New": 0.4}, {'"}': 1.0})
    assert scores_of(("New York", "New Delhi", "Rome"), *shared_branch) is None
    unseen_option = ({'{"answer": "': 1.0}, {"Food": 0.6, "Fashion": 0.2}, {'"}': 1.0})
    assert scores_of(OPTIONS, *unseen_option) is None
    assert scores_of(OPTIONS, {"Food": 1.0}) is None


@pytest.mark.parametrize("content", [None, [], [{"token": "Food"}], [{"token": None, "logprob": None}], [None]])
def test_crippled_log_probabilities_cost_only_the_scores(content: Any) -> None:
    reply = completion('{"answer": "Food"}', logprobs={"content": content})
    (result,), _ = answer_with([reply], ask(answer=ChoiceAnswer(OPTIONS)))
    assert isinstance(result, Answer)
    assert (result.text, result.scores) == ("Food", None)


# Failures of one request


@pytest.mark.parametrize("fault", [failure(500), failure(503), failure(429), Reply(reset=True)])
@pytest.mark.usefixtures("short_waits")
def test_a_passing_failure_is_tried_again(fault: Reply) -> None:
    (result,), server = answer_with([fault, completion("fine")], ask(), max_retries=1, **PATIENT)
    assert isinstance(result, Answer)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "error"), ('{"category": "sh', "abort"), ("", "insufficient_system_resource"), ("", None), (None, None)],
)
@pytest.mark.usefixtures("short_waits")
def test_an_answer_that_the_server_broke_off_is_asked_for_again(text: str | None, reason: str | None) -> None:
    broken = Reply(body=json.dumps({"choices": [{"message": {"content": text}, "finish_reason": reason}]}).encode())
    (result,), server = answer_with([broken, broken], ask(answer=JsonAnswer(SCHEMA)), max_retries=2)
    assert isinstance(result, Answer)
    assert len(server.requests) == 3
    (result,), _ = answer_with([broken, completion("fine"), broken], ask())
    assert isinstance(result, ItemError)
    assert result.kind is ItemErrorKind.TRANSIENT
    assert "broke off" in result.message


@pytest.mark.parametrize("wrap", [lambda body: [body], lambda body: {"code": 0, "data": body}])
def test_a_completion_may_be_wrapped(wrap: Callable[[Any], Any]) -> None:
    body = json.dumps(wrap(json.loads(completion("fine").body)))
    (result,), _ = answer_with([Reply(body=body.encode())], ask())
    assert isinstance(result, Answer)
    assert result.text == "fine"


def test_json_is_utf_8_whatever_the_header_says() -> None:
    body = json.dumps(
        {"choices": [{"message": {"content": "größe café"}, "finish_reason": "stop"}]}, ensure_ascii=False
    )
    reply = Reply(body=body.encode(), headers={"Content-Type": "application/json; charset=ISO-8859-1"})
    (result,), _ = answer_with([reply], ask())
    assert isinstance(result, Answer)
    assert result.text == "größe café"


def test_retry_after_is_honored() -> None:
    start = time.monotonic()
    (result,), _ = answer_with([failure(429, headers={"Retry-After": "1"}), completion("fine")], ask(), **PATIENT)
    assert isinstance(result, Answer)
    assert time.monotonic() - start >= 1.0


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        (failure(500), {}),
        (Reply(reset=True), {}),
        (Reply(delay_s=30), {"timeout_s": 0.2}),
        (Reply(body=b"<html>busy</html>"), {}),
        (Reply(body=b"<html>busy</html>", headers={"Content-Type": "text/html"}), {}),
        (Reply(body=b"[]"), {}),
        (Reply(body=b'{"choices": [{}]}'), {}),
    ],
)
def test_a_lasting_failure_is_an_error_of_that_item_only(fault: Reply, options: dict[str, Any]) -> None:
    requests = (ask("a"), ask("b"))
    (failed, answered), server = answer_with([fault, completion("fine"), fault], *requests, window=1, **options)
    assert isinstance(failed, ItemError)
    assert failed.kind is ItemErrorKind.TRANSIENT
    assert failed.message
    assert isinstance(answered, Answer)
    # A question that is beyond doubt tells whose fault it was.
    assert [said.count("Sort") for said in words_of(server)] == [1, 0, 1, 1]


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, ...",
        "the request exceeds the available context size, try increasing it",
        "'max_tokens' is too large: not supported by the context length",
        "The decoder prompt is longer than the maximum model length of 4096",
    ],
)
def test_a_request_that_is_too_long_is_not_tried_again(message: str) -> None:
    requests = (ask("a"), ask("b"))
    (refused, answered), server = answer_with([failure(400, message)], *requests, window=1, max_retries=3)
    assert isinstance(refused, ItemError)
    assert refused.kind is ItemErrorKind.PROMPT_TOO_LONG
    assert message in refused.message
    assert isinstance(answered, Answer)
    assert len(server.requests) == 2


def refusing(name: str, refusal: Reply) -> Callable[[Mapping[str, Any]], Reply]:
    return lambda body: refusal if f"Sort {name}." in json.dumps(body["messages"]) else satisfy(body)


@pytest.mark.parametrize(("status", "message"), [(400, "cannot identify image file"), (422, "must alternate")])
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_request_that_is_refused_twice_by_a_server_that_answers_others_is_to_blame(
    status: int, message: str, name: str
) -> None:
    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=1, max_retries=3) as engine:
            results = await collect(engine, [ask(one) for one in "abc"])
        by_id = {result.request_id: result for result in results}
        refused = by_id.pop(name)
        assert isinstance(refused, ItemError)
        assert refused.kind is ItemErrorKind.REFUSED
        assert message in refused.message
        assert all(isinstance(result, Answer) for result in by_id.values())
        assert len([said for said in words_of(server) if f"Sort {name}." in said]) == 2

    on_server(run, answer=refusing(name, failure(status, message)))


def test_a_request_that_is_refused_once_is_answered_at_the_second_try() -> None:
    script = [completion("fine"), failure(400, "it broke")]
    results, _ = answer_with(script, ask("a"), ask("b"), ask("c"), window=1)
    assert all(isinstance(result, Answer) for result in results), results


@pytest.mark.parametrize("choice", [{"finish_reason": "content_filter"}, {"message": {"refusal": "I can't."}}])
def test_a_model_that_refuses_is_an_error_of_that_item(choice: dict[str, Any]) -> None:
    (result,), _ = answer_with([completion(None, **choice)], ask())
    assert isinstance(result, ItemError)
    assert result.kind is ItemErrorKind.REFUSED


# What a server does not understand


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ("chat_template_kwargs", "Unrecognized request argument supplied: chat_template_kwargs"),
        ("chat_template_kwargs", "property 'chat_template_kwargs' is unsupported"),
        ("temperature", "Unsupported value: 'temperature' does not support 0.5 with this model."),
        ("top_logprobs", "Unknown parameter: 'top_logprobs'."),
        ("logprobs", "Requested sample logprobs of 20, which is greater than max allowed: 5"),
    ],
)
def test_a_field_that_a_server_refuses_is_left_out_from_then_on(
    refused: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(body: Any) -> Reply:
        return failure(400, message) if refused in body else completion("Food")

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=1) as engine:
            results = await collect(engine, [ask(name, answer=ChoiceAnswer(OPTIONS)) for name in "abc"])
        assert [type(result) for result in results] == [Answer] * 3
        assert [refused in body for body in server.requests] == [True, False, False, False]

    on_server(run, answer=answer)
    assert [record.levelno for record in caplog.records if record.name.startswith("ictc")] == [logging.WARNING]


def test_max_tokens_goes_by_its_other_name_where_it_must() -> None:
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    (result,), server = answer_with([failure(400, message)], ask())
    assert isinstance(result, Answer)
    assert server.requests[1]["max_completion_tokens"] == 50
    assert "max_tokens" not in server.requests[1]


# Failures of the engine


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "does not accept the key or the account"),
        (402, "does not accept the key or the account"),
        (403, "does not accept the key or the account"),
        (404, "no longer serves 'tiny'"),
    ],
)
def test_a_key_or_model_that_is_gone_ends_the_run(status: int, words: str) -> None:
    with pytest.raises(EngineUnavailableError, match=rf"{words} .*run the same command again"):
        answer_with([failure(status, "gone")], ask(), max_retries=3)


@pytest.mark.parametrize("fault", [failure(500, "out of memory"), failure(400, "wrong in every way")])
def test_a_server_that_only_fails_ends_the_run_and_rejects_nothing(fault: Reply) -> None:
    results: list[GenerationResult] = []

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=4) as engine:
            with pytest.raises(EngineUnavailableError, match=r"not even a trivial one .*(out of memory|in every way)"):
                await collect(engine, [ask(f"ad_{i}") for i in range(1000)], results)
        assert len(server.requests) < 30

    on_server(run, answer=lambda body: fault)
    assert not results


def test_a_server_that_is_gone_ends_the_run_and_rejects_nothing() -> None:
    results: list[GenerationResult] = []

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=3) as engine:
            await collect(engine, [ask(f"ad_{i}") for i in range(100)], results)

    with pytest.raises(EngineUnavailableError, match="no server can be asked any more"):
        on_server(run, die_after=20)
    assert all(isinstance(result, Answer) for result in results)
    assert 17 <= len(results) <= 20


# Several servers


def test_the_window_and_the_load_are_shared_among_servers() -> None:
    async def run() -> None:
        slow = [completion("fine", delay_s=0.1)] * 20
        async with FaultServer(slow) as one, FaultServer(slow) as two, engine_on(one, two, window=4) as engine:
            assert engine.window == 8
            await collect(engine, [ask(f"ad_{i}") for i in range(24)])
            assert len(one.requests) == len(two.requests) == 12
            assert (one.max_in_flight, two.max_in_flight) == (4, 4)

    asyncio.run(run())


def test_when_one_of_two_servers_dies_the_other_answers_everything_once() -> None:
    ids = [f"ad_{i:03}" for i in range(200)]

    async def run() -> None:
        async with FaultServer(die_after=30) as mortal, FaultServer() as other:
            async with engine_on(mortal, other, window=8) as engine:
                results = await collect(engine, [ask(name) for name in ids])
            assert sorted(result.request_id for result in results) == ids
            assert all(isinstance(r, Answer) and r.text == f"Sort {r.request_id}." for r in results)
            assert len(mortal.requests) <= 30 + 8

    asyncio.run(run())


def test_a_failing_server_is_avoided_while_another_answers() -> None:
    async def run() -> None:
        async with FaultServer(answer=lambda body: failure(500)) as bad, FaultServer() as good:
            async with engine_on(bad, good, window=1) as engine:
                results = await collect(engine, [ask(f"ad_{i}") for i in range(40)])
            assert all(isinstance(result, Answer) for result in results)
            assert len(bad.requests) <= 2

    asyncio.run(run())


@pytest.mark.parametrize("num_answered", [0, 8])
@pytest.mark.parametrize("fault", [failure(422, "bad request"), failure(500, "it broke")])
def test_a_server_that_refuses_everything_is_left_out_while_another_answers(
    fault: Reply, num_answered: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        left = iter(range(num_answered))
        bad = FaultServer(answer=lambda body: fault if next(left, None) is None else satisfy(body))
        async with bad, FaultServer([completion("fine", delay_s=0.05)] * 10) as good:
            async with engine_on(bad, good, window=8, **PATIENT) as engine, asyncio.timeout(5):
                results = await collect(engine, [ask(f"ad_{i}") for i in range(100)])
            assert all(isinstance(result, Answer) for result in results), results
            assert len(results) == 100
            assert len(bad.requests) < 60

    asyncio.run(run())
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 1


@pytest.mark.usefixtures("short_waits")
def test_a_server_that_refuses_everything_after_a_while_ends_the_run_and_rejects_nothing() -> None:
    results: list[GenerationResult] = []

    async def run() -> None:
        left = iter(range(10))
        answer = lambda body: failure(400, "no more") if next(left, None) is None else satisfy(body)  # noqa: E731
        async with FaultServer(answer=answer) as server, engine_on(server, window=4, max_outage_s=0.3) as engine:
            await collect(engine, [ask(f"ad_{i}") for i in range(100)], results)

    with pytest.raises(EngineUnavailableError, match=r"no server can be asked any more.*no more"):
        asyncio.run(run())
    assert all(isinstance(result, Answer) for result in results)
    assert len(results) <= 10


def test_a_server_that_recovers_gets_requests_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ictc.engines.openai.server.AVOID_S", 0.05)
    script = [failure(500)] * 2 + [completion("fine")] * 50

    async def run() -> None:
        async with FaultServer(script) as recovers, FaultServer([completion("fine", delay_s=0.02)] * 100) as steady:
            async with engine_on(recovers, steady, window=1) as engine:
                results = await collect(engine, [ask(f"ad_{i}") for i in range(60)])
            assert all(isinstance(result, Answer) for result in results)
            assert len(recovers.requests) > 10

    asyncio.run(run())


def test_an_item_that_every_server_fails_on_costs_only_itself() -> None:
    def answer(body: Any) -> Reply:
        return failure(500) if "poison" in body["messages"][-1]["content"] else completion("fine")

    async def run() -> None:
        async with (
            FaultServer(answer=answer) as one,
            FaultServer(answer=answer) as two,
            engine_on(one, two, window=2) as engine,
        ):
            results = await collect(engine, [ask("a"), ask("poison"), ask("b"), ask("c")])
        kinds = {result.request_id: type(result) for result in results}
        assert kinds == {"a": Answer, "b": Answer, "c": Answer, "poison": ItemError}

    asyncio.run(run())


# Loading


def test_a_server_that_is_down_is_named_with_the_remedy() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        message = error_of_loading(spec_of(url))
    assert f"cannot reach {url}" in message
    assert "start it" in message


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (failure(401, "bad key"), ["refuses the API key", "bad key", "set OPENAI_API_KEY"]),
        (failure(503, "still loading"), ["not ready", "still loading"]),
        (Reply(body=b"<html></html>", headers={"Content-Type": "text/html"}), ["does not speak the OpenAI protocol"]),
        (Reply(body=b"nonsense"), ["does not speak the OpenAI protocol"]),
        (Reply(body=b'{"data": [{"id": "a/b"}, {"id": "c"}]}'), ["'tiny'", "a/b, c", "--vlm_model"]),
    ],
)
def test_a_server_that_cannot_be_used_is_named_with_the_remedy(models: Reply, words: list[str]) -> None:
    async def run(server: FaultServer) -> None:
        with pytest.raises(EngineLoadError) as caught:
            await load_openai_engine(spec_of(server.url))
        for word in [*words, server.url]:
            assert word in str(caught.value)

    on_server(run, models=models)


def test_a_server_without_a_list_of_models_is_used_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def run(server: FaultServer) -> None:
        async with engine_on(server) as engine:
            (result,) = await collect(engine, [ask()])
        assert isinstance(result, Answer)

    on_server(run, models=failure(404, "no such page"))
    assert "does not list its models" in caplog.text


def test_the_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")

    async def run(server: FaultServer) -> None:
        async with engine_on(server, api_key_env="MY_KEY") as engine:
            await collect(engine, [ask()])
        assert server.keys == {"Bearer sesame"}

    on_server(run)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_retry": 3}, "'max_retries'"),
        ({"timeout": 3}, "'timeout_s'"),
        ({"window": 0}, "window: .*greater than or equal to 1"),
        ({"window": "many"}, "window: .*valid integer"),
        ({"extra_body": 5}, "extra_body"),
        ({"extra_body": {"extra_headers": {"Cookie": "***"}}}, "extra_headers.Cookie .* the run's own command"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        asyncio.run(load_openai_engine(spec_of("http://127.0.0.1:9/v1", **options)))


def test_no_server_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no server"):
        asyncio.run(load_openai_engine(replace(spec_of(), base_urls=())))


def test_closing_twice_is_harmless() -> None:
    async def run(server: FaultServer) -> None:
        engine = await load_openai_engine(spec_of(server.url))
        await engine.close()
        await engine.close()

    on_server(run)
