"""The `full_data.json` of an observation: where and when an ad was seen, and by whom. All of it is invented.

A few observations lack fields or hold null, as collections of real people's screens do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

FIRST_DAY = datetime(2025, 3, 1, tzinfo=UTC)
DAYS = 61
PLACEMENTS = {
    "story": (("Instagram", "STORY_BASED"), ("Facebook", "STORY_BASED"), ("TikTok", "REEL_BASED")),
    "feed": (("Facebook", "FEED_BASED"),),
    "price": (("Facebook", "MARKETPLACE_BASED"),),
    "banner": (("YouTube", "PREVIEW_LANDSCAPE_BASED"),),
    "split": (("YouTube", "PREVIEW_LANDSCAPE_BASED"), ("Facebook", "FEED_BASED")),
    "poster": (("TikTok", "REEL_BASED"), ("TikTok", "REEL_FROM_SEARCH"), ("Instagram", "REEL_BASED")),
}
OTHER_PLACEMENTS = (("Instagram", "FEED_BASED"), ("Facebook", "FEED_BASED"), ("Instagram", "UNKNOWN"))
AGES = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
GENDERS = ("woman", "man", "nonbinary", "not stated")
INCOMES = ("under 30k", "30k-60k", "60k-100k", "over 100k")
EDUCATION = ("secondary school", "trade certificate", "bachelor degree", "master degree")

FullData = dict[str, Any]


def build_full_data(observation_id: str, layout: str | None, texts: list[str], rng: Random) -> FullData:
    """Return invented metadata for an image in `layout` that shows `texts`."""
    day = timedelta(days=rng.randrange(DAYS), hours=rng.randint(7, 22), seconds=rng.randrange(3600))
    seen_ms = int((FIRST_DAY + day).timestamp()) * 1000 + rng.randrange(1000)
    platform, ad_format = rng.choice(PLACEMENTS.get(layout or "", OTHER_PLACEMENTS))
    return {
        "observation_id": observation_id,
        "timestamp": seen_ms,
        "observation": {
            "uuid": observation_id,
            "observed_on_device_at": seen_ms,
            "submitted_from_device_at": seen_ms + rng.randint(2_000, 900_000),
            "platform": platform,
            "ad_format": ad_format,
            "exposure": round(rng.uniform(0.4, 14.0), 1),
            "keyframes": [{"ocr_data": _build_ocr(texts, rng)}],
        },
        "observer": _build_observer(rng),
        "enrichment": {},
    }


def _build_ocr(texts: list[str], rng: Random) -> list[dict[str, Any]]:
    return [{"text": text, "confidence": round(rng.uniform(0.81, 0.99), 3)} for text in texts]


def _build_observer(rng: Random) -> dict[str, Any]:
    return {
        "demographics": {
            "age": rng.choice(AGES),
            "gender": rng.choice(GENDERS),
            "household_income": rng.choice(INCOMES),
            "education": rng.choice(EDUCATION),
            "postcode": f"{rng.randint(1000, 9999)}",
        },
    }


def _drop_platform(data: FullData) -> None:
    del data["observation"]["platform"]


def _null_ad_format(data: FullData) -> None:
    data["observation"]["ad_format"] = None


def _drop_times(data: FullData) -> None:
    data["timestamp"] = None
    data["observation"]["observed_on_device_at"] = None


def _use_seconds(data: FullData) -> None:
    del data["timestamp"]
    data["observation"]["observed_on_device_at"] //= 1000


def _drop_top_id(data: FullData) -> None:
    del data["observation_id"]


def _drop_both_ids(data: FullData) -> None:
    data["observation_id"] = None
    del data["observation"]["uuid"]


def _null_keyframes(data: FullData) -> None:
    data["observation"]["keyframes"] = None


def _null_observer(data: FullData) -> None:
    data["observer"] = None
    del data["enrichment"]


def _null_observation(data: FullData) -> None:
    data["observation"] = None


GAPS: tuple[Callable[[FullData], None], ...] = (
    _drop_platform,
    _null_ad_format,
    _drop_times,
    _use_seconds,
    _drop_top_id,
    _drop_both_ids,
    _null_keyframes,
    _null_observer,
    _null_observation,
)
"""What is missing from the metadata of a few observations; each happens once."""
