"""What a run is about to do, found out before anything is loaded: what is there, what is stale, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ictc.errors import ConfigError
from ictc.records import StageName
from ictc.runs.context import check_room
from ictc.runs.progress import load_work
from ictc.runs.reporter import StepPlan
from ictc.runs.track_run import STAGES, STEP_OF_STAGE, TrackRun
from ictc.stages.survey import Survey, survey
from ictc.stages.work import MapStage
from ictc.storage.keys import StageKey, digest, explain_change


def check_preconditions(run: TrackRun) -> None:
    """Refuse what cannot work, and use the results of steps that are not run.

    Raises:
        ConfigError: the context has no room for K clusters, or a step that is not run left no usable result.
    """
    check_room(run)
    if "1" not in run.steps:
        _use_earlier(run, run.caption_stage())
        if "2a" not in run.steps:
            _use_earlier(run, run.label_stage())
            if "2b" not in run.steps:
                _use_earlier_definitions(run)


def _use_earlier(run: TrackRun, stage: MapStage[Any]) -> None:
    """Use the result of a map stage that is not run, if it covers every image."""
    key = run.directory.current_key(stage.name)
    journal = None if key is None else run.open_journal(stage.name, key)
    missing = survey(stage, journal, near=key is not None and key.get("dedupe") == "near").todo
    if missing or key is None:
        step = STEP_OF_STAGE[stage.name]
        raise ConfigError(
            f"--steps {','.join(run.steps)} needs the result of Step {step}, and {run.directory.path} lacks it "
            f"for {missing or run.manifest.num_images:,} images; add {step} to --steps"
        )


def _use_earlier_definitions(run: TrackRun) -> None:
    """Use the clusters that are there, if Step 2b would make the very same ones (D14)."""
    key = run.directory.current_key("synthesize")
    definitions = None if key is None else run.directory.load_definitions(key)
    wanted = run.keys.synthesize(run.histogram())
    if definitions is None or key != wanted:
        why = "there are no clusters yet" if definitions is None else f"now: {explain_change(key or {}, wanted)}"
        raise ConfigError(f"--steps 3 can only use the clusters in {run.directory.path}; {why}. Use --steps 2b,3")
    run.results.definitions = definitions


@dataclass(frozen=True, slots=True)
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
    for stage in (stage for stage in STAGES if STEP_OF_STAGE[stage] in run.steps):
        earlier = run.directory.current_key(stage)
        forecast = _forecast(run, stage, earlier, forecasts)
        forecasts.append(forecast)
        if forecast.reason:
            run.explained.add(stage)
        redo_s = forecast.redone * work.get(digest(earlier), 0.0)
        plans.append(StepPlan(run.title(stage), forecast.done, forecast.todo, forecast.reason, redo_s))
    return plans


def _forecast(run: TrackRun, stage: StageName, earlier: StageKey | None, before: Sequence[_Forecast]) -> _Forecast:
    awaited = any(forecast.todo != 0 for forecast in before)
    if awaited and stage in ("synthesize", "assign"):
        return _Forecast(0, None, *_explain_follower(earlier, earlier, 1.0))
    key = _key_of(run, stage)
    surveyed = _survey(run, stage, key)
    if awaited:
        redone_before = max(forecast.redone for forecast in before)
        return _Forecast(surveyed.done, None, *_explain_follower(earlier, key, redone_before))
    run.surveys[stage] = surveyed
    return _Forecast(surveyed.done, surveyed.todo, *_explain(run, stage, earlier, key, surveyed))


def _key_of(run: TrackRun, stage: StageName) -> StageKey:
    match stage:
        case "caption":
            return run.keys.caption()
        case "label":
            return run.keys.label()
        case "synthesize":
            return run.keys.synthesize(run.histogram())
        case "assign":
            return run.keys.assign(run.results.definitions)


def _survey(run: TrackRun, stage: StageName, key: StageKey) -> Survey:
    """Return how much of a step is done under `key`; nothing, if it is to start afresh."""
    if stage == "synthesize":
        forced = run.is_forced(stage, key)
        run.results.definitions = (not forced and run.directory.load_definitions(key)) or ()
        num_clusters = run.keys.num_clusters
        return Survey(num_clusters, num_clusters - len(run.results.definitions))
    return run.survey(run.map_stage(stage), key)


def _explain_follower(earlier: StageKey | None, key: StageKey | None, redone_before: float) -> tuple[float, str]:
    """Return the share of earlier results that is made again, and why, where a step before is not done yet."""
    if earlier is None:
        return 0.0, ""
    if earlier != key:
        return 1.0, explain_change(earlier, key or {})
    return redone_before, "follows the step before" if redone_before else ""


def _explain(
    run: TrackRun, stage: StageName, earlier: StageKey | None, key: StageKey, surveyed: Survey
) -> tuple[float, str]:
    """Return the share of a step's earlier results that is made again, and why."""
    if earlier is None or not surveyed.todo:
        return 0.0, ""
    share = surveyed.todo / surveyed.total
    if run.is_forced(stage, key):
        return share, "--force_steps"
    if earlier != key:
        return share, explain_change(earlier, key)
    if not surveyed.stale:
        return 0.0, ""
    why = "to be retried or of other input" if run.settings.control.retry_rejected else "of other input"
    return surveyed.stale / surveyed.total, f"{surveyed.stale:,} {why}"
