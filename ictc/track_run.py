"""One track in its run directory: what each step depends on, what remains to do, and what it leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any, Protocol, TypeVar

from ictc.config import ModelSpec, RunSettings, Step
from ictc.engines.provider import EngineProvider
from ictc.errors import ConfigError, StageError
from ictc.records import ClusterDefinition, StageName
from ictc.stages.assign import AssignStage
from ictc.stages.caption import CaptionStage, Decode
from ictc.stages.export import Exports, status_counts
from ictc.stages.histogram import LabelHistogram, build_histogram
from ictc.stages.label import LabelStage
from ictc.stages.results import ResultRow, Results
from ictc.stages.runner import MapRunner, MapStage, StageProgress
from ictc.stages.synthesize import SynthesizeStage
from ictc.storage.journal import Journal
from ictc.storage.keys import StageKey, digest, explain_change
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import Track
from ictc.tracks.base import placeholders

STAGES: tuple[StageName, ...] = ("caption", "label", "synthesize", "assign")
TITLES: dict[StageName, str] = {
    "caption": "Step 1 captions",
    "label": "Step 2a labels",
    "synthesize": "Step 2b clusters",
    "assign": "Step 3 assignments",
}
STEP_OF_STAGE: dict[StageName, Step] = {"caption": "1", "label": "2a", "synthesize": "2b", "assign": "3"}
EXAMPLES_PER_CLUSTER = 3

ItemT = TypeVar("ItemT")


class Reporter(Protocol):
    """Where progress goes; the command line prints it."""

    def note(self, text: str) -> None:
        """Tell one line."""
        ...

    def stage(self, title: str, total: int, done: int) -> AbstractContextManager[StageProgress]:
        """Open the progress of one step; `done` of its `total` images were finished by earlier runs."""
        ...


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster for people: its size and the images that belong to it most surely."""

    definition: ClusterDefinition
    size: int
    examples: list[ResultRow]


@dataclass(frozen=True)
class TrackSummary:
    """What came out of one track.

    Attributes:
        statuses: per step that has run, how many images left it in which way.
    """

    track: str
    criterion: str
    directory: RunDirectory
    num_images: int
    statuses: dict[StageName, dict[str, int]]
    clusters: list[ClusterSummary]


@dataclass
class TrackRun:
    """One track over one manifest, in one run directory."""

    settings: RunSettings
    track: Track
    criterion: str
    directory: RunDirectory
    manifest: Manifest
    reporter: Reporter
    stop: asyncio.Event
    results: Results = field(init=False)
    exports: Exports = field(init=False)

    def __post_init__(self) -> None:
        self.results = Results(self.manifest)
        self.exports = Exports(self.directory.path, self.results)
        self.steps = self.settings.control.chosen_steps(self.settings.input.is_part)

    def close(self) -> None:
        """Close the journals."""
        for journal in self.results.journals.values():
            journal.close()

    # What each step depends on. A change of anything here makes its result stale (D6).

    @property
    def caption_key(self) -> StageKey:
        key = self._key("caption", self._vlm)
        return {**key, "max_image_tokens": self._vlm.max_image_tokens}

    @property
    def label_key(self) -> StageKey:
        return self._key("label", self._llm)

    def synthesize_key(self, histogram: LabelHistogram) -> StageKey:
        clustering = self.settings.clustering
        return {
            **self._key("synthesize", self._llm),
            "num_clusters": clustering.num_clusters,
            "top_hooks": clustering.top_hooks,
            "labels": digest(histogram),
        }

    @property
    def assign_key(self) -> StageKey:
        return {**self._key("assign", self._llm), "clusters": digest(self.results.definitions)}

    def _key(self, stage: StageName, spec: ModelSpec) -> StageKey:
        prompt = self.track.prompts[stage]
        uses_criterion = "criterion" in placeholders(prompt["system"] + prompt["user"])
        return {
            "engine": spec.engine,
            "model": spec.model,
            "dtype": spec.dtype,
            "quantization": spec.quantization,
            "seed": self.settings.control.seed,
            "prompt": digest(prompt),
            "criterion": self.criterion if uses_criterion else None,
        }

    @property
    def _vlm(self) -> ModelSpec:
        return self.settings.engine.model_spec("vlm", self.settings.control.seed)

    @property
    def _llm(self) -> ModelSpec:
        return self.settings.engine.model_spec("llm", self.settings.control.seed)

    # Before anything is loaded

    def check_preconditions(self) -> None:
        """Refuse what cannot work because a step that is not run left no usable result.

        Raises:
            ConfigError: with the step that is missing and why.
        """
        if "1" not in self.steps:
            self._use_earlier("caption", self._caption_stage(None))
            if "2a" not in self.steps:
                self._use_earlier("label", self._label_stage())
                if "2b" not in self.steps:
                    self._use_earlier_definitions()

    def _use_earlier(self, stage_name: StageName, stage: MapStage[Any]) -> None:
        """Use the result of a map stage that is not run, if it covers every image."""
        key = self.directory.current_key(stage_name)
        if key is not None:
            self.results.journals[stage_name] = self.directory.open_journal(stage_name, key)
        missing = self._count_todo(stage, self.results.journals.get(stage_name))
        if missing or key is None:
            step = STEP_OF_STAGE[stage_name]
            raise ConfigError(
                f"--steps {','.join(self.steps)} needs the result of Step {step}, and {self.directory.path} lacks it "
                f"for {missing or self.manifest.num_images:,} images; add {step} to --steps"
            )

    def _use_earlier_definitions(self) -> None:
        """Use the clusters that are there, if Step 2b would make the very same ones (D14)."""
        key = self.directory.current_key("synthesize")
        wanted = self.synthesize_key(self._histogram())
        definitions = None if key is None else self.directory.load_definitions(key)
        if definitions is None or key != wanted:
            why = (
                "there are no clusters yet"
                if definitions is None
                else f"since then: {explain_change(key or {}, wanted)}"
            )
            raise ConfigError(f"--steps 3 can only use the clusters in {self.directory.path}; {why}. Use --steps 2b,3")
        self.results.definitions = definitions

    # The steps

    async def run_captions(self, engines: EngineProvider, decode: Decode, prefetch: int) -> None:
        """Run Step 1."""
        if "1" in self.steps:
            stage = self._caption_stage(decode)
            if await self._run_map(stage, self.caption_key, engines, prefetch):
                self.exports.write_captions(self.settings.input.ads_dir)

    async def run_texts(self, engines: EngineProvider) -> None:
        """Run Steps 2a, 2b and 3."""
        if "2a" in self.steps and await self._run_map(self._label_stage(), self.label_key, engines):
            self.exports.write_labels()
        if self.stop.is_set():
            return
        if "2b" in self.steps:
            await self._run_synthesize(engines)
        if "3" in self.steps and not self.stop.is_set():
            await self._run_assign(engines)

    async def _run_assign(self, engines: EngineProvider) -> None:
        stage = AssignStage(
            self.results.iter_labeled, self.results.definitions, self.track, self.criterion, self.settings.control.seed
        )
        if await self._run_map(stage, self.assign_key, engines):
            self.exports.write_assignments(self._metadata())

    async def _run_synthesize(self, engines: EngineProvider) -> None:
        histogram = self._histogram()
        num_clusters = self.settings.clustering.num_clusters
        if len(histogram.labels) < num_clusters:
            raise StageError(
                f"Step 2b: {len(histogram.labels)} distinct labels can't make {num_clusters} clusters; "
                "lower --num_clusters or add images"
            )
        key = self.synthesize_key(histogram)
        self._start("synthesize", key)
        definitions = self.directory.load_definitions(key)
        if definitions is None:
            self.reporter.note(
                f"{self._title('synthesize')}: {num_clusters} from {histogram.num_distinct:,} labels; the "
                f"{len(histogram.labels)} most frequent ones cover {histogram.coverage:.0%} of the images"
            )
            self.exports.remove(STAGES[STAGES.index("synthesize") :])
            stage = SynthesizeStage(histogram, num_clusters, self.track, self.criterion, self.settings.control.seed)
            definitions = await stage.run(await engines.get("llm"))
            self.directory.save_definitions(key, definitions)
        self.results.definitions = definitions
        self.exports.write_definitions(histogram, self._metadata())

    async def _run_map(self, stage: MapStage[ItemT], key: StageKey, engines: EngineProvider, prefetch: int = 0) -> bool:
        """Finish a map stage; return whether its exports must be written anew."""
        changed = self._start(stage.name, key)
        control, engine_settings = self.settings.control, self.settings.engine
        captions = stage.name == "caption"
        sync_records = control.ckpt_vlm if captions else control.ckpt_llm
        journal = self.directory.open_journal(stage.name, key, sync_records=sync_records)
        self.results.journals[stage.name] = journal
        total = sum(1 for _ in stage.iter_items())
        todo = self._count_todo(stage, journal)
        if todo or changed:
            self.exports.remove(STAGES[STAGES.index(stage.name) :])
        if todo:
            engine = await engines.get("vlm" if captions else "llm")
            window = (engine_settings.batch_vlm if captions else engine_settings.batch_llm) or engine.window
            with self.reporter.stage(self._title(stage.name), total, total - todo) as progress:
                runner = MapRunner(stage, journal, progress, self.stop, min(window, engine.window), prefetch)
                await runner.run(engine)
        else:
            self.reporter.note(f"{self._title(stage.name)}: all {total:,} are up to date")
        if self.stop.is_set():
            return False
        self._check_accounting(stage, journal)
        return not self.exports.are_complete(stage.name)

    def _start(self, stage: StageName, key: StageKey) -> bool:
        """Make `key` the stage's current one; return whether it was another before, after saying why."""
        earlier = self.directory.current_key(stage)
        forced = STEP_OF_STAGE[stage] in self.settings.control.forced_steps
        if earlier is not None and earlier != key:
            self.reporter.note(f"{self._title(stage)}: earlier ones are out of date: {explain_change(earlier, key)}")
        self.directory.start_stage(stage, key, afresh=forced)
        return forced or earlier != key

    def _check_accounting(self, stage: MapStage[Any], journal: Journal) -> None:
        """Check that every image that entered the stage left it (invariant 1).

        Raises:
            StageError: some did not, which is a fault of this program.
        """
        missing = self._count_todo(stage, journal)
        if missing:
            raise StageError(f"{TITLES[stage.name]}: {missing} images are unaccounted for; please report this")

    def _count_todo(self, stage: MapStage[Any], journal: Journal | None) -> int:
        def is_todo(item: Any) -> bool:
            image_id, input_digest = stage.identify(item)
            record = journal.get(image_id) if journal is not None else None
            return record is None or record["input"] != input_digest

        return sum(map(is_todo, stage.iter_items()))

    def _caption_stage(self, decode: Decode | None) -> CaptionStage:
        return CaptionStage(
            self.manifest,
            self.settings.input.ads_dir,
            self.track,
            self.criterion,
            decode,
            self._vlm.max_image_tokens,
            self.settings.control.seed,
        )

    def _label_stage(self) -> LabelStage:
        return LabelStage(self.results.iter_captions, self.track, self.criterion, self.settings.control.seed)

    def _histogram(self) -> LabelHistogram:
        return build_histogram(self.results.count_labels(), self.settings.clustering.top_hooks)

    def _title(self, stage: StageName) -> str:
        several = self.settings.clustering.track is not None and "," in self.settings.clustering.track
        return f"{self.track.name}: {TITLES[stage]}" if several else TITLES[stage]

    def _metadata(self) -> dict[str, Any]:
        """Return what the results were made by."""
        clustering = self.settings.clustering
        return {
            "track": self.track.name,
            "criterion": self.criterion,
            "num_clusters": clustering.num_clusters,
            "top_hooks": clustering.top_hooks,
            "engine": self._vlm.engine,
            "vlm_model": self._vlm.model,
            "llm_model": self._llm.model,
            "max_image_tokens": self._vlm.max_image_tokens,
            "seed": self.settings.control.seed,
            "prompts": digest(self.track.prompts),
        }

    def summary(self) -> TrackSummary:
        """Return what came out."""
        journals = self.results.journals
        return TrackSummary(
            track=self.track.name,
            criterion=self.criterion,
            directory=self.directory,
            num_images=self.manifest.num_images,
            statuses={stage: status_counts(self.results, stage) for stage in journals},
            clusters=self._cluster_summaries() if "assign" in journals else [],
        )

    def _cluster_summaries(self) -> list[ClusterSummary]:
        """Return the clusters, largest first."""
        members: dict[int, list[ResultRow]] = {definition.cluster_id: [] for definition in self.results.definitions}
        sizes = dict.fromkeys(members, 0)
        for row in self.results.iter_rows():
            cluster_id = row.assignment.cluster_id
            sizes[cluster_id] += 1
            members[cluster_id] = surest([*members[cluster_id], row])
        summaries = [
            ClusterSummary(definition, sizes[definition.cluster_id], members[definition.cluster_id])
            for definition in self.results.definitions
        ]
        return sorted(summaries, key=lambda summary: -summary.size)


def surest(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """Return the few rows with the highest confidence."""
    return nlargest(EXAMPLES_PER_CLUSTER, rows, key=lambda row: row.assignment.confidence or 0.0)
