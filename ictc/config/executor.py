"""Where a run computes: on this machine, or on a Ray cluster."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ictc.config.base import SettingsGroup


class ExecutorSettings(SettingsGroup):
    """Where the steps run."""

    executor: Literal["local", "ray"] = Field(
        "local", description="local: on this machine; ray: over a Ray cluster, with --replicas engines at most."
    )
    ray_address: str | None = Field(
        None,
        min_length=1,
        description="With --executor ray: auto, the cluster that this machine belongs to; local, one of this machine "
        "alone, started for the run; or host:port. Unset: auto.",
    )

    @model_validator(mode="after")
    def check_address(self) -> Self:
        if self.ray_address is not None and self.executor != "ray":
            raise ValueError("--ray_address belongs to --executor ray; add that or leave it out")
        if self.ray_address is not None and "://" in self.ray_address:
            raise ValueError(
                "--ray_address takes no URL: run ictc on a node of the cluster, such as its head, "
                "with auto or host:port"
            )
        return self
