"""One track in its run directory: what remains to do in each step, and what the steps leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ictc.config import RunSettings, Step
from ictc.errors import StageError
from ictc.executors.base import Executor
from ictc.records import ClusterDefinition, ImageRecord, StageName
from ictc.runs.keys import RunKeys
from ictc.runs.manifests import ManifestKeeper
from ictc.runs.map_step import MapStep, run_map_steps
from ictc.runs.models import find_models, load_models, note_models
from ictc.runs.reporter import TITLES, Reporter
from ictc.runs.summary import TrackSummary, summarize
from ictc.stages.assign import AssignStage
from ictc.stages.brake import Tolerance, tally
from ictc.stages.caption import CaptionStage, ImageReader
from ictc.stages.export import Exports
from ictc.stages.histogram import LabelHistogram, build_histogram
from ictc.stages.label import LabelStage
from ictc.stages.outcome import Status
from ictc.stages.results import Results
from ictc.stages.survey import Survey, survey
from ictc.stages.synthesize import Synthesis, SynthesizeStage
from ictc.stages.work import ItemT, MapStage
from ictc.storage.journal import Journal
from ictc.storage.keys import StageKey, explain_change
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import Track

STAGES: tuple[StageName, ...] = ("caption", "label", "synthesize", "assign")
NUM_REMEMBERED = 200
"""Images that could be read before, of which the reader keeps one a server."""

STEP_OF_STAGE: dict[StageName, Step] = {"caption": "1", "label": "2a", "synthesize": "2b", "assign": "3"}


@dataclass
class TrackRun:
    """One track over one manifest, in one run directory.

    Attributes:
        given: clusters that Step 2b takes instead of making its own, () if there are none.
        combined: digest of the one request that captions are asked by for several tracks, "" if each has its own.
        steps: what to run; by default what the settings say.
        origin: for `run.json`: where results that this run did not make come from.
        before_change: called before the first change to what an earlier run left.
        keeper: what keeps the manifest true, where the run lists the images itself.
        models: what the models are, by name, as far as that can be told.
        surveys: how much of a step is done, where that was found out before anything ran.
        explained: steps of which the user knows why their earlier results are out of date.
    """

    settings: RunSettings
    track: Track
    criterion: str
    directory: RunDirectory
    manifest: Manifest
    reporter: Reporter
    stop: asyncio.Event
    title_prefix: str = ""
    given: tuple[ClusterDefinition, ...] = ()
    combined: str = ""
    steps: tuple[Step, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    results: Results = field(init=False)
    exports: Exports = field(init=False)
    keys: RunKeys = field(init=False)
    models: Mapping[str, str] = field(init=False)
    before_change: Callable[[], None] | None = None
    keeper: ManifestKeeper | None = None
    surveys: dict[StageName, Survey] = field(default_factory=dict)
    explained: set[StageName] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.results = Results(self.manifest)
        self.exports = Exports(self.directory.path, self.results)
        control, engine = self.settings.control, self.settings.engine
        self.models = find_models([engine.model_spec("vlm", control.seed), engine.model_spec("llm", control.seed)])
        noted = load_models(self.directory)
        changed = {name: now for name, now in self.models.items() if noted.get(name, now) != now}
        self.keys = RunKeys(self.settings, self.track, self.criterion, self.given, self.combined, changed)
        self.steps = self.steps or self.settings.steps

    def close(self) -> None:
        """Close the journals."""
        for journal in self.results.journals.values():
            journal.close()

    def summary(self) -> TrackSummary:
        """Return what came out."""
        return summarize(
            self.track.name,
            self.criterion,
            self.directory.path,
            self.results,
            wants_report=self.settings.wants_report,
        )

    def prepare_captions(self, reader: ImageReader) -> MapStep[ImageRecord] | None:
        """Return Step 1 if it is asked for."""
        if "1" not in self.steps:
            return None
        step = self._prepare(self.caption_stage(reader), self.keys.caption())
        if step.surveyed.done:
            reader.remember(islice(self.results.iter_images(Status.DONE), NUM_REMEMBERED))
        return step

    def export_captions(self) -> None:
        """Write what Step 1 leaves behind.

        Raises:
            StageError: too many images are bad, or none is left for the steps to come.
        """
        if not self.exports.are_complete("caption"):
            self.exports.write_captions(self.settings.input.ads_dir)
        if "1" in self.steps:
            self._judge("caption")

    def export_earlier(self) -> None:
        """Write the exports of Steps 1 and 2a from results that were made elsewhere."""
        if not self.exports.are_complete("caption"):
            self.exports.write_captions(Path(self.manifest.key["ads_dir"]))
        if not self.exports.are_complete("label"):
            self.exports.write_labels()

    async def run_texts(self, executor: Executor) -> None:
        """Run Steps 2a, 2b and 3; of those that are not asked for, write what they left behind if it is missing."""
        if "2a" in self.steps:
            await self._run_map(self.label_stage(), self.keys.label(), executor)
        self._export("label", self.exports.write_labels)
        if "2a" in self.steps:
            self._judge("label")
        if "2b" in self.steps and not self.stop.is_set():
            await self._run_synthesize(executor)
        elif self.results.definitions and not self.exports.are_complete("synthesize"):
            self.exports.write_definitions(self.histogram(), self.metadata())
        if "3" in self.steps and not self.stop.is_set():
            await self._run_map(self.assign_stage(), self.keys.assign(self.results.definitions), executor)
            self._export("assign", lambda: self.exports.write_assignments(self.metadata()))
            self._judge("assign")

    def _judge(self, stage: StageName) -> None:
        """Fail for a step of which too little came.

        Raises:
            StageError: with the most frequent reason, and the remedy.
        """
        if self.stop.is_set():
            return
        results, control = self.results, self.settings.control
        image_ids = results.image_ids if stage == "caption" else results.iter_ids("caption", Status.DONE)
        counted = tally(results.journals[stage], image_ids)
        tolerance = Tolerance(control.max_rejected, control.max_broken, self.directory.path)
        counted.check(self.title(stage), tolerance)
        if self._needs_any_of(stage) and counted.statuses:
            counted.check_any(self.title(stage), tolerance)

    def _needs_any_of(self, stage: StageName) -> bool:
        """Whether there is no sense in going on, or no success, if no image has left a step as it should."""
        match stage:
            case "caption":
                return "2b" in self.steps or ("3" in self.steps and not self.settings.input.is_part)
            case "label":
                return "2b" in self.steps and not self.given
        return True

    def _export(self, stage: StageName, write: Callable[[], None]) -> None:
        if stage in self.results.journals and not self.stop.is_set() and not self.exports.are_complete(stage):
            write()

    async def _run_synthesize(self, executor: Executor) -> None:
        histogram = self.histogram()
        key = self.keys.synthesize(histogram)
        self._explain_change("synthesize", key)
        definitions = None if self.is_forced("synthesize", key) else self.directory.load_definitions(key)
        if definitions is None and not self.given:
            self._check_labels(histogram)
            await executor.prepare("llm")
            if self.stop.is_set():
                return
        self._begin("synthesize", key, changes=definitions is None)
        if definitions is None:
            made = Synthesis(self.given, 0) if self.given else await self._synthesize(histogram, executor)
            definitions, is_cut = made.definitions, made.num_labels < len(histogram.labels)
            self.directory.save_definitions(key, definitions, labels_read=made.num_labels if is_cut else None)
        self.results.definitions = definitions
        self.exports.write_definitions(histogram.head(self.directory.load_labels_read(key)), self.metadata())

    def _check_labels(self, histogram: LabelHistogram) -> None:
        """Refuse to make more clusters than there are labels."""
        num_clusters = self.keys.num_clusters
        if len(histogram.labels) < num_clusters:
            raise StageError(
                f"Step 2b: {len(histogram.labels)} distinct labels can't make {num_clusters} clusters; "
                "lower --num_clusters or add images"
            )

    async def _synthesize(self, histogram: LabelHistogram, executor: Executor) -> Synthesis:
        """Ask for the clusters, and tell what they were made from."""
        num_clusters = self.keys.num_clusters
        self.reporter.note(
            f"{self.title('synthesize')}: {num_clusters} from {histogram.num_distinct:,} labels; the "
            f"{len(histogram.labels)} most frequent ones cover {histogram.coverage:.0%} of the images"
        )
        stage = SynthesizeStage(histogram, num_clusters, self.track, self.criterion, self.settings.control.seed)
        made = await executor.synthesize(stage, self.reporter.note)
        if made.num_labels < len(histogram.labels):
            read = histogram.head(made.num_labels)
            self.reporter.note(
                f"{self.title('synthesize')}: the context had room for {made.num_labels} of these labels, which cover "
                f"{read.coverage:.0%} of the images; a longer --max_model_len with --force_steps 2b,3 reads more"
            )
        return made

    async def _run_map(self, stage: MapStage[ItemT], key: StageKey, executor: Executor) -> None:
        """Finish a map step of the text model."""
        await run_map_steps([self._prepare(stage, key)], executor, self.settings, self.stop)

    def _prepare(self, stage: MapStage[ItemT], key: StageKey) -> MapStep[ItemT]:
        """Return a map step with what it has done under this key; nothing on the disk has changed yet."""
        self._explain_change(stage.name, key)
        surveyed = self.surveys.pop(stage.name, None) or self.survey(stage, key)
        begin = partial(self._begin, stage.name, key, changes=surveyed.todo > 0)
        return MapStep(stage, self.title(stage.name), surveyed, self.reporter, self.exports, begin)

    def survey(self, stage: MapStage[Any], key: StageKey) -> Survey:
        """Return how much of a map step is done under `key`; nothing, if it is to start afresh."""
        journal = None if self.is_forced(stage.name, key) else self.open_journal(stage.name, key)
        return survey(
            stage, journal, retry_rejected=self.settings.control.retry_rejected, near=self.compares_looks(stage.name)
        )

    def compares_looks(self, stage: StageName) -> bool:
        """Whether images get the outcome of one that looks like them."""
        return stage == "caption" and self.settings.control.dedupe == "near"

    def _explain_change(self, stage: StageName, key: StageKey) -> None:
        earlier = self.directory.current_key(stage)
        if earlier is not None and earlier != key and stage not in self.explained:
            self.reporter.note(f"{self.title(stage)}: earlier ones are out of date: {explain_change(earlier, key)}")

    def _begin(self, stage: StageName, key: StageKey, *, changes: bool = False) -> None:
        """Make `key` the stage's current one; from here on it writes.

        Args:
            changes: whether its result is going to change, though the key may be the same.
        """
        forced = self.is_forced(stage, key)
        if changes or forced or self.directory.current_key(stage) != key:
            if self.before_change is not None:
                self.before_change()
            self.exports.remove_from(stage)  # before the key changes, or a crash would leave them under the new one
        if forced and stage in self.results.journals:
            self.results.journals.pop(stage).close()
        note_models(self.directory, self.models)
        self.directory.start_stage(stage, key, afresh=forced)
        if stage != "synthesize":
            self.open_journal(stage, key)

    def metadata(self) -> dict[str, Any]:
        """Return for people what the results were made by, and whether something is missing."""
        missing = self.manifest.key.get("missing")
        return {**self.keys.metadata(), **({"partial": {"missing_images": missing}} if missing else {})}

    def is_forced(self, stage: StageName, key: StageKey) -> bool:
        """Whether a step starts afresh whatever it has; the command that resumes one that did goes on with it."""
        asked = STEP_OF_STAGE[stage] in self.settings.control.forced_steps
        return asked and not self.directory.was_forced(stage, key)

    def open_journal(self, stage: StageName, key: StageKey) -> Journal:
        """Return the journal of a map stage under `key`, and use it from now on."""
        held = self.results.journals.get(stage)
        if held is not None and held.directory == self.directory.result_path(stage, key):
            return held
        if held is not None:
            held.close()
        control = self.settings.control
        sync_records = control.ckpt_vlm if stage == "caption" else control.ckpt_llm
        journal = self.directory.open_journal(stage, key, sync_records=sync_records)
        self.results.journals[stage] = journal
        if journal.num_damaged:
            self.reporter.note(f"{self.title(stage)}: {journal.num_damaged} damaged records are made again")
        return journal

    def map_stage(self, stage: StageName) -> MapStage[Any]:
        """Return a map step over what is there, to be surveyed."""
        match stage:
            case "caption":
                return self.caption_stage()
            case "label":
                return self.label_stage()
            case "assign":
                return self.assign_stage()
        raise ValueError(f"{stage} is no map step")

    def caption_stage(self, reader: ImageReader | None = None) -> CaptionStage:
        """Return Step 1; without `reader` it can only be surveyed."""
        return CaptionStage(
            self.manifest,
            self.track,
            self.criterion,
            reader,
            self.keys.vlm.max_image_tokens,
            self.settings.control.seed,
        )

    def label_stage(self) -> LabelStage:
        """Return Step 2a over the captions that are there."""
        return LabelStage(self.results.iter_captions, self.track, self.criterion, self.settings.control.seed)

    def assign_stage(self) -> AssignStage:
        """Return Step 3 over the captions, labels and clusters that are there."""
        results, seed = self.results, self.settings.control.seed
        return AssignStage(results.iter_labeled_captions, results.definitions, self.track, self.criterion, seed)

    def histogram(self) -> LabelHistogram:
        """Return what Step 2b reads of the labels that are there."""
        clustering, seed = self.settings.clustering, self.settings.control.seed
        return build_histogram(self.results.count_labels(), clustering.num_labels, seed)

    def title(self, stage: StageName) -> str:
        """Return the name of a step, for people."""
        return self.title_prefix + TITLES[stage]
