"""Whether K clusters and the labels that Step 2b reads fit into the context, told before a model loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ictc.config import EngineSettings, RunSettings, Step
from ictc.config.engine import Role
from ictc.errors import ConfigError
from ictc.runs.track_run import TrackRun
from ictc.tracks.context import ContextNeed, count_context

CONTEXT_STEP = 1024
"""A context that is chosen here is a multiple of so many tokens."""
MAX_CHOSEN_CONTEXT = 32_768
"""What the models of today take without being asked to stretch; for more the user must say so."""


def check_room(run: TrackRun) -> None:
    """Refuse a K, or a number of labels, that the context has no room for.

    Raises:
        ConfigError: with the numbers and what to change.
    """
    if need := count_need(run):
        check_context(run.settings.engine, run.steps, need)


def count_need(run: TrackRun) -> ContextNeed | None:
    """Return what Steps 2b and 3 of a run need of the context; None if neither is run."""
    if not {"2b", "3"} & set(run.steps):
        return None
    num_labels = min(run.settings.clustering.num_labels, run.manifest.num_images)
    return count_context(
        run.track, run.criterion, num_clusters=run.keys.num_clusters, num_labels=num_labels, given=run.given
    )


def check_context(engine: EngineSettings, steps: Sequence[Step], need: ContextNeed) -> None:
    """Refuse a context length that Steps 2b and 3 don't fit into; other engines than vLLM have their own.

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


def _roles_of_texts(engine: EngineSettings, steps: Sequence[Step]) -> list[Role]:
    """Return the roles whose models may be asked for the text steps; in unified mode the one that has made captions."""
    return ["vlm", "llm"] if engine.is_unified and "1" in steps else ["llm"]


def settings_with_context(runs: Sequence[TrackRun]) -> RunSettings:
    """Return the settings of `runs` with a context in which the text steps of all of them fit."""
    needs = [need for run in runs if (need := count_need(run))]
    return runs[0].settings.model_copy(update={"engine": size_context(runs[0].settings.engine, needs)})


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
