"""Which steps of the table a command runs, and of which others it takes the results as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ictc.config import ClusteringSettings, ControlSettings
from ictc.config.groups import parse_steps
from ictc.errors import ConfigError
from ictc.steps.base import ReduceStep, Step
from ictc.steps.table import STEPS


def choose_steps(
    control: ControlSettings, clustering: ClusteringSettings, *, is_part: bool, given: bool
) -> tuple[Step, ...]:
    """Return the steps that the settings ask for, in order; what is given takes a step's place at no cost.

    Args:
        is_part: whether the images are a part of a collection.
        given: whether the clusters are given.

    Raises:
        ConfigError: there is no such step, or one between two others is missing, or a part can't do it.
    """
    if control.steps is None:
        wanted = find_wanted(clustering)
        steps = tuple(step for step in wanted if not is_part or step.is_of_a_part(clustering, given=given))
    else:
        named = find_by_numbers(parse_steps(control.steps), flag=f"--steps {control.steps}")
        _check_wanted(named, clustering, flag=f"--steps {control.steps}")
        steps = tuple(step for step in STEPS if step in named or (given and _is_given_to(step, named)))
    if not steps:
        raise ConfigError(f"--steps names no step; the steps are {name_numbers(STEPS)}")
    _check_no_gap(steps, asked=control.steps or name_numbers(steps))
    if is_part:
        _check_part(steps, clustering, given=given)
    for step in find_by_numbers(control.forced_steps, flag=f"--force_steps {control.force_steps}"):
        if step not in steps:
            raise ConfigError(f"--force_steps {step.number} is not among the steps to run ({name_numbers(steps)})")
    return steps


def find_wanted(settings: object) -> tuple[Step, ...]:
    """Return the steps that settings ask for, of a command or of steps, where `--steps` names none."""
    return tuple(step for step in STEPS if step.is_wanted(settings))


def find_by_numbers(numbers: Iterable[str], *, flag: str) -> tuple[Step, ...]:
    """Return the steps of these numbers.

    Args:
        flag: where they stand, with its value.

    Raises:
        ConfigError: there is no such step.
    """
    by_number = {step.number: step for step in STEPS}
    for number in numbers:
        if number not in by_number:
            raise ConfigError(f"{flag}: no step {number!r}; the steps are {name_numbers(STEPS)}")
    return tuple(by_number[number] for number in numbers)


def name_numbers(steps: Iterable[Step]) -> str:
    """Return the numbers of steps as `--steps` takes them."""
    return ",".join(step.number for step in steps)


def find_needed(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return all steps whose results these rest on, in order, without these themselves."""
    chosen = set(steps)
    needed: set[Step] = set()
    waiting = list(chosen)
    while waiting:
        fresh = [need for need in waiting.pop().needs if need not in needed]
        needed.update(fresh)
        waiting += fresh
    return tuple(step for step in STEPS if step in needed - chosen)


def _is_given_to(step: Step, named: Sequence[Step]) -> bool:
    return isinstance(step, ReduceStep) and step.takes_given and any(step in other.needs for other in named)


def _check_no_gap(steps: tuple[Step, ...], *, asked: str) -> None:
    """Refuse to take over the result of a step that reads what is made anew.

    Args:
        asked: the steps as the user named them, those that are given not among them.
    """
    for step in find_needed(steps):
        if any(need in steps for need in (*step.needs, *find_needed([step]))):
            raise ConfigError(f"--steps {asked} leaves out {step.number}, which the later step reads; add it")


def _check_wanted(named: Iterable[Step], clustering: ClusteringSettings, *, flag: str) -> None:
    """Refuse a step whose own setting is off: what comes before it may depend on that, too."""
    for step in named:
        if not step.is_wanted(clustering):
            raise ConfigError(f"{flag}: Step {step.number} is for --{step.flag}; add that")


def _check_part(steps: Sequence[Step], clustering: ClusteringSettings, *, given: bool) -> None:
    """Refuse what only the whole collection can be asked for."""
    if all(step.is_of_a_part(clustering, given=given) for step in steps):
        return
    of_the_whole = " and ".join(step.number for step in STEPS if not step.is_of_a_part(clustering, given=given))
    raise ConfigError(
        f"Steps {of_the_whole} of a part of the collection: clusters made from a part would differ from shard to "
        f"shard; run --steps {name_numbers(step for step in STEPS if step.of_a_part)} here, then ictc merge clusters "
        "all shards together, or give --clusters"
    )
