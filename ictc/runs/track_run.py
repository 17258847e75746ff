"""One track in its run directory: what remains to do in each step, and what the steps leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from ictc.config import RunSettings, Step
from ictc.engines.base import Engine
from ictc.engines.provider import EngineProvider, Role
from ictc.errors import ConfigError, EngineDeadError, StageError
from ictc.records import ClusterDefinition, StageName
from ictc.runs.keys import RunKeys
from ictc.runs.summary import TrackSummary, summarize
from ictc.stages.assign import AssignStage
from ictc.stages.caption import CaptionStage, Decode
from ictc.stages.export import Exports
from ictc.stages.histogram import LabelHistogram, build_histogram
from ictc.stages.label import LabelStage
from ictc.stages.outcome import is_up_to_date
from ictc.stages.results import Results
from ictc.stages.runner import Limits, MapRunner, MapStage, StageProgress
from ictc.stages.supervisor import run_supervised
from ictc.stages.suspects import Suspects
from ictc.stages.synthesize import SynthesizeStage
from ictc.storage.journal import Journal
from ictc.storage.keys import StageKey, explain_change
from ictc.storage.manifest import Manifest
from ictc.storage.rundir import RunDirectory
from ictc.tracks import Track

STAGES: tuple[StageName, ...] = ("caption", "label", "synthesize", "assign")
TITLES: dict[StageName, str] = {
    "caption": "Step 1 captions",
    "label": "Step 2a labels",
    "synthesize": "Step 2b clusters",
    "assign": "Step 3 assignments",
}
STEP_OF_STAGE: dict[StageName, Step] = {"caption": "1", "label": "2a", "synthesize": "2b", "assign": "3"}
MAX_SYNTHESIZE_DEATHS = 2

ItemT = TypeVar("ItemT")


class Reporter(Protocol):
    """Where progress goes; the command line prints it."""

    def note(self, text: str) -> None:
        """Tell one line."""
        ...

    def stage(self, title: str, total: int, done: int) -> AbstractContextManager[StageProgress]:
        """Open the progress of one step; `done` of its `total` images were finished by earlier runs."""
        ...


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
    title_prefix: str = ""
    results: Results = field(init=False)
    exports: Exports = field(init=False)
    keys: RunKeys = field(init=False)

    def __post_init__(self) -> None:
        self.results = Results(self.manifest)
        self.exports = Exports(self.directory.path, self.results)
        self.keys = RunKeys(self.settings, self.track, self.criterion)
        self.steps = self.settings.control.chosen_steps(self.settings.input.is_part)

    def close(self) -> None:
        """Close the journals."""
        for journal in self.results.journals.values():
            journal.close()

    def summary(self) -> TrackSummary:
        """Return what came out."""
        return summarize(self.track.name, self.criterion, self.directory.path, self.results)

    # Before anything is loaded

    def check_preconditions(self) -> None:
        """Refuse what cannot work because a step that is not run left no usable result.

        Raises:
            ConfigError: with the step that is missing and why.
        """
        if "1" not in self.steps:
            self._use_earlier(self._caption_stage(None))
            if "2a" not in self.steps:
                self._use_earlier(self._label_stage())
                if "2b" not in self.steps:
                    self._use_earlier_definitions()

    def _use_earlier(self, stage: MapStage[Any]) -> None:
        """Use the result of a map stage that is not run, if it covers every image."""
        key = self.directory.current_key(stage.name)
        if key is not None:
            self.results.journals[stage.name] = self.directory.open_journal(stage.name, key)
        missing = count_todo(stage, self.results.journals.get(stage.name))
        if missing or key is None:
            step = STEP_OF_STAGE[stage.name]
            raise ConfigError(
                f"--steps {','.join(self.steps)} needs the result of Step {step}, and {self.directory.path} lacks it "
                f"for {missing or self.manifest.num_images:,} images; add {step} to --steps"
            )

    def _use_earlier_definitions(self) -> None:
        """Use the clusters that are there, if Step 2b would make the very same ones (D14)."""
        key = self.directory.current_key("synthesize")
        definitions = None if key is None else self.directory.load_definitions(key)
        wanted = self.keys.synthesize(self._histogram())
        if definitions is None or key != wanted:
            why = "there are no clusters yet" if definitions is None else f"now: {explain_change(key or {}, wanted)}"
            raise ConfigError(f"--steps 3 can only use the clusters in {self.directory.path}; {why}. Use --steps 2b,3")
        self.results.definitions = definitions

    # The steps

    async def run_captions(self, engines: EngineProvider, decode: Decode, prefetch: int) -> None:
        """Run Step 1."""
        if "1" in self.steps:
            stage = self._caption_stage(decode)
            if await self._run_map(stage, self.keys.caption(), engines, self._limits("vlm", prefetch)):
                self.exports.write_captions(self.settings.input.ads_dir)

    async def run_texts(self, engines: EngineProvider) -> None:
        """Run Steps 2a, 2b and 3."""
        limits = self._limits("llm", prefetch=0)
        if "2a" in self.steps and await self._run_map(self._label_stage(), self.keys.label(), engines, limits):
            self.exports.write_labels()
        if "2b" in self.steps and not self.stop.is_set():
            await self._run_synthesize(engines)
        if "3" in self.steps and not self.stop.is_set():
            key = self.keys.assign(self.results.definitions)
            if await self._run_map(self._assign_stage(), key, engines, limits):
                self.exports.write_assignments(self.keys.metadata())

    async def _run_synthesize(self, engines: EngineProvider) -> None:
        histogram = self._histogram()
        num_clusters = self.settings.clustering.num_clusters
        if len(histogram.labels) < num_clusters:
            raise StageError(
                f"Step 2b: {len(histogram.labels)} distinct labels can't make {num_clusters} clusters; "
                "lower --num_clusters or add images"
            )
        key = self.keys.synthesize(histogram)
        self._start("synthesize", key)
        definitions = self.directory.load_definitions(key)
        if definitions is None:
            self.reporter.note(
                f"{self._title('synthesize')}: {num_clusters} from {histogram.num_distinct:,} labels; the "
                f"{len(histogram.labels)} most frequent ones cover {histogram.coverage:.0%} of the images"
            )
            self.exports.remove(STAGES[STAGES.index("synthesize") :])
            definitions = await self._synthesize(histogram, engines)
            self.directory.save_definitions(key, definitions)
        self.results.definitions = definitions
        self.exports.write_definitions(histogram, self.keys.metadata())

    async def _synthesize(
        self, histogram: LabelHistogram, engines: EngineProvider, deaths: int = 0
    ) -> tuple[ClusterDefinition, ...]:
        """Ask for the clusters, of a fresh engine if one dies over it."""
        clustering, seed = self.settings.clustering, self.settings.control.seed
        stage = SynthesizeStage(histogram, clustering.num_clusters, self.track, self.criterion, seed)
        try:
            return await stage.run(await engines.get("llm"))
        except EngineDeadError as error:
            await engines.close()
            if deaths + 1 == MAX_SYNTHESIZE_DEATHS:
                raise
            self.reporter.note(f"the engine died ({error}); restarting it")
            return await self._synthesize(histogram, engines, deaths + 1)

    async def _run_map(
        self, stage: MapStage[ItemT], key: StageKey, engines: EngineProvider, limits: Callable[[Engine], Limits]
    ) -> bool:
        """Finish a map stage; return whether its exports must be written."""
        changed = self._start(stage.name, key)
        journal = self._open_journal(stage.name, key)
        total, todo = count_items(stage), count_todo(stage, journal, retry=self.settings.control.retry_rejected)
        if todo or changed:
            self.exports.remove(STAGES[STAGES.index(stage.name) :])
        if todo:
            try:
                await self._run_todo(stage, journal, engines, limits=limits, total=total, todo=todo)
            finally:
                self.exports.write_rejections()
        else:
            self.reporter.note(f"{self._title(stage.name)}: all {total:,} are up to date")
        if self.stop.is_set():
            return False
        check_accounting(stage, journal)
        return not self.exports.are_complete(stage.name)

    async def _run_todo(
        self,
        stage: MapStage[ItemT],
        journal: Journal,
        engines: EngineProvider,
        *,
        limits: Callable[[Engine], Limits],
        total: int,
        todo: int,
    ) -> None:
        role: Role = "vlm" if stage.name == "caption" else "llm"
        await engines.get(role)  # before the bar opens: loading has its own messages
        suspects_path = journal.directory / "in_flight.log"
        if self.settings.control.retry_rejected:
            suspects_path.unlink(missing_ok=True)
        with (
            closing(Suspects(suspects_path)) as suspects,
            self.reporter.stage(self._title(stage.name), total, total - todo) as progress,
        ):
            try:
                await run_supervised(
                    lambda engine: MapRunner(stage, journal, suspects, progress, self.stop, limits(engine)),
                    partial(engines.get, role),
                    engines.close,
                    suspects,
                    self.reporter.note,
                )
            finally:
                suspects.release()  # what an orderly end leaves in flight is no one's fault

    def _limits(self, role: Role, prefetch: int) -> Callable[[Engine], Limits]:
        control, engine_settings = self.settings.control, self.settings.engine
        batch = engine_settings.batch_vlm if role == "vlm" else engine_settings.batch_llm
        return lambda engine: Limits(
            window=min(batch or engine.window, engine.window),
            prefetch=prefetch,
            hang_timeout_s=control.hang_timeout_s,
            max_rejected=control.max_rejected,
            retry_rejected=control.retry_rejected,
        )

    def _start(self, stage: StageName, key: StageKey) -> bool:
        """Make `key` the stage's current one; return whether it was another before, after saying why."""
        earlier = self.directory.current_key(stage)
        forced = STEP_OF_STAGE[stage] in self.settings.control.forced_steps
        if earlier is not None and earlier != key:
            self.reporter.note(f"{self._title(stage)}: earlier ones are out of date: {explain_change(earlier, key)}")
        self.directory.start_stage(stage, key, afresh=forced)
        return forced or earlier != key

    def _open_journal(self, stage: StageName, key: StageKey) -> Journal:
        control = self.settings.control
        sync_records = control.ckpt_vlm if stage == "caption" else control.ckpt_llm
        journal = self.directory.open_journal(stage, key, sync_records=sync_records)
        self.results.journals[stage] = journal
        if journal.num_damaged:
            self.reporter.note(f"{self._title(stage)}: {journal.num_damaged} damaged records are made again")
        return journal

    def _caption_stage(self, decode: Decode | None) -> CaptionStage:
        return CaptionStage(
            self.manifest,
            self.settings.input.ads_dir,
            self.track,
            self.criterion,
            decode,
            self.keys.vlm.max_image_tokens,
            self.settings.control.seed,
        )

    def _label_stage(self) -> LabelStage:
        return LabelStage(self.results.iter_captions, self.track, self.criterion, self.settings.control.seed)

    def _assign_stage(self) -> AssignStage:
        results, seed = self.results, self.settings.control.seed
        return AssignStage(results.iter_labeled, results.definitions, self.track, self.criterion, seed)

    def _histogram(self) -> LabelHistogram:
        return build_histogram(self.results.count_labels(), self.settings.clustering.top_hooks)

    def _title(self, stage: StageName) -> str:
        return self.title_prefix + TITLES[stage]


def count_items(stage: MapStage[Any]) -> int:
    """Return how many images enter `stage`."""
    return sum(1 for _ in stage.iter_items())


def count_todo(stage: MapStage[Any], journal: Journal | None, *, retry: bool = False) -> int:
    """Return how many images have no up-to-date record in `journal`."""

    def is_todo(item: Any) -> bool:
        image_id, input_digest = stage.identify(item)
        record = journal.get(image_id) if journal is not None else None
        return not is_up_to_date(record, input_digest, retry_rejected=retry)

    return sum(map(is_todo, stage.iter_items()))


def check_accounting(stage: MapStage[Any], journal: Journal) -> None:
    """Check that every image that entered the stage left it (invariant 1).

    Raises:
        StageError: some did not, which is a fault of this program.
    """
    missing = count_todo(stage, journal)
    if missing:
        raise StageError(f"{TITLES[stage.name]}: {missing} images are unaccounted for; please report this")
