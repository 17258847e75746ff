"""Keys: what a stage's output depends on, as a mapping that can be compared, explained and hashed."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

StageKey = Mapping[str, Any]


def digest(value: Any, num_bytes: int = 8) -> str:
    """Return a hex digest of a JSON-like value or dataclass; equal values have equal digests on every machine."""
    return blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=num_bytes).hexdigest()


def explain_change(old: StageKey, new: StageKey) -> str:
    """Return in words what differs between two keys, such as "num_clusters 5 → 8, criterion changed"."""
    changes = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        short = all(isinstance(value, int | float | str) and len(str(value)) <= 40 for value in (before, after))
        changes.append(f"{name} {before} → {after}" if short else f"{name} changed")
    return ", ".join(changes)
