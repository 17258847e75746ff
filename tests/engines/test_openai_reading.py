"""What counts as the answer in what a server sends back, whatever its shape."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from ictc.engines.openai.protocol import read_completion
from ictc.tracks.answers import CaptionAnswer, LabelAnswer

SAID = {"text": "SALE", "brand": "Acme", "ui_only": False, "category": "shoes", "summary": "A shoe."}
OTHER = SAID | {"brand": "Umbrella"}
DOCUMENT, ANOTHER = json.dumps(SAID), json.dumps(OTHER)
CAPTION = JsonAnswer(CaptionAnswer.model_json_schema())
CLUSTERS = {"A": "Winter sports", "B": "Food: fresh", "C": "Travel"}
CHOICE = ChoiceAnswer(tuple(CLUSTERS))


def read(
    message: Any,
    answer: AnswerFormat = CAPTION,
    *,
    finish_reason: str = "stop",
    clusters: Mapping[str, str] = CLUSTERS,
    **more: Any,
) -> GenerationResult:
    options = {letter: {"name": name, "description": ""} for letter, name in clusters.items()}
    request = GenerationRequest(
        "ad", task=Task.CAPTION, messages=(Message("user", "?"),), answer=answer, sampling=SamplingParams(8)
    )
    if isinstance(answer, ChoiceAnswer):
        request = GenerationRequest(
            "ad",
            task=Task.ASSIGN,
            messages=(Message("user", "?"),),
            answer=answer,
            sampling=SamplingParams(8),
            inputs={"options": options},
        )
    return read_completion(request, {"choices": [{"message": message, "finish_reason": finish_reason}], **more})


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def called(arguments: Any) -> dict[str, Any]:
    return said(None, tool_calls=[{"type": "function", "function": {"name": "answer", "arguments": arguments}}])


@pytest.mark.parametrize(
    "message",
    [
        said(DOCUMENT),
        said(f"```json\n{DOCUMENT}\n```"),
        said(f"```\n{DOCUMENT}"),
        said(f"Here is the answer:\n\n```JSON\n{DOCUMENT}\n```\nI hope that this helps {{}}!"),
        said(f"Sure! {DOCUMENT}"),
        said(f"{DOCUMENT}\n{DOCUMENT}"),
        said(json.dumps(DOCUMENT)),
        said(json.dumps([SAID])),
        said(json.dumps({"result": SAID})),
        said(SAID),
        said(json.dumps(SAID | {"confidence": 0.9, "ui_only": "false", "text": "SALE \ud83d"})),
        said(json.dumps({"result": SAID | {"id": 7}})),
        said(f"<think>Perhaps {ANOTHER}?</think>\n{DOCUMENT}"),
        said(f"Perhaps {ANOTHER}?</think>{DOCUMENT}"),
        said(f"<think>a</think><think>b</think>{DOCUMENT}"),
        said([{"type": "text", "text": DOCUMENT[:9]}, {"type": "output_text", "text": DOCUMENT[9:]}]),
        said(
            [{"type": "thinking", "thinking": [{"type": "text", "text": ANOTHER}]}, {"type": "text", "text": DOCUMENT}]
        ),
        said([DOCUMENT]),
        said(None, reasoning_content=DOCUMENT),
        said("", reasoning=f"It is a shoe. {DOCUMENT}"),
        said(None, reasoning_content=[{"type": "text", "text": f"```json\n{DOCUMENT}\n```"}]),
        said(DOCUMENT, reasoning_content=f"Perhaps {ANOTHER}"),
        said(f"<think>{DOCUMENT}"),
        called(DOCUMENT),
        called(SAID),
        said("", function_call={"name": "answer", "arguments": DOCUMENT}),
        said("I call a function.", tool_calls=[{"function": {"arguments": DOCUMENT}}]),
    ],
)
def test_the_one_document_is_the_answer(message: Any) -> None:
    result = read(message)
    assert isinstance(result, Answer)
    assert json.loads(result.text) == SAID


@pytest.mark.parametrize(
    "message",
    [
        said(f"{DOCUMENT} or {ANOTHER}"),
        said(json.dumps([SAID, OTHER])),
        said(f"```json\n{DOCUMENT}\n```\n```json\n{ANOTHER}\n```"),
        said(json.dumps(SAID | {"text": ANOTHER, "ui_only": "no"})),
        said(None, reasoning_content=f"Perhaps {DOCUMENT}, but let me look again."),
        said(None, reasoning_content=f"{DOCUMENT} or {ANOTHER}? {DOCUMENT[:-1]}"),
        said(json.dumps({**SAID, "brand": 7})),
        said("{" * 100_000),
        said('{"a":' * 20_000),
        said(7),
        said([7, None, [[]]]),
        said(None, tool_calls="none"),
        said(None, tool_calls=[None, {"function": "x"}]),
        None,
        7,
        [],
        {},
    ],
)
def test_anything_else_is_none_and_is_kept(message: Any) -> None:
    started = time.process_time()
    result = read(message)
    assert isinstance(result, ItemError)
    assert result.kind is ItemErrorKind.UNCONSTRAINED
    assert result.message
    assert result.raw_text
    assert time.process_time() - started < 3


def test_an_answer_in_the_wrong_field_says_what_to_do() -> None:
    result = read(said(None, reasoning_content="The user wants a caption. Let me think."))
    assert isinstance(result, ItemError)
    assert "--reasoning-parser" in result.message
    assert result.raw_text == "The user wants a caption. Let me think."


@pytest.mark.parametrize("label", ["护肤品", "not suitable for very young children", 'the "real" deal', "Hund\nKatze"])
def test_a_pattern_is_for_the_server_not_against_the_answer(label: str) -> None:
    result = read(said(json.dumps({"label": label})), JsonAnswer(LabelAnswer.model_json_schema()))
    assert isinstance(result, Answer)
    assert json.loads(result.text) == {"label": label}


def test_what_is_longer_than_our_bounds_is_cut() -> None:
    result = read(said(json.dumps(SAID | {"text": "SALE " * 1000})))
    assert isinstance(result, Answer)
    assert json.loads(result.text) == SAID | {"text": ("SALE " * 140).strip()}


def test_an_answer_that_is_complete_when_tokens_run_out_is_one() -> None:
    whole = read(said(DOCUMENT + "\n" * 50), finish_reason="length")
    assert isinstance(whole, Answer)
    assert json.loads(whole.text) == SAID
    cut_off = read(said(None, reasoning_content=f"Perhaps {DOCUMENT}"), finish_reason="length")
    assert isinstance(cut_off, Answer)
    assert cut_off.finish_reason == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut_off.text)


@given(st.text())
def test_any_text_is_kept_in_a_caption(text: str) -> None:
    document = SAID | {"text": text[:100].strip(), "summary": "</think>"}
    for content in (json.dumps(document), f"```json\n{json.dumps(document, ensure_ascii=False)}\n```"):
        result = read(said(content))
        assert isinstance(result, Answer)
        assert json.loads(result.text) == document


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([DOCUMENT, "A", "text"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["text", "type", "content"]), inner),
)


@given(json_values, json_values, json_values)
def test_nothing_of_any_shape_is_more_than_a_rejection(content: Any, calls: Any, usage: Any) -> None:
    for answer in (CAPTION, CHOICE):
        result = read(said(content, tool_calls=calls, reasoning=usage, refusal=None), answer, usage=usage)
        if isinstance(result, Answer) and answer is CAPTION:
            assert json.loads(result.text) == SAID
        elif isinstance(result, Answer):
            assert result.text == "A"


# Choices


@pytest.mark.parametrize(
    "content",
    [
        '{"answer": "B"}',
        '```json\n{"answer": "B"}\n```',
        'It is food: {"answer": "B"}',
        '{"cluster": "B"}',
        '{"choice": "B", "reason": "It is food."}',
        '{"answer": "b."}',
        '{"answer": "B. Food: fresh"}',
        '"B"',
        "B",
        "b",
        "B.",
        "(B)",
        "**B**",
        "`B`",
        "B)",
        "```\nB\n```",
        "Answer: B",
        "The answer is B.",
        "the correct option is: B",
        "B. Food: fresh",
        "B: Food: fresh: all that is eaten",
        "**B. Food: fresh**",
        "B - **Food: fresh**",
        "**Answer:** B",
        "B。",
        "food: fresh",
        "<think>A or C?</think>B",
    ],
)
def test_an_option_that_is_named_without_doubt_is_the_answer(content: str) -> None:
    for message in (said(content), called(content)) if content.startswith("{") else (said(content),):
        result = read(message, CHOICE)
        assert isinstance(result, Answer), result
        assert result.text == "B"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "D",
        "A or B",
        "A, B",
        "A red shoe.",
        "I choose B because A is wrong",
        "B. Travel",
        '{"answer": "A"} {"answer": "B"}',
        '{"answer": ["B"]}',
        '{"answer": null}',
        '{"not": "A"}',
        '{"error": "A"}',
        '{"choice": "A", "cluster": "B"}',
        "!A",
        "not A",
        "B: Food: fresh: no, C",
        "B. Food: fresh. Not Travel",
        "B. Food: fresh. Travel is not in it",
        "B. Food: freshness",
        '{"first": "A", "second": "B"}',
        "Winter sports and Travel",
        "<think>A or B",
    ],
)
def test_a_doubtful_choice_is_none(content: str) -> None:
    result = read(said(content), CHOICE)
    assert isinstance(result, ItemError)
    assert result.kind is ItemErrorKind.UNCONSTRAINED


@pytest.mark.parametrize(
    ("names", "content", "option"),
    [
        *((("<5", ">5", "5"), content, "A") for content in ("<5", "<5.", "**<5**", "Answer: <5", "A. <5", "(<5)")),
        *((("<5", ">5", "5"), content, "B") for content in (">5.", "**Answer:** >5", "The answer is >5.", "B - >5")),
        *((("<5", ">5", "5"), content, None) for content in ("!5", "A. >5", "C. <5", "< 5", "5-6")),
        *((("Red", "Redwood", "Red wine"), content, None) for content in ("A - Redwood", "A. Red wine, not red")),
        *(
            (("Red", "Redwood", "Red wine"), content, "C")
            for content in ("C. Red wine", "red wine.", "C: Red wine: old")
        ),
        *((("-50%", "+50%", "50%"), content, "A") for content in ("-50%", "`-50%`", "Answer: -50%", "A: -50%.")),
        *((("5", "5*", ".5"), content, option) for content, option in (("5*", "B"), (".5", "C"), ("**5**", None))),
        *((("Sale!", "Sale", "No sale"), content, "A") for content in ("Sale!", '"Sale!"', "Answer: sale!")),
        *((("Grade A", "A.", "B"), content, option) for content, option in (("A", "A"), ("A.", None), ("B", "B"))),
        *((("Maße", "Masse", "Travel (budget)"), content, "A") for content in ("Maße", "maße.", "A. Maße")),
        *((("Maße", "Masse", "Travel (budget)"), content, "C") for content in ("travel (budget)", "*Travel (budget)*")),
    ],
)
def test_names_that_differ_in_a_symbol_are_told_apart(names: tuple[str, ...], content: str, option: str | None) -> None:
    result = read(said(content), CHOICE, clusters=dict(zip("ABC", names, strict=True)))
    assert (result.text if isinstance(result, Answer) else None) == option


def test_options_that_differ_in_case_alone_are_told_apart() -> None:
    both = ChoiceAnswer(("A", "a", "B"))
    assert [read(said(text), both).text for text in ("A", "a", "b")] == ["A", "a", "B"]  # type: ignore[union-attr]
    assert isinstance(read(said("ab"), ChoiceAnswer(("AB", "aB"))), ItemError)


# Counts


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": "7", "completion_tokens": 3.0}, (7, 3)),
        ({"prompt_tokens": None, "completion_tokens": True}, (None, None)),
        ({"prompt_tokens": -1, "completion_tokens": 2.5}, (None, None)),
        ({"prompt_tokens": {"text": 7}, "completion_tokens": "many"}, (None, None)),
        ({"prompt_tokens": "inf", "completion_tokens": "nan"}, (None, None)),
        ({}, (None, None)),
        (None, (None, None)),
        ([7, 3], (None, None)),
        ("7", (None, None)),
    ],
)
def test_counts_that_are_not_told_are_unknown(usage: Any, counts: tuple[int | None, int | None]) -> None:
    result = read(said(DOCUMENT), usage=usage)
    assert isinstance(result, Answer)
    assert (result.prompt_tokens, result.completion_tokens) == counts
