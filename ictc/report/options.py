"""The choices that a report leaves to its reader, and the fixed limits that keep the page small."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

EmbeddingMethod = Literal["auto", "minilm", "tfidf"]

MAX_ROWS = 12_000
"""Most ads whose data a page holds, over all its runs: more make browsers slow and pages hard to send."""

MAX_TEXT_CHARS = 9_000_000
"""Most characters of captions in a page, over all its runs."""

MAX_FIELD_CHARS = 1000
"""Where a text is cut; more than the built-in tracks let a model write in one field."""

MAX_IMAGE_BYTES = 9_000_000
"""Most bytes of image files in a page; Base64 adds a third."""


@dataclass(frozen=True)
class PageOptions:
    """What goes into a page.

    Attributes:
        ads_dir: where the images lie; the folder that the run read unless given.
        max_images: most images in the page, examples of the clusters first.
        max_points: most ads whose captions are embedded, for the map and the choice of examples.
        embeddings: how captions become vectors; "auto" is MiniLM where it is installed, else TF-IDF.
        seed: of every sample and of UMAP.
    """

    ads_dir: Path | None = None
    max_images: int = 400
    max_points: int = 2000
    embeddings: EmbeddingMethod = "auto"
    seed: int = 42
