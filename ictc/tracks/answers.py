"""The shape of each answer, and what it says: read from a model's text, checked and cleaned.

Knows answers only: no prompt, no engine.
"""

from __future__ import annotations

import json
import unicodedata
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ictc.answers import cut_text, fit_document
from ictc.errors import InvalidAnswer
from ictc.records import Caption, ClusterDefinition
from ictc.secrecy import scrub_answer
from ictc.tracks.spelling import plain_form, says_something

Model = TypeVar("Model", bound=BaseModel)

LABEL_PATTERN = r'^[^ \t\n"\\]{1,48}( [^ \t\n"\\]{1,48}){0,3}$'
"""One to four words, as a pattern, so that an engine that constrains ends in time. Not every language parts its words,
and not every server knows patterns: whatever has up to `MAX_LABEL_LENGTH` characters is a label."""
MAX_LABEL_LENGTH = 100


class ResponseModel(BaseModel):
    """Base of what a model is asked to answer: exactly these fields, every length bounded.

    The bounds matter: without them a constrained model may write one string until its tokens run out. They are ours,
    and no fault of an image: what a model writes beyond them is cut, and a field of its own is left out.
    """

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class CaptionAnswer(ResponseModel):
    """The answer of Step 1; a track may derive its own and add string fields, which become `Caption.analysis`."""

    text: str = Field(max_length=700)
    brand: str = Field(max_length=80)
    ui_only: bool
    category: str = Field(max_length=60)
    summary: str = Field(max_length=700)


class LabelAnswer(ResponseModel):
    """The answer of Step 2a."""

    label: str = Field(json_schema_extra={"pattern": LABEL_PATTERN})


class ClusterAnswer(ResponseModel):
    """One cluster in the answer of Step 2b."""

    name: str = Field(min_length=1, max_length=60)
    description: str = Field(min_length=1, max_length=300)


class ClustersAnswer(ResponseModel):
    """The answer of Step 2b; `clusters_answer` fixes the number of clusters."""

    clusters: list[ClusterAnswer]


def clusters_answer(num_clusters: int | None, of: type[ClusterAnswer] = ClusterAnswer) -> type[ClustersAnswer]:
    """Return the response model for exactly `num_clusters` clusters, of any number if that is None.

    Args:
        of: what is asked of each.
    """
    if num_clusters is None and of is ClusterAnswer:
        return ClustersAnswer
    exactly = Annotated[list[of], Field(min_length=num_clusters, max_length=num_clusters)]  # type: ignore[valid-type]
    return create_model("ClustersAnswer", __base__=ClustersAnswer, clusters=(exactly, ...))


def parse_caption(image_id: str, *, text: str, model: type[CaptionAnswer] = CaptionAnswer) -> Caption:
    """Parse an answer of Step 1.

    Raises:
        InvalidAnswer: it does not satisfy `model`.
    """
    fields = {name: clean_text(value) for name, value in validate_answer(text, model).model_dump().items()}
    common = {name: fields.pop(name) for name in CaptionAnswer.model_fields}
    return Caption(image_id=image_id, analysis=fields, **common)


def parse_label(text: str, model: type[LabelAnswer] = LabelAnswer) -> str:
    """Parse an answer of Step 2a into a label in lower case.

    Raises:
        InvalidAnswer: it says nothing.
    """
    label = cut_text(clean_text(validate_answer(text, model).label).lower(), MAX_LABEL_LENGTH)
    if not says_something(label):
        raise InvalidAnswer(f"label: {label!r} has no letter")
    return label


def parse_clusters(
    text: str, num_clusters: int, of: type[ClusterAnswer] = ClusterAnswer
) -> tuple[ClusterDefinition, ...]:
    """Parse an answer of Step 2b.

    Args:
        of: what was asked of each cluster.

    Raises:
        InvalidAnswer: there are not exactly `num_clusters` clusters with distinct names and some description.
    """
    answer = validate_answer(text, clusters_answer(num_clusters, of))
    clusters = [_cleaned(cluster) for cluster in answer.clusters]
    names = [plain_form(cluster.name) for cluster in clusters]
    for name in names:
        if names.count(name) > 1:
            raise InvalidAnswer(f"two clusters are named {name!r}")
    return tuple(ClusterDefinition(number, **cluster.model_dump()) for number, cluster in enumerate(clusters, start=1))


def parse_cluster(text: str, model: type[ClusterAnswer] = ClusterAnswer) -> ClusterAnswer:
    """Parse the name and the description of one cluster.

    Raises:
        InvalidAnswer: the name says nothing, or one of them is missing.
    """
    return _cleaned(validate_answer(text, model))


def _cleaned(cluster: ClusterAnswer) -> ClusterAnswer:
    fields = {name: clean_text(value) for name, value in cluster.model_dump().items()}
    if not says_something(plain_form(fields["name"])):
        raise InvalidAnswer(f"a cluster is named {fields['name']!r}")
    return type(cluster).model_construct(**fields)


def clean_text(value: Any) -> Any:
    """Return a string without control characters and with single spaces; anything else as it is."""
    if not isinstance(value, str):
        return value
    return " ".join("".join(" " if unicodedata.category(char) in ("Cc", "Cs") else char for char in value).split())


@lru_cache(maxsize=64)
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def validate_answer(text: str, model: type[Model]) -> Model:
    """Return the answer that a text holds, made to fit what changes nothing of what it says.

    Raises:
        InvalidAnswer: it is no JSON, or does not satisfy `model`.
    """
    try:
        # Not strict: constrained decoding of a string of bounded length may let bare control characters through.
        document = scrub_answer(json.loads(text, strict=False))
        return model.model_validate(fit_document(document, _schema_of(model)))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidAnswer(f"not JSON: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidAnswer(f"{where}: {first['msg']}" if where else first["msg"]) from None
