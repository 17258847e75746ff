"""All settings of a run, and what holds between the groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

import yaml
from cyclopts import Group, Parameter
from pydantic import model_validator

from ictc.config.base import SettingsGroup
from ictc.config.engine import EngineSettings
from ictc.config.executor import ExecutorSettings
from ictc.config.groups import (
    STEPS,
    ClusteringSettings,
    ControlSettings,
    InputSettings,
    OutputSettings,
    Step,
    parse_steps,
)
from ictc.secrecy import scrub_url, scrub_values

STEPS_OF_A_SHARD: tuple[Step, ...] = ("1", "2a")


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
    def steps(self) -> tuple[Step, ...]:
        """The steps to run, in order; clusters that are given replace what Step 2b would make, at no cost."""
        given = self.clustering.clusters is not None
        if self.control.steps is None:
            return STEPS_OF_A_SHARD if self.input.is_part and not given else STEPS
        chosen = parse_steps(self.control.steps)
        return tuple(step for step in STEPS if step in chosen or (step == "2b" and given and "3" in chosen))

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
    def check_steps(self) -> Self:
        steps = self.steps
        if not steps:
            raise ValueError("--steps names no step; the steps are " + ", ".join(STEPS))
        self._check_no_gap(steps)
        if self.input.is_part and self.clustering.clusters is None and not set(steps) <= set(STEPS_OF_A_SHARD):
            raise ValueError(
                "Steps 2b and 3 of a part of the collection: clusters made from a part would differ from shard to "
                "shard; run --steps 1,2a here, then ictc merge clusters all shards together, or give --clusters"
            )
        for step in self.control.forced_steps:
            if step not in steps:
                raise ValueError(f"--force_steps {step} is not among the steps to run ({','.join(steps)})")
        return self

    @model_validator(mode="after")
    def check_combined(self) -> Self:
        if self.control.combine_tracks and self.engine.engine == "lite":
            raise ValueError("--combine_tracks: the lite engine reads an image for one track at a time; leave it out")
        return self

    def _check_no_gap(self, steps: tuple[Step, ...]) -> None:
        """Refuse a gap between two chosen steps: the later one reads what the one between makes."""
        for step in STEPS[STEPS.index(steps[0]) : STEPS.index(steps[-1])]:
            if step not in steps:
                raise ValueError(f"--steps {self.control.steps} leaves out {step}, which the later step reads; add it")

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

    def to_yaml(self) -> str:
        """Return the settings as a file for `--config`."""
        return yaml.safe_dump(self.to_flags(), sort_keys=False, allow_unicode=True)
