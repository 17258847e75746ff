"""What a track's own fields say of each image, such as the lifestyle that `identity` sees, beyond `results.parquet`."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import orjson

from ictc.errors import StorageError

COMMON_FIELDS = frozenset({"category", "brand", "text", "summary"})


def read_analyses(path: Path, image_ids: Set[str]) -> dict[str, dict[str, str]]:
    """Return a track's own fields of the captions of `image_ids`, by image id; none if the file is missing.

    Args:
        path: `step1_captions.json`, which has one caption a line and may be large.

    Raises:
        StorageError: the file is damaged.
    """
    analyses = {}
    for image_id, caption in _iter_captions(path):
        fields = {name: str(value) for name, value in caption.items() if name not in COMMON_FIELDS}
        if fields and image_id in image_ids:
            analyses[image_id] = fields
    return analyses


def _iter_captions(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            for line in file:
                entry = line.strip().rstrip(b",")
                if entry not in (b"{", b"}"):
                    yield from orjson.loads(b"{" + entry + b"}").items()
    except (OSError, orjson.JSONDecodeError) as error:
        raise StorageError(f"cannot read {path} ({error}); the same `ictc run` makes it anew") from None
