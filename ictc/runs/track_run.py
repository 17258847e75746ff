"""One track in its run directory: what remains to do in each step, and what the steps leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ictc.config import ControlSettings, EngineSettings
from ictc.engines.base import GenerationRequest, GenerationResult
from ictc.errors import StageError
from ictc.executors.base import Executor
from ictc.runs.inferring import PartlyAskedWork, run_partly_asked
from ictc.runs.manifests import ManifestKeeper
from ictc.runs.map_step import MapWork, run_map_steps, survey_step, tolerance_of
from ictc.runs.models import note_models
from ictc.runs.reporter import Reporter
from ictc.runs.stopping import raise_if_stopped
from ictc.runs.summary import TrackSummary, summarize
from ictc.stages.asking import KeptAnswers
from ictc.stages.brake import tally
from ictc.stages.outcome import Status
from ictc.stages.survey import Survey
from ictc.stages.work import AskAll, ImageReader, ReduceTask
from ictc.steps.base import MapStep, ReduceStep, Step, View
from ictc.steps.config import StepConfig
from ictc.steps.exports import Exports
from ictc.steps.results import Results
from ictc.steps.table import STEPS
from ictc.storage.journal import Journal
from ictc.storage.keys import StageKey, explain_change
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory

ANSWERS = "answers"
"""Folder of what a reduce step was answered, while it has no result."""
NUM_REMEMBERED = 200
"""Images that could be read before, of which the reader keeps one a server."""


@dataclass(kw_only=True)
class TrackRun:
    """One track over one manifest, in one run directory.

    Attributes:
        steps: what to run.
        flags: the settings of the command by flag, for those who go on with its results.
        models: what the models are, by name, as far as that can be told.
        title_prefix: tells its steps from those of other tracks.
        wants_report: whether a page about the results is to be written.
        origin: for `run.json`: where results that this run did not make come from.
        before_change: called before the first change to what an earlier run left.
        keeper: what keeps the manifest true, where the run lists the images itself.
        surveys: how much of a step is done, where that was found out before anything ran.
        explained: steps of which the user knows why their earlier results are out of date.
    """

    config: StepConfig
    control: ControlSettings
    engine: EngineSettings
    steps: tuple[Step, ...]
    directory: RunDirectory
    manifest: Manifest
    reporter: Reporter
    stop: asyncio.Event
    flags: Mapping[str, Any]
    models: Mapping[str, str] = field(default_factory=dict)
    title_prefix: str = ""
    wants_report: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)
    before_change: Callable[[], None] | None = None
    keeper: ManifestKeeper | None = None
    surveys: dict[Step, Survey] = field(default_factory=dict)
    explained: set[Step] = field(default_factory=set)
    results: Results = field(init=False)
    exports: Exports = field(init=False)

    def __post_init__(self) -> None:
        self.results = Results(self.manifest)
        self.exports = Exports(self.directory.path, self.results)

    def close(self) -> None:
        """Close the journals."""
        self.results.close()

    def summary(self) -> TrackSummary:
        """Return what came out."""
        return summarize(
            track=self.config.track.name,
            criterion=self.config.criterion,
            directory=self.directory.path,
            results=self.results,
            wants_report=self.wants_report,
        )

    async def run_texts(self, executor: Executor) -> None:
        """Run the steps that read no images; of those that are not asked for, write what is missing of their files."""
        for step in STEPS:
            if isinstance(step, MapStep) and step.reads_images:
                continue
            if not step.is_wanted(self.config) and not self.stop.is_set():
                self._retire(step)
            if step in self.steps and not self.stop.is_set():
                await self._run_text(step, executor)
            self.finish(step)

    async def _run_text(self, step: Step, executor: Executor) -> None:
        if isinstance(step, MapStep):
            await self._run_map(step, executor)
            if not self.stop.is_set() and (remark := step.remark(self.results)):
                self.reporter.note(f"{self.title(step)}: {remark}")
        elif isinstance(step, ReduceStep):
            await self._run_reduce(step, executor)

    async def _run_map(self, step: MapStep[Any], executor: Executor) -> None:
        work, key = self.prepare(step), self.key(step)
        partly_asked = step.partly_asked(key, self.results, work.stage)
        if partly_asked is None:
            await run_map_steps([work], executor, self.control, self.stop)
            return
        todo = PartlyAskedWork(
            work=work,
            partly_asked=partly_asked,
            open_answers=partial(
                self.directory.open_journal,
                step.name,
                partly_asked.key_of_answers,
                sync_records=self._sync_records(step),
            ),
            is_afresh=self.is_forced(step, key),
        )
        await run_partly_asked(todo, executor, self.control, self.stop)

    def _sync_records(self, step: MapStep[Any]) -> int:
        return self.control.ckpt_vlm if step.role == "vlm" else self.control.ckpt_llm

    def prepare(self, step: MapStep[Any], reader: ImageReader | None = None) -> MapWork[Any]:
        """Return what is to do of a map step; nothing on the disk has changed yet."""
        key = self.key(step)
        self._explain_change(step, key)
        surveyed = self.surveys.pop(step, None) or self.survey(step, key)
        if reader is not None and surveyed.done:
            reader.remember(islice(self.results.iter_images(step, Status.DONE), NUM_REMEMBERED))
        return MapWork(
            step=step,
            stage=step.stage(self.config, self.results, reader),
            compares_looks=step.compares_looks(key),
            title=self.title(step),
            surveyed=surveyed,
            reporter=self.reporter,
            exports=self.exports,
            begin=partial(self._begin, step, key, changes=surveyed.todo > 0),
        )

    async def _run_reduce(self, step: ReduceStep[Any], executor: Executor) -> None:
        key = self.key(step)
        self._explain_change(step, key)
        result = None if self.is_forced(step, key) else self.load(step, key)
        work = step.begin(self.config, self.results) if result is None else result
        if isinstance(work, ReduceTask):
            await executor.prepare(step.role)
            if self.stop.is_set():
                return
        self._begin(step, key, changes=result is None)
        if result is None:
            folder = self.directory.result_path(step.name, key)
            if isinstance(work, ReduceTask):
                result = await self._reduce(step, work, executor, folder)
            else:
                step.save(folder, result := work)
        self.results.reduced[step] = result
        self.exports.write(step, self.view())

    async def _reduce(self, step: ReduceStep[Any], task: ReduceTask[Any], executor: Executor, folder: Path) -> Any:
        """Return what a task comes to, keep it in a folder, and tell of it.

        Raises:
            StageError: it comes to nothing; the answers that led there are forgotten, so that others may be had.
        """
        if task.announcement:
            self.reporter.note(f"{self.title(step)}: {task.announcement}")
        with KeptAnswers(folder / ANSWERS) as answers:
            async with executor.open_asker(self.reporter.note) as ask:
                try:
                    result = await task.run(answers.asking(self._unless_stopped(ask)))
                except StageError:
                    answers.forget()
                    raise
            step.save(folder, result)
            answers.forget()
        if remark := task.remark(result):
            self.reporter.note(f"{self.title(step)}: {remark}")
        return result

    def _unless_stopped(self, ask: AskAll) -> AskAll:
        """Return what asks likewise, and raises `Interrupted` once a stop was asked for."""

        async def ask_unless_stopped(requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
            raise_if_stopped(self.stop)
            return await ask(requests)

        return ask_unless_stopped

    def finish(self, step: Step) -> None:
        """Write the files of a step if they are missing, and judge what came of it if it was run.

        Raises:
            StageError: too many images are bad, or none is left for the steps to come.
        """
        if self.stop.is_set():
            return
        if self.results.has(step) and not self.exports.are_complete(step):
            self.exports.write(step, self.view())
        if isinstance(step, MapStep) and step in self.steps:
            self._judge(step)

    def _judge(self, step: MapStep[Any]) -> None:
        """Fail for a step of which too little came.

        Raises:
            StageError: with the most frequent reason, and the remedy.
        """
        results, control = self.results, self.control
        image_ids = results.image_ids if step.follows is None else results.iter_ids(step.follows, Status.DONE)
        counted = tally(results.journals[step], image_ids)
        tolerance = tolerance_of(control, self.directory.path)
        counted.check(self.title(step), tolerance)
        is_needed = any(step in other.must_have(self.config) for other in self.steps)
        if is_needed and counted.statuses:
            counted.check_any(self.title(step), tolerance)

    def survey(self, step: MapStep[Any], key: StageKey) -> Survey:
        """Return how much of a map step is done under `key`; nothing, if it is to start afresh."""
        journal = None if self.is_forced(step, key) else self.open_journal(step, key)
        stage = step.stage(self.config, self.results, None)
        return survey_step(step, key, stage, self.results, journal=journal, retry_rejected=self.control.retry_rejected)

    def _explain_change(self, step: Step, key: StageKey) -> None:
        earlier = self.directory.current_key(step.name)
        if earlier is not None and earlier != key and step not in self.explained:
            self.reporter.note(f"{self.title(step)}: earlier ones are out of date: {explain_change(earlier, key)}")

    def _begin(self, step: Step, key: StageKey, *, changes: bool) -> None:
        """Make `key` the step's current one; from here on it writes.

        Args:
            changes: whether its result is going to change, though the key may be the same.
        """
        forced = self.is_forced(step, key)
        if changes or forced or self.directory.current_key(step.name) != key:
            if self.before_change is not None:
                self.before_change()
            self._remove_exports(step)  # before the key changes, or a crash would leave them under the new one
        if isinstance(step, MapStep) and forced and step in self.results.journals:
            self.results.journals.pop(step).close()
        note_models(self.directory, self.models)
        if isinstance(step, MapStep) and forced and (partly := step.partly_asked(key, self.results, None)):
            self.directory.forget_result(step.name, partly.key_of_answers)
        self.directory.start_stage(step.name, key, afresh=forced)
        if isinstance(step, MapStep):
            self.open_journal(step, key)

    def _remove_exports(self, step: Step) -> None:
        """Delete what a step and those after it exported, and write those files anew that it completed."""
        self.exports.remove_from(step)
        if step.completes is not None and not self.exports.are_complete(step.completes):
            self.exports.write(step.completes, self.view())

    def _retire(self, step: Step) -> None:
        """Use the result of a step no more that is not wanted, where what it completes is run; it stays where it is."""
        if step.completes not in self.steps or self.directory.current_key(step.name) is None:
            return
        if self.before_change is not None:
            self.before_change()
        self.reporter.note(f"{self.title(step)}: left out, without --{step.flag}; with it they are there again")
        self._remove_exports(step)
        self.directory.retire_stage(step.name)

    def key(self, step: Step) -> StageKey:
        """Return what the result of a step depends on now."""
        return step.key(self.config, self.results)

    def load(self, step: ReduceStep[Any], key: StageKey) -> Any | None:
        """Return the result of a reduce step under a key, None if there is none."""
        return step.load(self.directory.result_path(step.name, key))

    def view(self) -> View:
        """Return what files are exported from."""
        keys = {step: self.directory.current_key(step.name) for step in STEPS}
        return View(results=self.results, keys={step: key for step, key in keys.items() if key}, said=self._metadata())

    def _metadata(self) -> dict[str, Any]:
        """Return for people what the results were made by, and whether something is missing or was imported."""
        missing, imported = (self.manifest.key.get(name) for name in ("missing", "imported"))
        return {
            **self.config.metadata,
            **({"partial": {"missing_images": missing}} if missing else {}),
            **({"imported": imported} if imported else {}),
        }

    def is_forced(self, step: Step, key: StageKey) -> bool:
        """Whether a step starts afresh whatever it has; the command that resumes one that did goes on with it."""
        return step.number in self.control.forced_steps and not self.directory.was_forced(step.name, key)

    def open_journal(self, step: MapStep[Any], key: StageKey) -> Journal:
        """Return the journal of a map step under `key`, and use it from now on."""
        held = self.results.journals.get(step)
        if held is not None and held.directory == self.directory.result_path(step.name, key):
            return held
        if held is not None:
            held.close()
        journal = self.directory.open_journal(step.name, key, sync_records=self._sync_records(step))
        self.results.journals[step] = journal
        if journal.num_damaged:
            self.reporter.note(f"{self.title(step)}: {journal.num_damaged} damaged records are made again")
        return journal

    def title(self, step: Step) -> str:
        """Return the name of a step, for people."""
        return self.title_prefix + step.title
