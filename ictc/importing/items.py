"""What an import takes of each image or text, whatever it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from ictc.records import ImageRecord
from ictc.stages.outcome import Outcome, Status
from ictc.storage.keys import digest
from ictc.tracks.answers import MAX_LABEL_LENGTH, clean_text
from ictc.tracks.spelling import says_something

Kind = Literal["texts", "captions", "reference"]
"""Texts of their own, captions of images in a table, or a directory of the reference implementation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image or text, with what is known of it.

    Attributes:
        image: its version is a digest of what it leaves Step 1 with.
        outcome: how it leaves Step 1.
        label: "" if it has none yet.
        has_odd_label: whether it was given one that can't be used.
    """

    image: ImageRecord
    outcome: Outcome
    label: str = ""
    has_odd_label: bool = False


class Source(Protocol):
    """Where items come from; iterating reads the files anew."""

    @property
    def kind(self) -> Kind: ...

    @property
    def location(self) -> Path:
        """The table, or the directory."""
        ...

    @property
    def base(self) -> Path:
        """The folder that paths of images start from."""
        ...

    @property
    def track(self) -> str:
        """The track that fits, unless the user names another."""
        ...

    @property
    def criterion(self) -> str | None:
        """What its labels were made for, None if that is for the user to say."""
        ...

    @property
    def origin(self) -> Mapping[str, Any]:
        """What of it is noted in `run.json`."""
        ...

    def describe(self) -> str:
        """Return in a line what is taken for what."""
        ...

    def iter_items(self) -> Iterator[Item]:
        """Yield all items, always in the same order.

        Raises:
            InputError: something can't be understood; with file and row or id.
        """
        ...


def make_item(image: ImageRecord, outcome: Outcome, label: object = None, *, names_itself: bool = True) -> Item:
    """Return an item.

    Args:
        label: as it was given, None if none was; counts only for what is to be clustered.
        names_itself: whether items that say the same may be about different things.
    """
    about = [outcome.status, outcome.data, *([image.image_id] if names_itself else [])]
    given = "" if label is None or outcome.status is not Status.DONE else clean_text(str(label))
    usable = given if len(given) <= MAX_LABEL_LENGTH and says_something(given) else ""
    return Item(
        image=replace(image, version=digest(about)),
        outcome=outcome,
        label=usable,
        has_odd_label=bool(given) and not usable,
    )
