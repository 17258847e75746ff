"""`ictc suggest`: a sample is captioned, criteria are proposed and tried out on it, and all of it is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ictc.executors.base import Executor
from ictc.pipeline import finish_runs, open_engines, run_over_images
from ictc.records import Caption
from ictc.runs.adoption import adopt_manifest
from ictc.runs.locking import hold_locks
from ictc.runs.models import find_models
from ictc.runs.opening import open_track
from ictc.runs.reporter import Reporter
from ictc.runs.stopping import raise_if_stopped
from ictc.runs.summary import TrackSummary
from ictc.stages.asking import KeptAnswers
from ictc.stages.dialogue import hold
from ictc.steps.caption import CAPTION
from ictc.storage.json_files import write_json
from ictc.storage.keys import digest
from ictc.suggesting.measuring import Suggestion, rank
from ictc.suggesting.progress import telling
from ictc.suggesting.proposing import CriteriaWanted
from ictc.suggesting.request import ANY_ASPECT, SAMPLED_FROM, Source, check_size
from ictc.suggesting.sample import captions_of, draw_captions, draw_images
from ictc.suggesting.trials import Trials

SUGGESTIONS_FILE = "suggestions.json"
ANSWERS = "suggest"
"""Folder of what the models said, below `state/`."""


async def suggest_criteria(source: Source, reporter: Reporter, stop: asyncio.Event) -> list[TrackSummary]:
    """Write the suggestions for a source into its output directory; nothing is clustered.

    Raises:
        IctcError: one line for the user.
        Interrupted: `stop` was set; the same command goes on.
    """
    async with hold_locks([source.target], reporter, stop):
        if source.run is None:
            await _suggest_for_images(source, reporter, stop)
        else:
            await _suggest_for_run(source, reporter, stop)
    return []


async def _suggest_for_run(source: Source, reporter: Reporter, stop: asyncio.Event) -> None:
    assert source.run is not None
    captions = draw_captions(source.run, num_images=source.request.options.num_images, seed=source.seed)
    reporter.note(f"{len(captions):,} captions of {source.run.path}")
    async with open_engines(source.sized, reporter.note) as executor:
        await _try_out(source, captions, executor, reporter, stop)


async def _suggest_for_images(source: Source, reporter: Reporter, stop: asyncio.Event) -> None:
    chosen, num_images = source.settings.input, source.request.options.num_images
    reporter.note(f"Step 0: drawing {num_images:,} images of {chosen.source}")
    drawn = await asyncio.to_thread(draw_images, chosen, num_images=num_images, seed=source.seed)
    run = open_track(
        source.settings,
        track=source.track,
        criterion=ANY_ASPECT,
        directory=source.target,
        manifest=adopt_manifest(source.target, drawn.key, lambda: drawn.images, dict),
        reporter=reporter,
        stop=stop,
        steps=(CAPTION,),
        origin={SAMPLED_FROM: chosen.source},
    )

    async def work() -> None:
        async with open_engines(source.sized, reporter.note) as executor:
            await run_over_images([run], executor, stop)
            captions = captions_of(run.results, num_images=num_images, seed=source.seed)
            await _try_out(source, captions, executor, reporter, stop)

    await finish_runs([run], work)


async def _try_out(
    source: Source, captions: Sequence[Caption], executor: Executor, reporter: Reporter, stop: asyncio.Event
) -> None:
    """Propose criteria for some captions, try them out, and write down what came of it."""
    request, num_values = source.request, source.request.options.num_clusters
    check_size(f"{len(captions):,} images with a caption", len(captions), num_values=num_values)
    folder = source.target.path / "state" / ANSWERS / answers_key(source)
    with KeptAnswers(folder) as kept:
        async with executor.open_asker(reporter.note) as asker:
            ask = telling(kept.asking(asker), reporter, stop)
            wanted = CriteriaWanted(captions=captions, max_criteria=request.options.max_criteria, seed=source.seed)
            [criteria] = await hold(ask, [wanted.propose()])
            trials = Trials(captions=captions, track=source.track, num_values=num_values, seed=source.seed)
            tried = await trials.try_all(ask, criteria)
    raise_if_stopped(stop)
    suggestions = rank(tried, num_images=len(captions), num_values=num_values)
    write_json(source.target.path / SUGGESTIONS_FILE, describe(source, suggestions, num_images=len(captions)))


def answers_key(source: Source) -> str:
    """Return what tells the answers of one model from those of another."""
    spec = source.config.llm
    return digest([source.config.model_key("llm", {}, uses_criterion=False), find_models([spec])])


def describe(source: Source, suggestions: Sequence[Suggestion], *, num_images: int) -> dict[str, Any]:
    """Return what the file of suggestions says."""
    return {
        "source": source.settings.input.source if source.run is None else str(source.run.path),
        "images": num_images,
        "num_clusters": source.request.options.num_clusters,
        "engine": source.config.llm.engine,
        "model": source.config.llm.model,
        "seed": source.seed,
        "criteria": [{**asdict(one), "command": source.command_for(one.criterion)} for one in suggestions],
    }
