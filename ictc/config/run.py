"""All settings of a run, and what holds between the groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from cyclopts import Group, Parameter
from pydantic import model_validator

from ictc.config.base import SettingsGroup
from ictc.config.engine import EngineSettings
from ictc.config.executor import ExecutorSettings
from ictc.config.groups import (
    ClusteringSettings,
    ControlSettings,
    InputSettings,
    OutputSettings,
)
from ictc.secrecy import scrub_url, scrub_values


def _flat(title: str, position: float) -> Parameter:
    return Parameter(name="*", group=Group(title, sort_key=position))


GROUPS: dict[str, type[SettingsGroup]] = {
    "input": InputSettings,
    "output": OutputSettings,
    "clustering": ClusteringSettings,
    "engine": EngineSettings,
    "executor": ExecutorSettings,
    "control": ControlSettings,
}
"""The groups of `RunSettings`."""


class RunSettings(SettingsGroup):
    """All settings of `ictc run`."""

    input: Annotated[InputSettings, _flat("Images", 1)]
    output: Annotated[OutputSettings, _flat("Results", 2)]
    clustering: Annotated[ClusteringSettings, _flat("Clusters", 3)] = ClusteringSettings()
    engine: Annotated[EngineSettings, _flat("Models", 4)] = EngineSettings()
    executor: Annotated[ExecutorSettings, _flat("Machines", 4.5)] = ExecutorSettings()
    control: Annotated[ControlSettings, _flat("Control", 5)] = ControlSettings()

    @property
    def wants_report(self) -> bool:
        """Whether a page about the results is to be written."""
        wanted = self.output.report
        return wanted == "on" or (wanted == "auto" and self.engine.engine != "scripted")

    @model_validator(mode="after")
    def check_executor(self) -> Self:
        if self.executor.executor == "ray" and self.engine.named_gpus:
            raise ValueError("--gpu_ids and --gpu_id name GPUs of this machine, and --executor ray chooses them itself")
        return self

    @model_validator(mode="after")
    def check_combined(self) -> Self:
        if self.control.combine_tracks and self.engine.engine == "lite":
            raise ValueError("--combine_tracks: the lite engine reads an image for one track at a time; leave it out")
        return self

    def to_flags(self) -> dict[str, Any]:
        """Return every setting under the name of its flag, those that are unset left out; no file keeps a secret."""
        groups = self.model_dump(mode="json", exclude_none=True).values()
        flags = {name: value for group in groups for name, value in group.items()}
        if self.clustering.clusters is not None:
            del flags["num_clusters"]  # the file says it
        flags |= {"engine_options": scrub_values(flags["engine_options"])}
        if "base_url" in flags:
            flags["base_url"] = scrub_url(flags["base_url"])
        return flags

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> Self:
        """Return the settings that `to_flags` gave.

        Raises:
            pydantic.ValidationError: a value is out of its range, or a flag is unknown.
        """
        groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
        for flag, value in flags.items():
            home = next((name for name, group in GROUPS.items() if flag in group.model_fields), "control")
            groups[home][flag] = value
        return cls.model_validate(groups)
