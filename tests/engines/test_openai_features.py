"""What servers don't take, in their own words, and how they are asked instead."""

from __future__ import annotations

import json

import pytest

from ictc.engines.base import ChoiceAnswer, GenerationRequest, JsonAnswer, Message, SamplingParams, Task
from ictc.engines.openai.failures import Failure
from ictc.engines.openai.features import Features, Form, lower_bound
from ictc.engines.openai.protocol import Call, build_fields, build_messages
from ictc.tracks.answers import LabelAnswer

MESSAGES = (Message("system", "You sort ads."), Message("user", "Sort this."))


def call_of(answer: JsonAnswer | ChoiceAnswer) -> Call:
    request = GenerationRequest("ad", task=Task.LABEL, messages=MESSAGES, answer=answer, sampling=SamplingParams(1024))
    return Call(request, build_messages(request, None), build_fields(request))


LABEL = call_of(JsonAnswer(LabelAnswer.model_json_schema()))
CHOICE = call_of(ChoiceAnswer(("A", "B")))


def learned(message: str, call: Call = LABEL, features: Features | None = None) -> Features | None:
    features = features or Features()
    lesson = features.learn(Failure(400, message), features.fit(call)[1], is_too_long=False)
    return lesson.features if lesson else None


@pytest.mark.parametrize(
    ("message", "form"),
    [
        ("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", Form.OBJECT),
        ("This response_format type is unavailable now", Form.OBJECT),
        ("This model does not support response format `json_schema`.", Form.OBJECT),
        ("Unrecognized request argument supplied: response_format", Form.OBJECT),
        ("Invalid schema for response_format 'label': 'pattern' is not permitted.", Form.PLAIN_SCHEMA),
        ('Grammar error: Unimplemented keys: ["maxLength"], not supported', Form.PLAIN_SCHEMA),
        ("The provided JSON schema contains features not supported by xgrammar, such as a regex", Form.PLAIN_SCHEMA),
    ],
)
def test_a_form_that_a_server_refuses_is_loosened(message: str, form: Form) -> None:
    features = learned(message)
    assert features is not None
    assert features.form is form


def test_the_schema_goes_into_the_prompt_where_no_field_takes_it() -> None:
    schema = LABEL.fields["response_format"]["json_schema"]["schema"]
    messages, fields = Features(form=Form.OBJECT).fit(LABEL)
    assert fields["response_format"] == {"type": "json_object"}
    assert messages[-1]["content"].startswith("Sort this.")
    assert json.loads(messages[-1]["content"].partition(":\n")[2]) == schema
    messages, fields = Features(form=Form.WORDS).fit(LABEL)
    assert "response_format" not in fields
    assert json.loads(messages[-1]["content"].partition(":\n")[2]) == schema
    assert learned("response_format is not supported", features=Features(form=Form.WORDS)) is None


def test_a_plain_schema_keeps_structure_and_options_and_fields_of_any_name() -> None:
    schema = {
        "type": "object",
        "properties": {"pattern": {"type": "string", "maxLength": 9, "pattern": "x"}, "a": {"enum": ["b"]}},
        "required": ["pattern"],
    }
    _, fields = Features(form=Form.PLAIN_SCHEMA).fit(call_of(JsonAnswer(schema)))
    plain = {**schema, "properties": {"pattern": {"type": "string"}, "a": {"enum": ["b"]}}}
    assert fields["response_format"]["json_schema"]["schema"] == plain


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ("Unrecognized request argument supplied: chat_template_kwargs", "chat_template_kwargs"),
        ("[{'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra inputs are not permitted'}]", "seed"),
        ("Unknown parameter: 'top_logprobs'.", "top_logprobs"),
        ("logprobs is not supported with this model", "logprobs"),
        ("`top_p` isn't supported", "top_p"),
    ],
)
def test_a_field_that_a_server_refuses_is_left_out(message: str, refused: str) -> None:
    features = learned(message, CHOICE)
    assert features is not None
    assert features.refused == {refused}
    assert refused not in features.fit(CHOICE)[1]


def test_a_server_without_a_system_turn_gets_its_words_in_the_user_s() -> None:
    features = learned("System role not supported")
    assert features is not None
    assert features.fit(LABEL)[0] == [{"role": "user", "content": "You sort ads.\n\nSort this."}]


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("max_tokens is too large: 1024. This model supports at most 512 completion tokens, you provided 1024.", 512),
        ("`max_tokens` must be less than or equal to `512`, the maximum value is less than the `context_window`", 512),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 512]", 512),
        ("Range of max_tokens should be [1, 512]", 512),
        ("max_tokens: 1024 > 512, which is the maximum allowed number of output tokens", 512),
        (
            "max_tokens is too large: 1024. The context is 600 tokens, your request has 88 (1024 > 600 - 88).",
            512,
        ),
        ("max_tokens: Input should be less than or equal to 512", 512),
        ("max_new_tokens exceeds the limit of 512", 512),
        ("max_tokens is too large", None),
        ("max_tokens must be at most 4096", None),
        (
            "maximum context length is 900 tokens. You requested 1924 (900 in the messages, 1024 in the completion)",
            None,
        ),
        ("'max_tokens' is too large: not supported by the context length", None),
    ],
)
def test_too_many_tokens_are_lowered_to_what_the_server_allows(message: str, most: int | None) -> None:
    assert lower_bound(message, 1024) == most
    if most is not None:
        features = learned(message)
        assert features is not None
        assert features.fit(LABEL)[1]["max_tokens"] == most


@pytest.mark.parametrize("message", ["cannot identify image file", "Bad Request", "it broke", "the schema of life"])
def test_other_words_teach_nothing(message: str) -> None:
    assert learned(message) is None
