"""`ictc evaluate --judge`: triples of a finished run are drawn, a model is asked for the odd ones, all is written.

What a model answered is kept in the run directory, so a judge that was interrupted goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ictc.config import RunSettings
from ictc.engines.base import ChoiceAnswer, GenerationRequest, Task
from ictc.errors import ConfigError, InvalidAnswer
from ictc.intrusion.drawing import SHUFFLED, Triple, iter_triples, shuffle_clusters
from ictc.pipeline import open_engines
from ictc.records import Caption
from ictc.runs.locking import hold_locks
from ictc.runs.models import find_models
from ictc.runs.opening import make_config
from ictc.runs.reader import open_results
from ictc.runs.reporter import Reporter
from ictc.runs.settings import held_track, load_settings
from ictc.runs.stopping import raise_if_stopped
from ictc.runs.summary import TrackSummary
from ictc.stages.asking import KeptAnswers
from ictc.stages.dialogue import Dialogue, ask_until_valid, hold
from ictc.stages.retry import Attempt
from ictc.steps.caption import CAPTION, caption_of
from ictc.storage.json_files import write_json
from ictc.storage.keys import digest
from ictc.storage.manifest import Manifest, find_manifest
from ictc.storage.rundir import RunDirectory
from ictc.suggesting.progress import telling
from ictc.suggesting.request import NOT_HERE
from ictc.tracks.intruders import LETTERS, describe_for_comparison, parse_intruder, render_intruder

ANSWERS = "judge"
"""Folder of what the model said, below `state/`."""
JUDGE_FOLDER, JUDGE_FILE = "judge", "judge.json"
MAX_TOKENS = 16
TRIPLES = 20


@dataclass(frozen=True, kw_only=True)
class JudgeRequest:
    """What `ictc evaluate --judge` was asked for.

    Attributes:
        directory: with the results of a track.
        output_dir: where the result goes; None for a folder in `directory`.
        level: of nested clusters, the one to judge; None or "all" for each.
        num_triples: of each cluster.
        overrides: settings of models and control by flag that differ from those of the run.
    """

    directory: Path
    output_dir: Path | None = None
    level: str | None = None
    num_triples: int = TRIPLES
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What is to be judged.

    Attributes:
        settings: those of the run, with what was overridden.
        criterion: by which the images were sorted.
        levels: the clusters of each level by name: their names, and the number of each image's, from 0.
    """

    request: JudgeRequest
    run: RunDirectory
    manifest: Manifest
    settings: RunSettings
    criterion: str
    levels: Mapping[str, tuple[list[str], dict[str, int]]]

    @property
    def output(self) -> Path:
        """The file of the result."""
        return (self.request.output_dir or self.run.path / JUDGE_FOLDER) / JUDGE_FILE

    def draw(self) -> list[Triple]:
        """Return the triples of every level, and last those of the finest one shuffled."""
        seed, count = self.settings.control.seed, self.request.num_triples
        triples = [
            triple
            for name, (_, cluster_of) in self.levels.items()
            for triple in iter_triples(cluster_of, level=name, num_triples=count, seed=seed)
        ]
        _, finest = list(self.levels.values())[-1]
        shuffled = shuffle_clusters(finest, seed=seed)
        return [*triples, *iter_triples(shuffled, level=SHUFFLED, num_triples=count, seed=seed)]


def open_judging(request: JudgeRequest) -> Judging:
    """Return what is to be judged; nothing is written or loaded yet.

    Raises:
        ConfigError: there is no finished run with its captions, or clusters overlap.
        StorageError: results are damaged.
    """
    from ictc.analytics.labels import is_all_levels
    from ictc.analytics.results import find_single_results, load_results

    for flag in NOT_HERE:
        if request.overrides.get(flag):
            raise ConfigError(f"--{flag}: there are no such steps or tracks here; leave it out")
    results = load_results(find_single_results(request.directory), ["image_id"])
    results.check_partition()
    run = RunDirectory(results.directory)
    manifest = find_manifest(run.manifest_path)
    if manifest is None:
        raise ConfigError(f"{run.path} has no state/, whose captions are judged; give the --output_dir of a run")
    names = [level.name for level in results.levels]
    wanted = names if request.level is None or is_all_levels(request.level) else [request.level]
    runs = [results.at_level(name) for name in wanted] or [results]
    levels = {
        one.level: (
            [definition.name for definition in one.definitions],
            dict(zip(one.rows["image_id"], one.rows["cluster"].cat.codes.tolist(), strict=True)),
        )
        for one in runs
    }
    if SHUFFLED in levels:
        raise ConfigError(f"{run.path}: a level is called {SHUFFLED!r}, as the baseline is; rename it in the clusters")
    judging = Judging(
        request=request,
        run=run,
        manifest=manifest,
        settings=load_settings(run, **request.overrides),
        criterion=results.criterion,
        levels=levels,
    )
    if not judging.draw():
        raise ConfigError(f"{run.path}: no cluster has two images and another one beside it, so none can be judged")
    return judging


async def judge_clusters(judging: Judging, reporter: Reporter, stop: asyncio.Event) -> list[TrackSummary]:
    """Ask about all triples and write what came of it.

    Raises:
        IctcError: one line for the user.
        Interrupted: `stop` was set; the same command goes on.
    """
    async with hold_locks([judging.run], reporter, stop):
        triples = judging.draw()
        captions = read_captions(judging, {image_id for triple in triples for image_id in triple.images})
        async with open_engines(judging.settings, reporter.note) as executor:
            with KeptAnswers(judging.run.path / "state" / ANSWERS / answers_key(judging)) as kept:
                async with executor.open_asker(reporter.note) as asker:
                    ask = telling(kept.asking(asker), reporter, stop)
                    told = await hold(ask, [ask_odd_one(judging, triple, captions) for triple in triples])
        raise_if_stopped(stop)
        write_json(judging.output, describe_judging(judging, list(zip(triples, told, strict=True))))
    return []


def read_captions(judging: Judging, image_ids: set[str]) -> dict[str, Caption]:
    """Return the captions of some images.

    Raises:
        ConfigError: one is missing.
    """
    with open_results(judging.run, judging.manifest) as results:
        if CAPTION not in results.journals:
            raise ConfigError(f"{judging.run.path}: no captions are there; let Step 1 of that run finish")
        return {image_id: caption_of(results, image_id) for image_id in sorted(image_ids)}


def answers_key(judging: Judging) -> str:
    """Return what tells the answers of one model from those of another."""
    config = make_config(judging.settings, track=held_track(judging.run), criterion="")
    return digest([config.model_key("llm", {}, uses_criterion=False), find_models([config.llm])])


def ask_odd_one(judging: Judging, triple: Triple, captions: Mapping[str, Caption]) -> Dialogue[bool | None]:
    """Come to whether the odd one is told; None if there was no valid answer."""
    shown = [captions[image_id] for image_id in triple.images]
    seed = judging.settings.control.seed

    def build(attempt: Attempt) -> GenerationRequest:
        images = [describe_for_comparison(caption, attempt.text_share) for caption in shown]
        return GenerationRequest(
            triple.name,
            task=Task.INTRUDER,
            messages=render_intruder(images, criterion=judging.criterion),
            answer=ChoiceAnswer(LETTERS),
            sampling=attempt.sampling(max_tokens=MAX_TOKENS, seed=seed),
            inputs={"criterion": judging.criterion, "options": dict(zip(LETTERS, images, strict=True))},
        )

    try:
        chosen = yield from ask_until_valid(build, parse_intruder)
    except InvalidAnswer:
        return None
    return chosen == triple.odd


def describe_judging(judging: Judging, told: Sequence[tuple[Triple, bool | None]]) -> dict[str, Any]:
    """Return what the file says: each level, the worst clusters first, and the baseline."""
    from ictc.intrusion.scoring import score_clusters, score_together

    engine = make_config(judging.settings, track=held_track(judging.run), criterion="").llm
    real = [pair for pair in told if pair[0].level != SHUFFLED]
    levels = []
    for name, (clusters, cluster_of) in judging.levels.items():
        own = [pair for pair in real if pair[0].level == name]
        scored = score_clusters(own, names=clusters, cluster_of=cluster_of)
        levels.append({"level": name, **score_together(own), "clusters": scored})
    return {
        "engine": engine.engine,
        "model": engine.model,
        "criterion": judging.criterion,
        "seed": judging.settings.control.seed,
        "triples": judging.request.num_triples,
        "levels": levels,
        "shuffled": score_together([pair for pair in told if pair[0].level == SHUFFLED]),
        "unanswered": sum(right is None for _, right in told),
    }
