"""The `openai` engine on servers that ask to wait, go down, want money or have no eyes: nothing is lost by it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.fault_server import FaultServer, Reply, completion, failure, satisfy
from support.openai_engine import PATIENT, answer_with, ask, collect, engine_on, on_server, spec_of

from ictc.engines.base import Answer, ChoiceAnswer, GenerationResult, ItemError, ItemErrorKind, is_waiting
from ictc.engines.openai import load_openai_engine
from ictc.engines.openai.gate import Gate
from ictc.errors import ConfigError, EngineLoadError, EngineUnavailableError
from ictc.records import DecodedImage

IMAGE = DecodedImage(width=64, height=64, rgb=bytes(64 * 64 * 3))
BUSY = failure(429, "Rate limit reached for requests per min")
LOADING = failure(503, "Loading model")


def busy_for(seconds: float, busy: Reply = BUSY) -> Callable[[Mapping[str, Any]], Reply]:
    """Return a server's ways: it answers five requests, then is busy for a while."""
    began: list[float] = []
    calls = []

    def answer(body: Mapping[str, Any]) -> Reply:
        calls.append(body)
        if len(calls) == 6:
            began.append(time.monotonic())
        return busy if began and time.monotonic() - began[0] < seconds else satisfy(body)

    return answer


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Pauses


@pytest.mark.parametrize(
    "busy",
    [
        BUSY,
        LOADING,
        failure(502),
        Reply(200, json.dumps({"error": {"message": "Rate limit exceeded", "code": 429}}).encode()),
        Reply(200, json.dumps({"choices": [{"error": {"message": "slow down", "code": 429}}]}).encode()),
    ],
)
@pytest.mark.usefixtures("short_waits")
def test_a_busy_server_is_waited_for_and_that_is_told_once(busy: Reply, caplog: pytest.LogCaptureFixture) -> None:
    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=8, **PATIENT) as engine:
            results = await collect(engine, [ask(f"ad_{i}") for i in range(30)])
        assert all(isinstance(result, Answer) for result in results)
        assert len(results) == 30
        assert len(server.requests) < 30 + 8 + 12

    on_server(run, answer=busy_for(0.4, busy))
    assert len(warnings_of(caplog)) == 1, warnings_of(caplog)


def test_a_server_that_names_a_time_is_left_alone_until_then() -> None:
    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=8, **PATIENT) as engine:
            results: list[GenerationResult] = []
            work = asyncio.create_task(collect(engine, [ask(f"ad_{i}") for i in range(20)], results))
            await asyncio.sleep(0.8)
            assert is_waiting(engine)
            assert len(server.requests) <= 5 + 8
            asked = len(server.requests)
            await asyncio.sleep(0.3)
            assert len(server.requests) == asked
            await work
        assert all(isinstance(result, Answer) for result in results)
        assert not is_waiting(engine)

    on_server(run, answer=busy_for(0.7, failure(429, "wait", headers={"Retry-After": "1.5"})))


@pytest.mark.parametrize("headers", [{"Retry-After": "7200"}, {"Retry-After": "0"}])
@pytest.mark.usefixtures("short_waits")
def test_a_pause_without_end_ends_the_run_with_the_server_s_words(headers: dict[str, str]) -> None:
    results: list[GenerationResult] = []

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=4, max_pause_s=0.3) as engine:
            await collect(engine, [ask(f"ad_{i}") for i in range(100)], results)

    with pytest.raises(EngineUnavailableError, match=r"daily limit.*same command again to resume"):
        on_server(run, answer=busy_for(1000, failure(429, "daily limit", headers=headers)))
    assert all(isinstance(result, Answer) for result in results)


def test_while_one_server_waits_the_other_does_its_work() -> None:
    async def run() -> None:
        busy = failure(429, "wait", headers={"Retry-After": "100"})
        async with FaultServer(answer=lambda body: busy) as one, FaultServer() as other:
            async with engine_on(one, other, window=4, **PATIENT | {"max_pause_s": 200.0}) as engine:
                results = await collect(engine, [ask(f"ad_{i}") for i in range(40)])
                assert not is_waiting(engine)
            assert all(isinstance(result, Answer) for result in results)
            assert len(one.requests) <= 4

    asyncio.run(run())


def test_a_server_that_was_busy_gets_more_requests_little_by_little() -> None:
    gate = Gate(most=64)
    entered = gate.enter()
    assert gate.close(entered, wait_s=0.0, patience_s=10)
    assert not gate.close(entered, wait_s=None, patience_s=10)  # the same trouble, met by another request
    assert gate.waits == 1
    gate.resume_at = time.monotonic()
    assert gate.admits(0)
    entered = gate.enter()
    assert not gate.admits(0)  # one request tries
    gate.record_answer(entered)
    assert gate.is_open
    assert not gate.admits(33)
    for _ in range(31):
        gate.record_answer(gate.enter())
    assert gate.admits(63)


def test_an_answer_from_before_a_pause_does_not_end_it() -> None:
    gate = Gate(most=4)
    early, late = gate.enter(), gate.enter()
    gate.close(late, wait_s=100, patience_s=1000)
    gate.record_answer(early)
    assert not gate.is_open
    assert gate.seconds_left > 99


# Outages


@pytest.mark.usefixtures("short_waits")
def test_a_server_that_restarts_is_waited_for() -> None:
    async def run() -> None:
        async with FaultServer() as server, engine_on(server, window=4, **PATIENT) as engine:
            results: list[GenerationResult] = []
            server.die_after = 10
            work = asyncio.create_task(collect(engine, [ask(f"ad_{i}") for i in range(40)], results))
            while not server.is_dead:  # noqa: ASYNC110 - a test server has no event
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            assert not work.done()
            await server.revive()
            await work
        assert sorted(result.request_id for result in results) == sorted(f"ad_{i}" for i in range(40))
        assert all(isinstance(result, Answer) for result in results)

    asyncio.run(run())


@pytest.mark.usefixtures("short_waits")
def test_a_server_that_fails_for_a_while_costs_no_image() -> None:
    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=8, max_retries=1, **PATIENT) as engine:
            results = await collect(engine, [ask(f"ad_{i}") for i in range(30)])
        assert all(isinstance(result, Answer) for result in results), results

    on_server(run, answer=busy_for(0.5, failure(500, "CUDA error")))


@pytest.mark.usefixtures("short_waits")
def test_a_request_that_takes_the_server_down_each_time_costs_only_itself() -> None:
    def answer(body: Mapping[str, Any]) -> Reply:
        return failure(502, "upstream gone") if "poison" in json.dumps(body) else satisfy(body)

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=2, max_retries=2, **PATIENT) as engine:
            results = await collect(engine, [ask(name) for name in ("a", "b", "poison", "c", "d", "e")])
        by_id = {result.request_id: result for result in results}
        assert len(by_id) == 6
        poison = by_id.pop("poison")
        assert isinstance(poison, ItemError)
        assert poison.kind is ItemErrorKind.REFUSED
        assert all(isinstance(result, Answer) for result in by_id.values())

    on_server(run, answer=answer)


def test_a_server_that_still_loads_is_waited_for_before_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ictc.engines.openai.connecting.FIRST_WAIT_S", 0.05)

    async def run(server: FaultServer) -> None:
        asyncio.get_running_loop().call_later(0.3, server.list_models)
        async with engine_on(server, **PATIENT):
            pass

    on_server(run, models=LOADING)


# Whose fault it is


@pytest.mark.parametrize(
    "refusal",
    [
        failure(402, "Insufficient Balance"),
        Reply(200, json.dumps({"error": {"message": "no credits", "code": 402}}).encode()),
        Reply(429, json.dumps({"error": {"message": "You exceeded", "code": "insufficient_quota"}}).encode()),
    ],
)
def test_an_account_without_money_ends_the_run_and_rejects_nothing(refusal: Reply) -> None:
    results: list[GenerationResult] = []

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=4, **PATIENT) as engine:
            await collect(engine, [ask(f"ad_{i}") for i in range(100)], results)

    with pytest.raises(EngineUnavailableError, match="does not accept the key or the account"):
        on_server(run, answer=busy_for(1000, refusal))
    assert len(results) <= 5
    assert all(isinstance(result, Answer) for result in results)


@pytest.mark.parametrize(
    "refusal",
    [
        failure(500, "image input is not supported - hint: you may need to provide the mmproj"),
        failure(400, "At most 0 image(s) may be provided in one prompt."),
        failure(400, "it broke"),
    ],
)
def test_a_model_without_eyes_is_found_out_by_the_first_image(refusal: Reply) -> None:
    results: list[GenerationResult] = []

    def answer(body: Mapping[str, Any]) -> Reply:
        return refusal if "image_url" in json.dumps(body) else satisfy(body)

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=4) as engine:
            with pytest.raises(EngineUnavailableError, match=r"reads no images .*--vlm_model"):
                await collect(engine, [ask(f"ad_{i}", image=IMAGE) for i in range(50)], results)
        assert len(server.requests) < 30

    on_server(run, answer=answer)
    assert not results


def test_one_image_that_a_server_refuses_costs_only_itself() -> None:
    refusal = failure(400, "image input is not supported: broken data")

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=1) as engine:
            results = await collect(engine, [ask(name, image=IMAGE) for name in "abc"])
        assert [type(result) for result in results] == [ItemError, Answer, Answer]

    on_server(run, answer=lambda body: refusal if "Sort a." in json.dumps(body) else satisfy(body))


@pytest.mark.parametrize("modalities", [["text"], ["text", "image"]])
def test_a_server_that_lists_what_a_model_reads_is_believed(modalities: list[str]) -> None:
    listing = {"data": [{"id": "tiny", "architecture": {"input_modalities": modalities}}]}

    async def run(server: FaultServer) -> None:
        if "image" in modalities:
            await (await load_openai_engine(spec_of(server.url))).close()
        else:
            with pytest.raises(EngineLoadError, match=r"reads no images .*--vlm_model"):
                await load_openai_engine(spec_of(server.url))
        await (await load_openai_engine(spec_of(server.url, vision=False))).close()

    on_server(run, models=Reply(body=json.dumps(listing).encode()))


def test_a_server_that_refuses_without_a_reason_is_asked_in_simpler_ways(caplog: pytest.LogCaptureFixture) -> None:
    def answer(body: Mapping[str, Any]) -> Reply:
        return failure(400, "Bad Request") if "logprobs" in body else satisfy(body)

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=4) as engine:
            results = await collect(engine, [ask(f"ad_{i}", answer=ChoiceAnswer(("A", "B"))) for i in range(20)])
        assert all(isinstance(result, Answer) for result in results)
        assert "chat_template_kwargs" in server.requests[-1]

    on_server(run, answer=answer)
    assert len(warnings_of(caplog)) == 1, warnings_of(caplog)


def test_too_many_tokens_are_lowered_once() -> None:
    def answer(body: Mapping[str, Any]) -> Reply:
        most = "max_tokens is too large: 50. This model supports at most 20 completion tokens"
        return failure(400, most) if body["max_tokens"] > 20 else completion("fine")

    async def run(server: FaultServer) -> None:
        async with engine_on(server, window=1) as engine:
            results = await collect(engine, [ask(name) for name in "abc"])
        assert all(isinstance(result, Answer) for result in results)
        assert [body["max_tokens"] for body in server.requests] == [50, 20, 20, 20]

    on_server(run, answer=answer)


# Lists of models


@pytest.mark.parametrize(
    "listing",
    [
        [{"id": "tiny", "object": "model"}],
        ["tiny"],
        {"models": [{"name": "tiny:latest", "model": "tiny:latest"}]},
        {"data": [], "models": [{"name": "models/tiny"}]},
        {"data": {"tiny": {"owned_by": "me"}}},
        {"data": [{"id": "other", "aliases": ["tiny"]}]},
        {"data": [{"id": "other"}], "has_more": True},
        {"object": "list", "data": None},
        {"error": "no list here"},
        {"data": "tiny"},
        {"data": {"models": [{"id": "tiny"}]}},
        None,
        "ok",
    ],
)
def test_models_are_listed_in_many_ways(listing: Any) -> None:
    (result,), _ = answer_with([], ask(), models=Reply(body=json.dumps(listing).encode()))
    assert isinstance(result, Answer)


# Keys


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} ", "\ufeff{}"])
def test_white_space_around_a_key_is_no_part_of_it(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", around.format("open-sesame"))

    async def run(server: FaultServer) -> None:
        async with engine_on(server) as engine:
            await collect(engine, [ask()])
        assert server.keys == {"Bearer open-sesame"}

    on_server(run)


@pytest.mark.parametrize("key", ["open-sesame\nopen-sesame", "open sesame", "“open-sesame”", "open-sésame"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_told(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        asyncio.run(load_openai_engine(spec_of("http://127.0.0.1:9/v1")))
    assert "same" not in str(caught.value)


@pytest.mark.parametrize("variable", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"])
def test_a_variable_that_no_header_can_carry_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "X-Team: ö")
    with pytest.raises(ConfigError, match=variable):
        asyncio.run(load_openai_engine(spec_of("http://127.0.0.1:9/v1")))


def test_a_proxy_that_is_not_there_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"http_proxy": "http://bob:mellon-mellon@127.0.0.1:9", "no_proxy": ""}.items():
        monkeypatch.setenv(variable, value)
        monkeypatch.delenv(variable.upper(), raising=False)
    with pytest.raises(EngineLoadError, match=r"through the proxy http://\*\*\*@127.0.0.1:9.*NO_PROXY") as caught:
        asyncio.run(load_openai_engine(spec_of("http://127.0.0.1:9/v1")))
    assert "mellon" not in str(caught.value)


def test_secrets_in_an_address_reach_the_server_and_no_message(caplog: pytest.LogCaptureFixture) -> None:
    async def run(server: FaultServer) -> None:
        address = server.url.replace("http://", "http://somebody:open-sesame@") + "?api_key=mellon-mellon"
        engine = await load_openai_engine(spec_of(address))
        with pytest.raises(EngineUnavailableError) as caught:
            await collect(engine, [ask()])
        await engine.close()
        assert "sesame" not in str(caught.value)
        assert "mellon" not in str(caught.value)
        assert "/v1/chat/completions?api_key=mellon-mellon" in server.paths
        assert server.keys == {"Basic c29tZWJvZHk6b3Blbi1zZXNhbWU="}

    on_server(run, answer=lambda body: failure(401, "no entry for somebody:open-sesame, mellon-mellon"))
    assert "sesame" not in caplog.text


def test_a_masked_password_is_no_address() -> None:
    with pytest.raises(ConfigError, match="no file of a run keeps a password"):
        asyncio.run(load_openai_engine(spec_of("http://***@127.0.0.1:9/v1")))


@pytest.mark.parametrize("url", ["localhost:8000/v1", "http://", "http://host:port/v1", "ftp://host/v1", "/v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="no address of a server"):
        asyncio.run(load_openai_engine(spec_of(url)))
