"""`ictc plan`: what a run would cost, before any GPU-hour is spent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number
from pydantic import Field

from ictc.cli.calibration import measure
from ictc.cli.plan_tables import plan_as_json, plan_as_text
from ictc.config import EngineSettings, OutputSettings, RunSettings
from ictc.errors import ConfigError
from ictc.pipeline import choose_criterion, choose_tracks, load_given_clusters
from ictc.planning.estimate import Scenario, estimate
from ictc.planning.gpus import find_gpu
from ictc.planning.levers import find_levers
from ictc.planning.plan import ClusterPlan, Plan
from ictc.planning.prompts import count_text_tokens, load_token_counter
from ictc.planning.source import list_source
from ictc.runs.context import check_context, count_need, size_context
from ictc.runs.discovery import FoundImages
from ictc.runs.opening import make_config
from ictc.runs.settings import steps_of
from ictc.runs.shards import resolve_shard, shard_range
from ictc.steps.base import ReduceStep, Step
from ictc.steps.config import StepConfig
from ictc.tracks import Track

PLANNING = Group("Planning", sort_key=0)


class UnusedOutput(OutputSettings):
    """Where the results of the run will go; a plan writes nothing there."""

    output_dir: Path = Field(Path("out"), description="As for ictc run; a plan writes nothing there.")


class PlanSettings(RunSettings):
    """All settings of `ictc run`, so that its command can be planned as it is."""

    output: Annotated[UnusedOutput, Parameter(name="*", group=Group("Results", sort_key=2))] = UnusedOutput()


def plan(
    *,
    settings: Annotated[PlanSettings, Parameter(name="*")],
    gpu: Annotated[str, Parameter(group=PLANNING)] = "h100",
    price_per_hour: Annotated[float | None, Parameter(group=PLANNING, validator=Number(gt=0))] = None,
    sample: Annotated[int, Parameter(group=PLANNING, validator=Number(gte=1))] = 200,
    calibrate: Annotated[int, Parameter(group=PLANNING, validator=Number(gte=0))] = 0,
    json: Annotated[bool, Parameter(group=PLANNING)] = False,
    config: Annotated[Path | None, Parameter(group=Group("Control", sort_key=5))] = None,
) -> None:
    """Tell what a run would cost: images, copies, tokens, memory, hours, money, and what would make it cheaper.

    Takes every flag of ictc run. Reads the headers of a sample of the images; needs no GPU, and computes the time from
    the limits of the GPU named. Examples:

    ictc plan --ads_dir ads --gpu h100 --price_per_hour 2.50

    ictc plan --ads_dir ads --vlm_model Qwen/Qwen3.5-9B --gpu a100-40 --num_clusters 8

    ictc plan --ads_dir ads --vlm_model Qwen/Qwen3.5-9B --calibrate 500

    Args:
        gpu: The GPU to plan for, such as h100, h200, b200, a100-80, a100-40, l40s, l4, a10 or rtx4090.
        price_per_hour: What an hour of one such GPU costs, in any currency.
        sample: How many images to look at.
        calibrate: Caption so many images of the sample with the engine of the settings, on this machine, and go by
            the speed that this had.
        json: Print one JSON object instead of tables.
        config: YAML file with any of these flags; the command line wins.
    """
    resolved = resolve_shard(settings, os.environ)
    made = asyncio.run(make_plan(resolved, gpu, num_sampled=max(sample, calibrate), calibrate=calibrate))
    print(plan_as_json(made, price_per_hour) if json else "\n".join(plan_as_text(made, price_per_hour)))


async def make_plan(settings: RunSettings, gpu: str, *, num_sampled: int, calibrate: int) -> Plan:
    """Look at the collection, estimate, and measure if asked.

    Raises:
        IctcError: one line for the user.
        Interrupted: a signal came while measuring.
    """
    gpu_model = find_gpu(gpu)
    steps = steps_of(settings)
    given = load_given_clusters(settings.clustering)
    configs = [
        make_config(settings, track=track, criterion=criterion, given=given)
        for track, criterion in choose_criteria(settings)
    ]
    counter = load_token_counter(settings.engine.vlm_model)
    tokens = count_text_tokens(configs, counter)
    measured = None
    async with FoundImages(settings.input).open() as files:
        source = list_source(settings.input, files)
        start, end = shard_range(settings.input, len(source.collection))
        sample = await source.look(start=start, end=end, num_sampled=num_sampled, seed=settings.control.seed)
        if calibrate:
            names = ",".join(config.track.source or config.track.name for config in configs)
            measured = await measure(settings, names, source, sample.readable[:calibrate])
    clusters = plan_clusters(settings.engine, steps, configs, sample.num_images)
    scenario = Scenario(
        engine=size_context(settings.engine, [clusters.need] if clusters else []),
        gpu=gpu_model,
        sample=sample,
        tokens=tokens,
        steps=tuple(step for step in steps if not (given and isinstance(step, ReduceStep) and step.takes_given)),
        num_tracks=len(configs),
        dedupe=settings.control.dedupe != "off",
        shares=expect_shares(steps, configs[0], sample.num_images),
    )
    levers = find_levers(scenario)
    place = settings.input.source
    return Plan(
        place=place,
        scenario=scenario,
        token_source=counter.source,
        estimate=estimate(scenario),
        levers=levers,
        measured=measured,
        left_out=source.left_out,
        clusters=clusters,
    )


def expect_shares(steps: Sequence[Step], config: StepConfig, num_images: int) -> dict[str, float]:
    """Return the share of the images that each step is expected to ask about, of those that infer some."""
    shares = {step.name: step.expected_share(config, num_images) for step in steps}
    return {name: share for name, share in shares.items() if share < 1}


def plan_clusters(
    engine: EngineSettings, steps: Sequence[Step], configs: Sequence[StepConfig], num_images: int
) -> ClusterPlan | None:
    """Return whether K, the labels and the context go together, None if the run makes no clusters.

    Args:
        configs: of the tracks.
    """
    needs = [need for config in configs if (need := count_need(steps, config, num_images)) is not None]
    if not needs:
        return None
    need = max(needs, key=lambda one: (one.least, one.ample))
    config, problem = configs[0], ""
    try:
        check_context(engine, steps, need)
    except ConfigError as error:
        problem = str(error)
    problem = next((few for step in steps if (few := step.explain_too_few(config, num_images))), problem)
    sized = size_context(engine, [need])
    return ClusterPlan(
        num_clusters=config.num_clusters,
        levels=[level.num_clusters for level in config.levels],
        num_labels=min(config.num_labels, num_images),
        need=need,
        context=sized.context_length("llm") if sized.engine == "vllm" else None,
        problem=problem,
    )


def choose_criteria(settings: RunSettings) -> Sequence[tuple[Track, str]]:
    """Return each track of the run with what it clusters by.

    Raises:
        ConfigError: there is no such track, or it needs a criterion.
    """
    tracks = choose_tracks(settings.clustering, settings.output.output_dir / (settings.output.shard_id or ""))
    return [(track, choose_criterion(track, settings.clustering)) for track in tracks]
