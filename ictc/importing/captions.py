"""What one entry of a reference's files says of its image, in whichever of their shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ictc.dataset.catalog.table_text import as_text
from ictc.dataset.catalog.times import parse_timestamp
from ictc.dataset.fetching.locations import hide_secrets
from ictc.errors import InputError
from ictc.records import Caption
from ictc.stages.outcome import Outcome, Status, rejected
from ictc.steps.caption import caption_data

ID_NAMES = ("image_id", "observation_id")
PATH_NAMES = ("image_path", "image_file", "path", "file_name")
LABEL_NAMES = ("hook", "label", "initial_label")
CLUSTER_NAMES = ("final_cluster", "cluster")
REASON_NAMES = ("reason", "error", "message")

BRAND, TEXT, SUMMARY = ("brand", "brand_name"), ("text", "main_text"), ("summary", "description")
"""The names that fields of a caption have in the reference's versions; the first that is there counts."""

COMMON = frozenset(("category", "brand", "text", "summary"))
BOOKKEEPING = ("status", "categorized_path", *ID_NAMES)
WAYS = frozenset(("advertisement", "ui_only", "broken"))
"""How the reference sorts images; it calls that a category, too."""

OBSERVER = "observer"
"""What is known of the person who saw an ad: goes nowhere."""

UNKNOWN = "UNKNOWN"
"""What the reference writes for a platform or format that it does not know."""

PLACEHOLDER_LABELS = frozenset(("no description",))
"""What the reference writes where it made no label."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of an image besides its caption.

    Attributes:
        metadata: what has no place of its own, as text.
    """

    path: str = ""
    platform: str | None = None
    ad_format: str | None = None
    timestamp: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def with_missing_from(self, other: About) -> About:
        """Return this with what only the other knows."""
        return About(
            path=self.path or other.path,
            platform=self.platform or other.platform,
            ad_format=self.ad_format or other.ad_format,
            timestamp=self.timestamp or other.timestamp,
            metadata={**other.metadata, **self.metadata},
        )


def read_about(value: Any) -> About:
    """Return what an entry of `image_mapping.json` says: a path, or an object.

    Raises:
        InputError: it is something else.
    """
    if value is None or isinstance(value, str):
        return About(path=value or "")
    fields = without_observer(check_object(value, "a path"))
    inner = fields.pop("metadata", None)
    merged = {**(inner if isinstance(inner, dict) else {"metadata": inner}), **fields}
    about = take_about(merged)
    told = ((name, as_text(left)) for name, left in merged.items() if name not in BOOKKEEPING)
    rest = {name: hide_secrets(text) for name, text in told if text}
    return About(**{**vars(about), "metadata": {**rest, **about.metadata}})


def take_about(fields: dict[str, Any]) -> About:
    """Take out of the fields of an entry what is about the image, and return that."""
    path = as_text(take_first(fields, PATH_NAMES)) or ""
    platform, ad_format = (as_text(fields.pop(name, None)) for name in ("platform", "ad_format"))
    time = fields.pop("timestamp", None)
    timestamp = parse_timestamp(time)
    given = as_text(time)
    return About(
        path=path,
        platform=None if platform in ("", UNKNOWN) else platform,
        ad_format=None if ad_format in ("", UNKNOWN) else ad_format,
        timestamp=timestamp,
        metadata={"timestamp": given} if given and timestamp is None else {},
    )


def read_caption(image_id: str, value: Any) -> tuple[Outcome, About]:
    """Return how an image with this entry leaves Step 1, and what else the entry says.

    Raises:
        InputError: it is neither an object nor a text.
    """
    if isinstance(value, str):
        return _outcome(Caption(image_id=image_id, category="", brand="", text="", summary=value)), About()
    fields = without_observer(check_object(value, "a caption"))
    raw = fields.pop("raw_response", None)
    fields = {**(raw if isinstance(raw, dict) else {"summary": raw}), **_said(fields)}
    about = take_about(fields)
    ways = {way for name in ("status", "category") if (way := _way_of(fields.get(name))) in WAYS}
    if _way_of(fields.get("category")) in WAYS:
        del fields["category"]
    ui_only = fields.pop("ui_only", None) is True or "ui_only" in ways
    for name in BOOKKEEPING:
        fields.pop(name, None)
    own = fields.pop("analysis", None)
    own = own if isinstance(own, dict) else {"analysis": own}
    caption = Caption(
        image_id=image_id,
        category=as_text(fields.pop("category", None)) or "",
        **{names[0]: as_text(take_first(fields, names)) or "" for names in (BRAND, TEXT, SUMMARY)},
        ui_only=ui_only,
        analysis=dict(_own_fields({**fields, **own})),
    )
    if "broken" in ways and not ui_only:
        return Outcome(Status.BROKEN, {"reason": caption.summary or "broken in the reference"}), about
    return _outcome(caption), about


def _way_of(value: Any) -> str:
    return str(value).lower().replace(" ", "_")


def _outcome(caption: Caption) -> Outcome:
    if caption.ui_only:
        return Outcome(Status.UI_ONLY, caption_data(caption))
    said = (caption.category, caption.brand, caption.text, caption.summary, *caption.analysis.values())
    if not any(text.strip() for text in said):
        return rejected("its caption in the reference says nothing")
    return Outcome(Status.DONE, caption_data(caption))


def _own_fields(fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield the fields of a track's own, under names that no common field has."""
    for name, value in fields.items():
        if text := as_text(value):
            yield (f"analysis_{name}" if name in COMMON else name), text


def read_reason(value: Any) -> str:
    """Return why an image is broken.

    Raises:
        InputError: the entry is neither an object nor a text.
    """
    fields: dict[str, Any] = {}
    if value is not None and not isinstance(value, str):
        fields = check_object(value, "a reason")
    raw = fields.get("raw_response")
    told = value if isinstance(value, str) else take_first(dict(fields), REASON_NAMES)
    told = told or (raw.get("visual_summary") if isinstance(raw, dict) else raw)
    return as_text(told) or "broken in the reference"


def read_label(value: Any) -> str | None:
    """Return the label of an entry of `step2a_hooks.json`, None if it holds none.

    Raises:
        InputError: it is neither an object nor a text.
    """
    if isinstance(value, dict):
        value = take_first(dict(value), LABEL_NAMES)
    if value is not None and not isinstance(value, str):
        check_object(value, "a label")
    return None if value is None or value.strip().lower() in PLACEHOLDER_LABELS else value


def take_first(fields: dict[str, Any], names: Iterable[str]) -> Any:
    """Take out the first of these fields that says something, and return it; None if none does."""
    name = next((name for name in names if fields.get(name) not in (None, "")), None)
    return None if name is None else fields.pop(name)


def check_object(value: Any, expected: str) -> dict[str, Any]:
    """Return a copy of an object.

    Raises:
        InputError: the value is none.
    """
    if not isinstance(value, dict):
        kind = {list: "a list", bool: "true or false", int: "a number", float: "a number"}.get(type(value), "nothing")
        raise InputError(f"is {kind} where an object or {expected} is expected; correct it")
    return dict(value)


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def without_observer(value: Any) -> Any:
    """Return a value without what it says of observers, however deep."""
    if isinstance(value, dict):
        return {name: without_observer(inner) for name, inner in value.items() if name.lower() != OBSERVER}
    return [without_observer(inner) for inner in value] if isinstance(value, list) else value
