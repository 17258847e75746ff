"""What a map stage concludes about one image, and how that is written to its journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ictc.records import Source, UnreadableImage
from ictc.secrecy import scrub
from ictc.storage.journal import Journal


class Status(StrEnum):
    """How one image left a stage; every image leaves every stage it enters in exactly one way."""

    DONE = "done"
    NONE = "none"
    """It fits nothing of what there was to choose from: an answer like any other, so it is not tried again."""
    UI_ONLY = "ui_only"
    BROKEN = "broken"
    REJECTED = "rejected"


RETRIED = frozenset({Status.REJECTED, Status.BROKEN})
"""What another attempt may cure: a server was down, a file half copied, a model at its wits' end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one image in one stage.

    Attributes:
        data: the stage's own (a caption, say, or `reason` and `raw_text`).
        is_of_access: whether the image could not be read, so that nothing is known of it: another try may do better.
        doubt: why another attempt may do better; it is the outcome if there is none. "" for a good one.
    """

    status: Status
    data: Mapping[str, Any] = field(default_factory=dict)
    is_of_access: bool = False
    doubt: str = ""


def rejected(reason: str, *, raw_text: str = "") -> Outcome:
    """Return the outcome of an image that the stage gave up on; what a server said may hold any character and key."""
    words = {"reason": reason, "raw_text": raw_text}
    return Outcome(Status.REJECTED, {name: scrub(_printable(text)) for name, text in words.items()})


def _printable(text: str) -> str:
    """Return `text` with a `?` for each half of a character: JSON can hold one, a file of UTF-8 can't."""
    return text.encode("utf-8", "replace").decode("utf-8")


def unreadable(image: UnreadableImage) -> Outcome:
    """Return the outcome of an image that could not be read, if it has to have one."""
    if image.is_dead_link:
        return Outcome(Status.BROKEN, {"reason": image.reason}, is_of_access=True)
    return replace(rejected(f"cannot be read: {image.reason}"), is_of_access=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the outcome of an image is about, and what it was made from; digests of 16 hex digits.

    Attributes:
        seen: what is known of the input before it is read; while that is the same, so is the input.
        content: the input: what tells equal images, and how it looks where somebody asks.
        source: the input that the outcome was made from: the image's own, or that of the one which it follows.
    """

    seen: str
    content: Source
    source: str


def to_record(image_id: str, origin: Origin, outcome: Outcome) -> dict[str, Any]:
    """Return the journal record."""
    about = origin.content.digest
    record = {"id": image_id, "input": about, "status": outcome.status.value, "data": outcome.data}
    if origin.source != about:
        record["source"] = origin.source
    if origin.seen != about or origin.source != about:  # a source without it is a record of earlier versions
        record["seen"] = origin.seen
    if origin.content.look:
        record["look"] = origin.content.look
    return record


def from_record(record: Mapping[str, Any]) -> Outcome:
    """Return the outcome that a journal record holds."""
    return Outcome(Status(record["status"]), record["data"])


def content_of(journal: Journal, image_id: str) -> Source:
    """Return the content that a record is about, with how it looks where that is known."""
    record = journal.get(image_id) or {}
    return Source(journal.input(image_id), look=record.get("look", ""))


def needs_work(journal: Journal, image_id: str, *, input_digest: str, retry_rejected: bool = False) -> bool:
    """Return whether an image has no record about its input as it is now."""
    if not journal.is_about(image_id, input_digest=input_digest):
        return True
    return retry_rejected and journal.status(image_id) in RETRIED
