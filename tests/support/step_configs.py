"""What steps need to know of a run, for tests that need no run."""

from __future__ import annotations

from typing import Literal

from ictc.config import EngineSettings
from ictc.records import ClusterDefinition
from ictc.steps.config import StepConfig
from ictc.tracks import Track, load_track


def make_config(
    track: Track | None = None,
    *,
    num_clusters: int = 5,
    num_labels: int = 60,
    given: tuple[ClusterDefinition, ...] = (),
    combined: str = "",
    dedupe: Literal["off", "exact", "near"] = "exact",
    allow_none: bool = False,
    multi_label: bool = False,
    evidence: bool = False,
) -> StepConfig:
    """Return the configuration of a track of the default models."""
    engine = EngineSettings()
    return StepConfig(
        track=track or load_track("marketing"),
        criterion="Marketing Strategy",
        num_clusters=len(given) or num_clusters,
        num_labels=num_labels,
        vlm=engine.model_spec("vlm", 0),
        llm=engine.model_spec("llm", 0),
        seed=0,
        given=given,
        combined=combined,
        dedupe=dedupe,
        allow_none=allow_none,
        multi_label=multi_label,
        evidence=evidence,
    )
