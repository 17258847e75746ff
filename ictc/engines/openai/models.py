"""What a server says at /models: which models it serves, and which of them read images.

There is no one form of it: OpenAI's own, a bare list, names under `models`, or nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LISTS = ("data", "models", "result", "body")
"""Where servers are seen to keep their list."""


@dataclass(frozen=True, slots=True)
class ModelList:
    """What a server lists.

    Attributes:
        reads_images: by name, None where it isn't told.
        is_whole: whether a model that isn't listed isn't served.
    """

    reads_images: Mapping[str, bool | None]
    is_whole: bool

    def find(self, model: str) -> str | None:
        """Return the name under which `model` is listed, with or without what servers put around it."""
        forms = (model, f"{model}:latest", f"models/{model}")
        return next((name for name in forms if name in self.reads_images), None)


def parse_models(listing: Any) -> ModelList:
    """Return what a server lists, nothing if it is no list of models."""
    served: dict[str, bool | None] = {}
    for entry in _entries(listing):
        for name in _names_of(entry):
            served[name] = _reads_images(entry) if isinstance(entry, Mapping) else None
    has_more = isinstance(listing, Mapping) and bool(listing.get("has_more"))
    return ModelList(served, is_whole=bool(served) and not has_more)


def find_entry(listing: Any, model: str) -> Mapping[str, Any]:
    """Return all that a server says of a model, nothing if it doesn't list it."""
    entries = [entry for entry in _entries(listing) if isinstance(entry, Mapping)]
    name = parse_models(listing).find(model)
    return next((entry for entry in entries if name in _names_of(entry)), {})


def _entries(listing: Any) -> Sequence[Any]:
    """Return what a list of models holds; a form that nobody knows tells nothing."""
    if isinstance(listing, list | tuple):
        return listing
    if not isinstance(listing, Mapping):
        return ()
    within = next((listing[name] for name in LISTS if listing.get(name)), ())
    if not isinstance(within, Mapping):
        return _entries(within)
    by_name = [{"id": name, **(one if isinstance(one, Mapping) else {})} for name, one in within.items()]
    return _entries(within) or by_name


def _names_of(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    if not isinstance(entry, Mapping):
        return []
    aliases = entry.get("aliases")
    names = [entry.get(name) for name in ("id", "name", "model")] + (aliases if isinstance(aliases, list) else [])
    return [str(name) for name in names if isinstance(name, str | int) and name != ""]


def _reads_images(entry: Mapping[str, Any]) -> bool | None:
    """Return whether a model reads images, by what servers are seen to say about that."""
    architecture = entry.get("architecture")
    for holder in (architecture if isinstance(architecture, Mapping) else {}, entry):
        modalities = holder.get("input_modalities")
        if isinstance(modalities, list) and modalities:
            return any(str(modality).lower() in ("image", "images", "vision") for modality in modalities)
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, Mapping) and isinstance(capabilities.get("vision"), bool):
        return bool(capabilities["vision"])
    return None
