"""The `openai` engine against the real vLLM server with a tiny checkpoint of random weights."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support import short_ads_track
from support.cli import Ictc, load
from support.collections import draw_flat

from ictc.config import ModelSpec
from ictc.engines.base import (
    Answer,
    AnswerFormat,
    ChoiceAnswer,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
    Message,
    SamplingParams,
    Task,
    TextAnswer,
)
from ictc.engines.openai import load_openai_engine
from ictc.errors import EngineLoadError
from ictc.records import DecodedImage

pytestmark = pytest.mark.vllm

HOOK = Path(__file__).parents[1] / "support" / "torchvision_hook"
MODEL = "tiny"
MAX_MODEL_LEN = 4096
START_TIMEOUT_S = 400
SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "maxLength": 10}, "ui_only": {"type": "boolean"}},
    "required": ["category", "ui_only"],
    "additionalProperties": False,
}
OPTIONS = ("Food", "Travel", "Sports")

WITHOUT_SEEDS = ("--engine_options", '{"extra_body": {"seed": null}}')
"""A sampled request with a seed kills vLLM 0.32 on the CPU."""


@pytest.fixture(scope="module")
def server_url(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the server on a free port and yield its URL once it lists its model."""
    pytest.importorskip("vllm")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    log_path = tmp_path_factory.mktemp("vllm") / "server.log"
    with (
        log_path.open("wb") as log,
        subprocess.Popen(_command(tiny_checkpoint, port), env=_env(), stderr=log, stdout=log) as server,
    ):
        try:
            _wait_until_ready(url, server, log_path)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def _command(checkpoint: Path, port: int) -> list[str]:
    # What `vllm serve` runs; that command itself asks for the metadata of a package that the CPU build does not have.
    module = "vllm.entrypoints.openai.api_server"
    options = {
        "model": str(checkpoint),
        "served-model-name": MODEL,
        "host": "127.0.0.1",
        "port": str(port),
        "max-model-len": str(MAX_MODEL_LEN),
        "max-num-seqs": "16",
        "limit-mm-per-prompt": '{"image": 1, "video": 0}',
        # Random weights may repeat white space for ever, which JSON allows.
        "structured-outputs-config": '{"backend": "xgrammar", "disable_any_whitespace": true}',
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", module, *words, "--enforce-eager"]


def _env() -> dict[str, str]:
    paths = [str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    return os.environ | offline | {"PYTHONPATH": os.pathsep.join(paths)}


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/models", timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(1)
        else:
            return
    pytest.fail(f"the server did not start:\n{log_path.read_text(errors='replace')[-3000:]}")


def ask(
    request_id: str,
    answer: AnswerFormat,
    *,
    text: str = "Sort this ad.",
    max_tokens: int = 400,
    image: DecodedImage | None = None,
) -> GenerationRequest:
    sampling = SamplingParams(max_tokens=max_tokens)
    return GenerationRequest(
        request_id, task=Task.CAPTION, messages=(Message("user", text),), answer=answer, sampling=sampling, image=image
    )


def image_of(side_px: int, color: tuple[int, int, int] = (200, 30, 90)) -> DecodedImage:
    return DecodedImage(width=side_px, height=side_px, rgb=bytes(color) * side_px**2)


def answers(url: str, *requests: GenerationRequest) -> dict[str, GenerationResult]:
    async def feed() -> AsyncIterator[GenerationRequest]:
        for request in requests:
            yield request

    async def run() -> dict[str, GenerationResult]:
        engine = await load_openai_engine(ModelSpec(engine="openai", model=MODEL, base_urls=(url,)))
        try:
            results = [result async for result in engine.generate(feed())]
        finally:
            await engine.close()
        assert len(results) == len(requests)
        return {result.request_id: result for result in results}

    return asyncio.run(run())


def test_images_are_described_by_schema(server_url: str) -> None:
    requests = [ask(f"ad_{i}", JsonAnswer(SCHEMA), image=image_of(256, (i * 30, 90, 20))) for i in range(8)]
    for result in answers(server_url, *requests).values():
        assert isinstance(result, Answer)
        assert result.finish_reason == "stop"
        assert json.loads(result.text).keys() == {"category", "ui_only"}
        assert result.completion_tokens > 0


def test_an_image_costs_its_tokens(server_url: str) -> None:
    results = answers(
        server_url,
        ask("text only", TextAnswer(), max_tokens=4),
        ask("256 px", TextAnswer(), max_tokens=4, image=image_of(256)),
        ask("512 px", TextAnswer(), max_tokens=4, image=image_of(512)),
    )
    tokens = {name: result.prompt_tokens for name, result in results.items() if isinstance(result, Answer)}
    assert tokens["512 px"] - tokens["256 px"] == image_of(512).num_tokens - image_of(256).num_tokens
    assert tokens["256 px"] - tokens["text only"] >= image_of(256).num_tokens


def test_a_choice_is_one_of_its_options_with_scores(server_url: str) -> None:
    result = answers(server_url, ask("ad", ChoiceAnswer(OPTIONS), max_tokens=60))["ad"]
    assert isinstance(result, Answer)
    assert result.text in OPTIONS
    assert result.scores is not None
    assert set(result.scores) == set(OPTIONS)
    assert sum(result.scores.values()) == pytest.approx(1.0)
    assert min(result.scores.values()) > 0


def test_an_over_long_prompt_costs_only_itself(server_url: str) -> None:
    results = answers(
        server_url,
        ask("short", ChoiceAnswer(OPTIONS)),
        ask("words", TextAnswer(), text="many words " * MAX_MODEL_LEN),
        ask("image", TextAnswer(), image=image_of(2400)),
    )
    assert isinstance(results["short"], Answer)
    for name in ("words", "image"):
        result = results[name]
        assert isinstance(result, ItemError)
        assert result.kind is ItemErrorKind.PROMPT_TOO_LONG


def test_many_requests_in_flight_are_all_answered(server_url: str) -> None:
    requests = [ask(f"ad_{i}", ChoiceAnswer(OPTIONS), text=f"Sort ad {i}.") for i in range(48)]
    results = answers(server_url, *requests)
    assert {result.text for result in results.values() if isinstance(result, Answer)} <= set(OPTIONS)
    assert all(isinstance(result, Answer) for result in results.values())


def test_thinking_is_off(server_url: str) -> None:
    """The template opens a thinking section unless told not to; told, it closes one, which costs more tokens."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Sort this ad."}], "max_tokens": 1}
    request = urllib.request.Request(
        f"{server_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        thinking_tokens = json.load(response)["usage"]["prompt_tokens"]
    result = answers(server_url, ask("ad", TextAnswer(), max_tokens=1))["ad"]
    assert isinstance(result, Answer)
    assert result.prompt_tokens > thinking_tokens


def test_a_model_that_is_not_served_is_refused_with_what_is(server_url: str) -> None:
    with pytest.raises(EngineLoadError, match=f"does not serve 'another' but {MODEL}"):
        asyncio.run(load_openai_engine(ModelSpec(engine="openai", model="another", base_urls=(server_url,))))


def test_a_whole_run_over_the_server(server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ads = draw_flat(tmp_path / "ads", 5)
    server = ("--engine", "openai", "--base_url", server_url, "--vlm_model", MODEL)
    tolerant = (*WITHOUT_SEEDS, "--max_rejected", 1)
    run = ("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", "--track", short_ads_track.__file__)
    outcome = Ictc(capsys)(*run, *server, *tolerant, "--num_clusters", 2, "--allow_none")
    assert outcome.exit_code == 0, outcome.stderr
    rejected = (tmp_path / "out" / "rejected.jsonl").read_text().count('"stage":"caption"')
    captions = load(tmp_path / "out", "step1_captions.json")
    assert len(captions) + rejected == 5
    assigned = load(tmp_path / "out", "step3_final_assignment.json")
    assert set(assigned) == set(captions)
    assert load(tmp_path / "out", "step3_metadata.json")["step3"].get("none", 0) == list(assigned.values()).count(None)


def test_criteria_are_suggested_over_the_server(
    server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ictc, ads, source, out = Ictc(capsys), draw_flat(tmp_path / "ads", 8), tmp_path / "source", tmp_path / "out"
    made = ictc("run", "--ads_dir", ads, "--output_dir", source, "--engine", "scripted", "--num_clusters", 2)
    assert made.exit_code == 0, made.stderr
    outcome = ictc(
        *("suggest", "--source_dir", source, "--output_dir", out, "--num_images", 8, "--num_clusters", 2),
        *("--engine", "openai", "--base_url", server_url, "--llm_model", MODEL, "--max_criteria", 3, *WITHOUT_SEEDS),
    )
    assert outcome.exit_code == 0, outcome.stderr
    criteria = load(out, "suggestions.json")["criteria"]
    assert 1 <= len(criteria) <= 3
    assert all(len(one["criterion"].split()) <= 5 for one in criteria)
    assert all(one["coverage"] > 0 for one in criteria)
