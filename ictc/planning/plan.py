"""A finished plan: what was looked at, what it costs by the roofline, and what was measured. Prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ictc.planning.estimate import Estimate, Scenario, StepEstimate
from ictc.planning.levers import Lever
from ictc.planning.roofline import REALISTIC_SHARE
from ictc.steps.base import Step
from ictc.tracks.context import ContextNeed


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """Whether the clusters and the labels that they are made from fit into the context of the model.

    Attributes:
        levels: numbers of clusters, the coarsest level first, () if they are not nested.
        num_labels: most labels that Step 2b will read.
        need: what the text steps take of the context, of the track that takes most.
        context: tokens that the model will have for them, None where the engine has its own context.
        problem: why they do not fit and what to change, "" if they do.
    """

    num_clusters: int
    levels: Sequence[int]
    num_labels: int
    need: ContextNeed
    context: int | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would cost.

    Attributes:
        place: where the images are, for people.
        token_source: how text tokens were counted.
        measured: by the name of a step, None where nothing was measured.
        left_out: what lies among the images and is none, for people.
        clusters: None where no clusters are made.
    """

    place: str
    scenario: Scenario
    token_source: str
    estimate: Estimate
    levers: Sequence[Lever]
    measured: Mapping[str, Pace] | None = None
    left_out: str = ""
    clusters: ClusterPlan | None = None

    def hours(self, step: Step) -> float | None:
        """Return the hours of a step, as measured or else at a realistic share of the peak; None if neither tells."""
        pace = (self.measured or {}).get(step.name)
        if pace is not None:
            return self.scenario.num_requests(step) * self._share_reached(pace) / pace.per_second / 3600
        estimated = self.estimate_of(step)
        return None if estimated is None else estimated.duration.seconds(REALISTIC_SHARE) / 3600

    def estimate_of(self, step: Step) -> StepEstimate | None:
        """Return what a step is reckoned to cost, None if that is unknown."""
        return next((one for one in self.estimate.steps if one.step is step), None)

    @property
    def total_hours(self) -> float | None:
        """Hours of all steps of which something is known; None if nothing is."""
        known = [hours for step in self.scenario.steps if (hours := self.hours(step)) is not None]
        return sum(known) if known else None

    def _share_reached(self, pace: Pace) -> float:
        """Return the share of the images that came as far as a step; screens of pure interface leave after Step 1."""
        first = next(iter((self.measured or {}).values()), None)
        return 1.0 if first is None else pace.num_requests / first.num_requests

    def lever_hours(self, lever: Lever) -> float:
        """Return the hours of a changed run, in proportion to what was measured."""
        base = self.estimate.hours
        return lever.hours * (self.total_hours or base) / base if base else lever.hours

    def cost(self, hours: float, *, price_per_hour: float | None, num_gpus: int | None = None) -> float | None:
        """Return what so many hours cost, None without a price."""
        return None if price_per_hour is None else hours * price_per_hour * (num_gpus or self.estimate.num_gpus)
