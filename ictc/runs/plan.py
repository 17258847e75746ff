"""What a run is about to do, found out before anything is loaded: what is there, what is stale, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ictc.errors import ConfigError
from ictc.runs.context import check_room
from ictc.runs.map_step import survey_step
from ictc.runs.progress import load_work
from ictc.runs.reporter import StepPlan
from ictc.runs.track_run import TrackRun
from ictc.stages.survey import Survey
from ictc.steps.base import MapStep, ReduceStep, Step
from ictc.steps.choice import find_needed, name_numbers
from ictc.storage.keys import StageKey, digest, explain_change


def check_preconditions(run: TrackRun) -> None:
    """Refuse what cannot work, and use the results of steps that are needed and not run.

    Raises:
        ConfigError: the context has no room for K clusters, there are too few images for them, or a step that is
            not run left no usable result.
    """
    check_room(run)
    for step in run.steps:
        if problem := step.explain_too_few(run.config, run.manifest.num_images):
            raise ConfigError(problem)
    for step in find_needed(run.steps):
        if isinstance(step, MapStep):
            _use_earlier(run, step)
        elif isinstance(step, ReduceStep):
            _use_earlier_whole(run, step)


def _use_earlier(run: TrackRun, step: MapStep[Any]) -> None:
    """Use the result of a map step that is not run, if it covers every image."""
    key = run.directory.current_key(step.name)
    stage = step.stage(run.config, run.results, None)
    missing = 0
    if key is not None:
        missing = survey_step(step, key, stage, run.results, journal=run.open_journal(step, key)).todo
    if missing or key is None:
        raise ConfigError(
            f"--steps {name_numbers(run.steps)} needs the result of Step {step.number}, and {run.directory.path} "
            f"lacks it for {missing or run.manifest.num_images:,} images; add {step.number} to --steps"
        )


def _use_earlier_whole(run: TrackRun, step: ReduceStep[Any]) -> None:
    """Use the result of a reduce step that is not run, if that would make the very same one (D14)."""
    key = run.directory.current_key(step.name)
    result = None if key is None else run.load(step, key)
    wanted = run.key(step)
    if result is None or key != wanted:
        why = "there is none yet" if result is None else f"now: {explain_change(key or {}, wanted)}"
        numbers = name_numbers(run.steps)
        raise ConfigError(
            f"--steps {numbers} can only use the result of Step {step.number} in {run.directory.path}; {why}. "
            f"Use --steps {step.number},{numbers}"
        )
    run.results.reduced[step] = result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forecast:
    """What one step will do.

    Attributes:
        todo: None if a step before decides that.
        redone: share of its earlier results that will be made again, in [0, 1].
    """

    done: int
    todo: int | None
    redone: float = 0.0
    reason: str = ""


def plan_steps(run: TrackRun) -> list[StepPlan]:
    """Return what each step will do; journals that are in use are opened on the way and stay open."""
    work = load_work(run.directory.path)
    forecasts: list[_Forecast] = []
    plans = []
    for step in run.steps:
        earlier = run.directory.current_key(step.name)
        forecast = _forecast(run, step, earlier, forecasts)
        forecasts.append(forecast)
        if forecast.reason:
            run.explained.add(step)
        plans.append(
            StepPlan(
                title=run.title(step),
                done=forecast.done,
                todo=forecast.todo,
                reason=forecast.reason,
                redo_s=forecast.redone * work.get(digest(earlier), 0.0),
            )
        )
    return plans


def _forecast(run: TrackRun, step: Step, earlier: StageKey | None, before: Sequence[_Forecast]) -> _Forecast:
    awaited = any(forecast.todo != 0 for forecast in before)
    if awaited and step.key_reads_results:
        redone, reason = _explain_follower(earlier, earlier, 1.0)
        return _Forecast(done=0, todo=None, redone=redone, reason=reason)
    key = run.key(step)
    surveyed = _survey(run, step, key)
    if awaited:
        redone, reason = _explain_follower(earlier, key, max(forecast.redone for forecast in before))
        return _Forecast(done=surveyed.done, todo=None, redone=redone, reason=reason)
    run.surveys[step] = surveyed
    redone, reason = _explain(run, step, earlier, key, surveyed)
    return _Forecast(done=surveyed.done, todo=surveyed.todo, redone=redone, reason=reason)


def _survey(run: TrackRun, step: Step, key: StageKey) -> Survey:
    """Return how much of a step is done under `key`; nothing, if it is to start afresh."""
    if isinstance(step, MapStep):
        return run.survey(step, key)
    assert isinstance(step, ReduceStep)
    result = None if run.is_forced(step, key) else run.load(step, key)
    run.results.reduced.pop(step, None)
    if result is not None:
        run.results.reduced[step] = result
    return Survey(total=step.size(key), todo=step.size(key) - step.count(result))


def _explain_follower(earlier: StageKey | None, key: StageKey | None, redone_before: float) -> tuple[float, str]:
    """Return the share of earlier results that is made again, and why, where a step before is not done yet."""
    if earlier is None:
        return 0.0, ""
    if earlier != key:
        return 1.0, explain_change(earlier, key or {})
    return redone_before, "follows the step before" if redone_before else ""


def _explain(run: TrackRun, step: Step, earlier: StageKey | None, key: StageKey, surveyed: Survey) -> tuple[float, str]:
    """Return the share of a step's earlier results that is made again, and why."""
    if earlier is None or not surveyed.todo:
        return 0.0, ""
    share = surveyed.todo / surveyed.total
    if run.is_forced(step, key):
        return share, "--force_steps"
    if earlier != key:
        return share, explain_change(earlier, key)
    if not surveyed.stale:
        return 0.0, ""
    why = "to be retried or of other input" if run.control.retry_rejected else "of other input"
    return surveyed.stale / surveyed.total, f"{surveyed.stale:,} {why}"
