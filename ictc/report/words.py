"""What the page calls that which a run is about: ads, unless texts were imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ictc.steps.base import Step


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words for what a run is about.

    Attributes:
        one, many: what is in a cluster.
        item: what the collection is made of.
        said: what is compared of them.
        clusters: what the page shows.
        found: what the number of those in a cluster is followed by.
        read: what is told of the content of one.
        broken: why some can't be clustered, as a title and a sentence.
    """

    one: str
    many: str
    item: str
    said: str
    clusters: str
    found: str
    read: str
    broken: tuple[str, str]

    def about(self, step: Step) -> str:
        """Return what a step does."""
        return step.about.replace(f" {ADS.one}", f" {self.one}")


ADS = Words(
    one="ad",
    many="ads",
    item="image",
    said="captions",
    clusters="Image clusters",
    found="images are ads that the model sorted into",
    read="What the model saw",
    broken=("Unreadable", "Files that could not be decoded."),
)
TEXTS = Words(
    one="text",
    many="texts",
    item="text",
    said="texts",
    clusters="Text clusters",
    found="texts were sorted by the model into",
    read="What it says",
    broken=("Empty", "Rows that hold no text."),
)


def words_for(metadata: Mapping[str, Any]) -> Words:
    """Return the words for a run.

    Args:
        metadata: of its results.
    """
    return TEXTS if metadata.get("imported") == "texts" else ADS
