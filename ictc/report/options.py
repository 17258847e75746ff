"""The choices that a report leaves to its reader, and the fixed limits that keep the page small."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ictc.config import SettingsGroup

EmbeddingMethod = Literal["auto", "minilm", "tfidf"]

MAX_ROWS = 12_000
"""Most ads whose data a page holds, over all its runs: more make browsers slow and pages hard to send."""

MAX_TEXT_CHARS = 9_000_000
"""Most characters of captions in a page, over all its runs."""

MAX_FIELD_CHARS = 1000
"""Where a text is cut; more than the built-in tracks let a model write in one field."""

MAX_IMAGE_BYTES = 9_000_000
"""Most bytes of image files in a page; Base64 adds a third."""


class PageOptions(SettingsGroup):
    """What goes into a page."""

    ads_dir: Path | None = Field(None, description="Folder of the images, if they have moved since the run.")
    max_images: int = Field(400, ge=0, description="Most images in the page, examples of the clusters first.")
    max_points: int = Field(
        2000, ge=1, description="Most ads on the map; their captions are embedded, which takes the time."
    )
    embeddings: EmbeddingMethod = Field(
        "auto", description="How captions become vectors; auto is MiniLM where it is installed, else TF-IDF."
    )
    seed: int = Field(42, ge=0, description="Of the samples and of the map.")
