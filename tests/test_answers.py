"""What of a model's document is made right before it is checked, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ictc.answers import fit_document
from ictc.errors import InvalidAnswer
from ictc.records import Caption
from ictc.tracks import CaptionAnswer, load_track
from ictc.tracks.answers import clusters_answer, parse_caption, parse_clusters, parse_label
from ictc.tracks.combined import CombinedCaptions

SAID = {"text": "SALE", "brand": "Acme", "ui_only": False, "category": "shoes", "summary": "A shoe."}
CAPTION = CaptionAnswer.model_json_schema()
YES: list[Any] = ["true", "TRUE", "1", 1, True]
NO: list[Any] = ["false", "False", "0", 0, False]
WRONG: list[Any] = [7, -1, [], ["Acme"], {}]


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in SAID.items() if name not in names}


@pytest.mark.parametrize(
    ("document", "fitted"),
    [
        (SAID, SAID),
        (SAID | {"confidence": 0.9, "reason": {"text": None}}, SAID),
        (SAID | {"brand": None}, SAID | {"brand": ""}),
        (SAID | {"text": None, "brand": None}, SAID | {"text": "", "brand": ""}),
        (without("brand", "text"), SAID | {"text": "", "brand": ""}),
        *((SAID | {"ui_only": no}, SAID) for no in NO),
        *((SAID | {"ui_only": yes}, SAID | {"ui_only": True}) for yes in YES),
        (SAID | {"text": "SALE \ud83d", "summary": "A sh\udc00oe."}, SAID),
        (SAID | {"text": "\U0001f3b8 \ud83d"}, SAID | {"text": "\U0001f3b8"}),
    ],
)
def test_a_shape_that_says_the_same_is_made_right(document: Any, fitted: Any) -> None:
    assert fit_document(document, CAPTION) == fitted
    assert parse_caption("ad", text=json.dumps(document)) == Caption("ad", **fitted)


@pytest.mark.parametrize(
    "document",
    [
        *(without(name) for name in ("ui_only", "category", "summary")),
        *(SAID | {name: None} for name in ("ui_only", "category", "summary")),
        *(SAID | {name: value} for name in ("ui_only", "brand", "summary") for value in WRONG),
        *(SAID | {"ui_only": value} for value in ("maybe", "")),
        {"confidence": 0.9},
        {},
    ],
)
def test_what_is_wrong_or_needed_is_not_made_up(document: Any) -> None:
    with pytest.raises(InvalidAnswer):
        parse_caption("ad", text=json.dumps(document))


@pytest.mark.parametrize("label", [None, "\ud83d", " \udc00 "])
def test_a_label_is_needed(label: Any) -> None:
    with pytest.raises(InvalidAnswer):
        parse_label(json.dumps({"label": label}))
    assert parse_label(json.dumps({"label": f"violin{label or ''}", "reason": label})) == "violin"


def test_clusters_may_come_with_more_than_was_asked_for() -> None:
    clusters = [
        {"cluster_id": number, "name": f"{name} \ud83d", "description": "what it is", "count": 3}
        for number, name in enumerate(("Left", "Right"), 1)
    ]
    definitions = parse_clusters(json.dumps({"clusters": clusters, "num_clusters": 2}), 2)
    assert [(one.cluster_id, one.name) for one in definitions] == [(1, "Left"), (2, "Right")]
    with pytest.raises(InvalidAnswer):
        parse_clusters(json.dumps({"clusters": [clusters[0], {"id": 2, "name": None, "description": "it"}]}), 2)


def test_the_answers_of_several_tracks_are_made_right_as_each_is() -> None:
    combined = CombinedCaptions([(load_track("general"), "by color"), (load_track("marketing"), "by hook")])
    parts = [SAID | {"brand": None, "confidence": 1}, without("text") | {"ui_only": "false"}]
    document = fit_document({"analyst_1": parts[0], "analyst_2": parts[1], "analyst_3": SAID}, combined.schema)
    assert document == {"analyst_1": SAID | {"brand": ""}, "analyst_2": SAID | {"text": ""}}


def test_a_field_that_a_schema_lets_in_or_may_be_null_stays() -> None:
    open_schema = {"type": "object", "properties": {"brand": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    assert fit_document({"brand": None, "more": [1]}, open_schema) == {"brand": None, "more": [1]}
    clusters = {"clusters": [{"name": "a", "description": "b", "text": "c"}]}
    assert fit_document(clusters, clusters_answer(1).model_json_schema()) == {
        "clusters": [{"name": "a", "description": "b"}]
    }
