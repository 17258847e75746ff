"""One question about an image for several tracks at once, and the parts of its answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, create_model

from ictc.engines.base import Message
from ictc.errors import InvalidAnswer
from ictc.records import Caption
from ictc.tracks.answers import ResponseModel, parse_caption
from ictc.tracks.base import Track

INTRODUCTION = """\
Several analysts look at this image, each for a purpose of their own. Answer all of them with one JSON object that has a
field for each analyst, in the order given; what one of them asks is no concern of the others."""


@dataclass(frozen=True)
class CombinedCaptions:
    """The caption prompts of several tracks, asked as one.

    Attributes:
        tracks: each with its criterion.
    """

    tracks: Sequence[tuple[Track, str]]

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the answer: an object with a field for each track."""
        answers: dict[str, type[BaseModel]] = {
            field_name(number): track.caption.answer for number, (track, _) in enumerate(self.tracks, 1)
        }
        fields: dict[str, Any] = {name: (answer, ...) for name, answer in answers.items()}
        return create_model("CombinedAnswer", __base__=ResponseModel, **fields).model_json_schema()

    def render(self) -> tuple[Message, ...]:
        """Return the conversation, with all criteria filled in."""
        parts = [
            f'The field "{field_name(number)}":\n{message.text}'
            for number, (track, criterion) in enumerate(self.tracks, 1)
            for message in track.caption.render(criterion=criterion)
        ]
        return (Message("user", "\n\n".join([INTRODUCTION, *parts])),)

    def parse(self, image_id: str, *, text: str) -> list[Caption]:
        """Return the caption of each track.

        Raises:
            InvalidAnswer: a part is missing, or does not satisfy the track's own model.
        """
        try:
            answer = json.loads(text, strict=False)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidAnswer(f"not JSON: {error}") from None
        captions = []
        for number, (track, _) in enumerate(self.tracks, 1):
            if not isinstance(answer, dict) or field_name(number) not in answer:
                raise InvalidAnswer(f"no field {field_name(number)!r}")
            captions.append(
                parse_caption(image_id, text=json.dumps(answer[field_name(number)]), model=track.caption.answer)
            )
        return captions


def field_name(number: int) -> str:
    """Return what the answer's field for a track is called; tracks of users may be named anything."""
    return f"analyst_{number}"
