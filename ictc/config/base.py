"""What all groups of settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SettingsGroup(BaseModel):
    """Settings that belong together: one heading of `--help`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
