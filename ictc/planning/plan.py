"""A finished plan: what was looked at, what it costs by the roofline, and what was measured. Prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ictc.planning.estimate import Estimate, Scenario
from ictc.planning.levers import Lever
from ictc.planning.roofline import REALISTIC_SHARE
from ictc.records import StageName
from ictc.tracks.context import ContextNeed


@dataclass(frozen=True, slots=True)
class Pace:
    """What one step was measured to do.

    Attributes:
        num_requests: how many were timed.
        per_second: of them.
        tokens: of one, prompt and answer together; None where the engine doesn't tell.
    """

    num_requests: int
    per_second: float
    tokens: float | None


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """Whether the clusters and the labels that they are made from fit into the context of the model.

    Attributes:
        num_labels: most labels that Step 2b will read.
        need: what the text steps take of the context, of the track that takes most.
        context: tokens that the model will have for them, None where the engine has its own context.
        problem: why they do not fit and what to change, "" if they do.
    """

    num_clusters: int
    num_labels: int
    need: ContextNeed
    context: int | None
    problem: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run would cost.

    Attributes:
        place: where the images are, for people.
        token_source: how text tokens were counted.
        measured: by step, None where nothing was measured.
        left_out: what lies among the images and is none, for people.
        clusters: None where no clusters are made.
    """

    place: str
    scenario: Scenario
    token_source: str
    estimate: Estimate
    levers: Sequence[Lever]
    measured: Mapping[StageName, Pace] | None = None
    left_out: str = ""
    clusters: ClusterPlan | None = None

    def hours(self, stage: StageName) -> float | None:
        """Return the hours of a step, as measured or else at a realistic share of the peak; None if neither tells."""
        pace = (self.measured or {}).get(stage)
        if pace is not None:
            return self.scenario.num_requests(stage) * self._share_reached(pace) / pace.per_second / 3600
        step = next((step for step in self.estimate.steps if step.stage == stage), None)
        return None if step is None else step.duration.seconds(REALISTIC_SHARE) / 3600

    @property
    def total_hours(self) -> float | None:
        """Hours of all steps of which something is known; None if nothing is."""
        known = [hours for stage in self.scenario.stages if (hours := self.hours(stage)) is not None]
        return sum(known) if known else None

    def _share_reached(self, pace: Pace) -> float:
        """Return the share of the images that came as far as a step; screens of pure interface leave after Step 1."""
        captions = (self.measured or {}).get("caption")
        return 1.0 if captions is None else pace.num_requests / captions.num_requests

    def lever_hours(self, lever: Lever) -> float:
        """Return the hours of a changed run, in proportion to what was measured."""
        base = self.estimate.hours
        return lever.hours * (self.total_hours or base) / base if base else lever.hours

    def cost(self, hours: float, price_per_hour: float | None, num_gpus: int | None = None) -> float | None:
        """Return what so many hours cost, None without a price."""
        return None if price_per_hour is None else hours * price_per_hour * (num_gpus or self.estimate.num_gpus)
