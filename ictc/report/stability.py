"""The curve from which Step 2b chose the number of clusters, as a drawing of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 520.0, 180.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 14.0, 34.0


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One number of clusters.

    Attributes:
        x, y: where it is drawn, from the upper left corner.
        low, high: ends of its bar, a standard error to both sides.
    """

    num_clusters: int
    stability: float
    is_chosen: bool
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class StabilityCurve:
    """How far sets of so many clusters agree, drawn to scale.

    Attributes:
        ticks: values of stability with their heights.
        description: the same in words.
    """

    points: Sequence[CurvePoint]
    ticks: Sequence[tuple[str, float]]
    description: str
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def line(self) -> str:
        """The points as SVG writes them."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


def draw_stability(synthesis: Mapping[str, Any], num_clusters: int) -> StabilityCurve | None:
    """Return the curve of `step2b_metadata.json`, None if the number of clusters was given.

    Args:
        num_clusters: that was chosen.
    """
    try:
        rows = [
            (int(row["num_clusters"]), float(row["stability"]), float(row["error"])) for row in synthesis["stability"]
        ]
    except (KeyError, TypeError, ValueError):  # it was given, or an earlier or a foreign file says something else
        return None
    if not rows:
        return None
    top = max(0.1, *(stability + error for _, stability, error in rows))
    bottom = min(0.0, *(stability - error for _, stability, error in rows))
    step = (WIDTH - LEFT - RIGHT) / max(len(rows) - 1, 1)

    def height(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - value) / (top - bottom)

    points = [
        CurvePoint(
            num_clusters=number,
            stability=stability,
            is_chosen=number == num_clusters,
            x=LEFT + place * step,
            y=height(stability),
            low=height(stability - error),
            high=height(stability + error),
        )
        for place, (number, stability, error) in enumerate(rows)
    ]
    said = ", ".join(f"{number}: {stability:.2f}" for number, stability, _ in rows)
    return StabilityCurve(
        points=points,
        ticks=[(f"{value:.2f}", height(value)) for value in (0.0, top / 2, top)],
        description=f"How far sets of so many clusters agree beyond chance: {said}. Chosen: {num_clusters}.",
    )
