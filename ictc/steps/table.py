"""The table of steps, in the order in which they run. To add a step, write its module and add its row."""

from __future__ import annotations

from ictc.steps.assign import ASSIGN
from ictc.steps.base import Step
from ictc.steps.caption import CAPTION
from ictc.steps.evidence import EVIDENCE
from ictc.steps.label import LABEL
from ictc.steps.synthesize import SYNTHESIZE

STEPS: list[Step] = [CAPTION, LABEL, SYNTHESIZE, ASSIGN, EVIDENCE]
"""Each after those that it needs."""


def find_step(name: str) -> Step:
    """Return the step of that name.

    Raises:
        LookupError: there is none.
    """
    for step in STEPS:
        if step.name == name:
            return step
    raise LookupError(f"no step {name!r}")


def steps_from(step: Step) -> tuple[Step, ...]:
    """Return a step and those after it."""
    return tuple(STEPS[STEPS.index(step) :])
