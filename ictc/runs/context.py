"""Whether K clusters and the labels that they are made from fit into the context, told before a model loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ictc.config import EngineSettings
from ictc.config.engine import Role
from ictc.errors import ConfigError
from ictc.runs.track_run import TrackRun
from ictc.steps.base import MapStep, Step
from ictc.steps.config import StepConfig
from ictc.tracks.context import ContextNeed

CONTEXT_STEP = 1024
"""A context that is chosen here is a multiple of so many tokens."""
MAX_CHOSEN_CONTEXT = 32_768
"""What the models of today take without being asked to stretch; for more the user must say so."""


def check_room(run: TrackRun) -> None:
    """Refuse a K, or a number of labels, that the context has no room for.

    Raises:
        ConfigError: with the numbers and what to change.
    """
    if need := need_of_run(run):
        check_context(run.engine, run.steps, need)


def need_of_run(run: TrackRun) -> ContextNeed | None:
    """Return what the steps of a run need of the context, None if any will do."""
    return count_need(run.steps, run.config, run.manifest.num_images)


def count_need(steps: Iterable[Step], config: StepConfig, num_images: int) -> ContextNeed | None:
    """Return what the step that takes most of the context needs of it; None if any will do."""
    num_labels = min(config.num_labels, num_images)
    counted = (step.count_context(config, num_labels) for step in steps)
    needs = [need for need in counted if need is not None]
    return max(needs, key=lambda need: (need.least, need.ample), default=None)


def check_context(engine: EngineSettings, steps: Sequence[Step], need: ContextNeed) -> None:
    """Refuse a context length that a step does not fit into; other engines than vLLM have their own.

    Raises:
        ConfigError: with the numbers and what to change.
    """
    if engine.engine != "vllm":
        return
    for role in _roles_of_texts(engine, steps):
        given = engine.given_context(role)
        flag, length = given or (f"--{role}_max_model_len", max(engine.context_length(role), MAX_CHOSEN_CONTEXT))
        if length < need.least:
            raise ConfigError(
                f"Step {need.step} takes at least {need.least:,} tokens of context, and "
                f"{f'{flag} is' if given else 'without being told no more is chosen than'} {length:,}: set {flag} to "
                f"{round_up(need.ample)}, or lower --num_clusters or --top_hooks"
            )


def _roles_of_texts(engine: EngineSettings, steps: Iterable[Step]) -> list[Role]:
    """Return the roles whose models may be asked about texts; in unified mode the one that has looked at images."""
    sees_images = any(isinstance(step, MapStep) and step.reads_images for step in steps)
    return ["vlm", "llm"] if engine.is_unified and sees_images else ["llm"]


def settings_with_context(engine: EngineSettings, runs: Iterable[TrackRun]) -> EngineSettings:
    """Return `engine` with a context in which the steps of all runs fit, where the user leaves that open."""
    return size_context(engine, [need for run in runs if (need := need_of_run(run))])


def size_context(engine: EngineSettings, needs: Iterable[ContextNeed]) -> EngineSettings:
    """Return `engine` with room for `needs` where the user leaves the context length open."""
    tokens = max((round_up(need.ample) for need in needs), default=0)
    return engine.with_context(min(tokens, MAX_CHOSEN_CONTEXT))


def round_up(num_tokens: int) -> int:
    """Return the context length to choose for so many tokens.

    >>> round_up(4097)
    5120
    """
    return -(-num_tokens // CONTEXT_STEP) * CONTEXT_STEP
