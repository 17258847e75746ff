"""What all groups of settings have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class SettingsGroup(BaseModel):
    """Settings that belong together: one heading of `--help`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,  # from Python and YAML, --track 1 and --steps 1 come as numbers
    )


def explicit(settings: SettingsGroup | None) -> dict[str, Any]:
    """Return the settings that were given, by flag."""
    return {} if settings is None else settings.model_dump(include=settings.model_fields_set)
