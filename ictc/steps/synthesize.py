"""Step 2b: the label histogram becomes exactly K cluster definitions, or a clear failure.

The list of labels is as long as the context allows, and what the prompt and the results say of it is about the list
that was read. An engine that counts tokens tells how much of a prompt fits before it computes anything; of one that
doesn't, a shorter list is asked until it takes it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from ictc.engines.base import (
    Answer,
    Engine,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
    Message,
    Task,
)
from ictc.errors import EngineError, InvalidAnswer, StageError
from ictc.records import ClusterDefinition
from ictc.stages.retry import CUT_OFF, FIRST, INVALID, Attempt, next_attempt
from ictc.stages.work import ReduceTask
from ictc.steps.base import JsonFile, MapStep, ReduceStep, Results, View
from ictc.steps.caption import CAPTION
from ictc.steps.config import StepConfig
from ictc.steps.finding import Finding
from ictc.steps.histogram import LabelHistogram, build_histogram
from ictc.steps.label import LABEL, count_labels
from ictc.storage.atomic import write_atomic
from ictc.storage.entries import Entry
from ictc.storage.forms import FIELDS, LIST
from ictc.storage.json_files import read_json
from ictc.storage.keys import StageKey, digest
from ictc.tracks.base import Track, clusters_answer, parse_clusters
from ictc.tracks.context import CLUSTER, LABEL_LINE, ContextNeed, count_prompt
from ictc.tracks.spelling import plain_form
from ictc.tracks.typical import TYPICAL_CLUSTER, TYPICAL_LABEL

logger = logging.getLogger(__name__)

TOKENS_PER_CLUSTER = 128
TOKENS_BESIDE = 64
UNTOLD_SHARE = 0.75
"""How much of the list is left when an engine finds it too long and does not say by how much."""

CLUSTERS_FILE = "step2b_dynamic_clusters.json"
METADATA_FILE = "step2b_metadata.json"
DEFINITIONS = "definitions.json"
LABELS_READ = "labels_read.json"


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What Step 2b came to.

    Attributes:
        num_labels: how many labels of the histogram the model read, the most frequent ones; None for all.
    """

    definitions: tuple[ClusterDefinition, ...]
    num_labels: int | None = None


def iter_clusters(view: View) -> Iterator[Entry]:
    """Yield the clusters by name."""
    return ((definition.name, asdict(definition)) for definition in definitions_of(view.results))


def iter_metadata(view: View) -> Iterator[Entry]:
    """Yield what the clusters were made by and from."""
    key, made = view.keys[SYNTHESIZE], view.results.find(SYNTHESIZE)
    counts = count_labels(view.results)
    histogram = build_histogram(counts, top=key["top_hooks"], seed=key.get("seed", view.said.get("seed", 0)))
    read = histogram.head(made.num_labels if made is not None else None)
    known = {
        "labeled_images": read.num_images,
        "distinct_labels": read.num_distinct,
        "labels_read": len(read.labels),
        "images_covered": read.covered_images,
        "share_covered": round(read.coverage, 4),
        "labels": [{"label": label, "count": count} for label, count in read.labels],
    }
    yield from {**say_settings(view), **known}.items()


def say_settings(view: View) -> dict[str, Any]:
    """Return what a run says of itself, as far as the key of the clusters does not know better."""
    key = view.keys[SYNTHESIZE]
    return {**view.said, "num_clusters": key["num_clusters"], "top_hooks": key["top_hooks"]}


class SynthesizeStep(ReduceStep[Synthesis]):
    """Step 2b."""

    name = "synthesize"
    number = "2b"
    title = "Step 2b clusters"
    about = "clusters from the labels"
    needs = (LABEL,)
    of_a_part_if_given = True
    takes_given = True
    key_reads_results = True
    files = (
        JsonFile(name=CLUSTERS_FILE, form=LIST, entries=iter_clusters),
        JsonFile(name=METADATA_FILE, form=FIELDS, entries=iter_metadata),
    )
    settings_file = METADATA_FILE

    def key(self, config: StepConfig, results: Results) -> StageKey:
        sizes = {"num_clusters": config.num_clusters, "top_hooks": config.num_labels}
        if config.given:
            return {**sizes, "given": digest(config.given)}
        prompt = config.track.prompts[self.name]
        common = config.model_key(self.role, prompt, uses_criterion=config.track.synthesize.uses("criterion"))
        return {**common, **sizes, "labels": digest(histogram_of(config, results))}

    def must_have(self, config: StepConfig) -> tuple[MapStep[Any], ...]:
        return (CAPTION,) if config.given else (CAPTION, LABEL)

    def explain_too_few(self, config: StepConfig, num_images: int) -> str:
        if config.given or num_images >= config.num_clusters:
            return ""
        return f"{num_images:,} images can't make {config.num_clusters} clusters: lower --num_clusters or add images"

    def begin(self, config: StepConfig, results: Results) -> SynthesizeTask | Synthesis:
        if config.given:
            return Synthesis(config.given, 0)
        histogram = histogram_of(config, results)
        if len(histogram.labels) < config.num_clusters:
            raise StageError(
                f"Step 2b: {len(histogram.labels)} distinct labels can't make {config.num_clusters} clusters; "
                "lower --num_clusters or add images"
            )
        return SynthesizeTask(
            histogram=histogram,
            num_clusters=config.num_clusters,
            track=config.track,
            criterion=config.criterion,
            seed=config.seed,
        )

    def given_for(self, key: StageKey, result: Synthesis) -> tuple[ClusterDefinition, ...]:
        return result.definitions if "given" in key else ()

    def size(self, key: StageKey) -> int:
        size: int = key["num_clusters"]
        return size

    def count(self, result: Synthesis | None) -> int:
        return 0 if result is None else len(result.definitions)

    def load(self, folder: Path) -> Synthesis | None:
        rows = read_json(folder / DEFINITIONS)
        if rows is None:
            return None
        return Synthesis(tuple(ClusterDefinition(**row) for row in rows), read_json(folder / LABELS_READ))

    def save(self, folder: Path, result: Synthesis) -> None:
        path = folder / LABELS_READ
        if result.num_labels is not None or path.exists():
            write_atomic(path, orjson.dumps(result.num_labels))
        write_atomic(folder / DEFINITIONS, orjson.dumps([asdict(definition) for definition in result.definitions]))

    def count_context(self, config: StepConfig, num_labels: int) -> ContextNeed | None:
        if config.given:
            return None
        prompt = config.track.synthesize.render(
            criterion=config.criterion, num_clusters=config.num_clusters, labels="", coverage="x" * 160
        )
        around = count_prompt(prompt)
        return ContextNeed(
            self.number,
            least=around + num_labels * LABEL_LINE.least + config.num_clusters * CLUSTER.least,
            ample=around + num_labels * LABEL_LINE.ample + config.num_clusters * CLUSTER.ample,
        )

    def example(self, config: StepConfig) -> tuple[Sequence[Message], str]:
        prompt = config.track.synthesize.render(
            criterion=config.criterion,
            num_clusters=config.num_clusters,
            labels="\n".join(f"1234 × {TYPICAL_LABEL}" for _ in range(config.num_labels)),
            coverage="",
        )
        name, description = TYPICAL_CLUSTER
        clusters = [{"name": name, "description": description}] * config.num_clusters
        return prompt, orjson.dumps(clusters).decode()

    def check_result(self, folder: Path, results: Results, key: StageKey) -> Iterator[Finding]:
        path, definitions = folder / DEFINITIONS, definitions_of(results)
        if not definitions:
            yield Finding("accounting", path, "there are no clusters yet, or the file is damaged; run again")
            return
        if len(definitions) != key["num_clusters"]:
            yield Finding("accounting", path, f"holds {len(definitions)} clusters, not {key['num_clusters']}")
        for name, count in Counter(plain_form(definition.name) for definition in definitions).items():
            if count > 1 or not name:
                problem = f"{count} clusters have the same name {name!r}" if name else "has no name"
                yield Finding("accounting", path, problem)
        if [definition.cluster_id for definition in definitions] != list(range(1, len(definitions) + 1)):
            yield Finding("accounting", path, f"the clusters are not numbered from 1 to {len(definitions)}")
        if "labels" in key and self._labels_now(results, key) != key["labels"]:
            yield Finding("key", path, "is out of date: it was made from other labels than those in use; run again")

    def _labels_now(self, results: Results, key: StageKey) -> str:
        return digest(build_histogram(count_labels(results), top=key["top_hooks"], seed=key["seed"]))


SYNTHESIZE = SynthesizeStep()


def definitions_of(results: Results) -> tuple[ClusterDefinition, ...]:
    """Return the clusters, () if there are none."""
    made = results.find(SYNTHESIZE)
    return () if made is None else made.definitions


def histogram_of(config: StepConfig, results: Results) -> LabelHistogram:
    """Return what the clusters are made from: the labels that are there."""
    return build_histogram(count_labels(results), top=config.num_labels, seed=config.seed)


@dataclass(frozen=True, kw_only=True)
class SynthesizeTask(ReduceTask[Synthesis]):
    """Asks once for the clusters of the whole collection."""

    histogram: LabelHistogram
    num_clusters: int
    track: Track
    criterion: str
    seed: int

    @property
    def max_tokens(self) -> int:
        """Most tokens of the first answer."""
        return TOKENS_BESIDE + TOKENS_PER_CLUSTER * self.num_clusters

    @property
    def announcement(self) -> str:  # type: ignore[override]
        """From how many labels how many clusters are made."""
        return (
            f"{self.num_clusters} from {self.histogram.num_distinct:,} labels; the {len(self.histogram.labels)} most "
            f"frequent ones cover {self.histogram.coverage:.0%} of the images"
        )

    def remark(self, result: Synthesis) -> str:
        """Return how many labels had room, "" if all had."""
        if result.num_labels is None:
            return ""
        read = self.histogram.head(result.num_labels)
        return (
            f"the context had room for {result.num_labels} of these labels, which cover {read.coverage:.0%} of the "
            "images; a longer --max_model_len with --force_steps 2b,3 reads more"
        )

    async def run(self, engine: Engine) -> Synthesis:
        """Return the K definitions, and what they were made from.

        Raises:
            StageError: no attempt gave K distinct definitions.
            EngineError: the engine cannot go on.
        """
        attempt: Attempt | None = FIRST
        shown, reasons = self.histogram, []
        while attempt is not None:
            result, shown = await self._ask_fitting(engine, attempt, shown)
            try:
                is_cut = len(shown.labels) < len(self.histogram.labels)
                return Synthesis(self._parse(result), len(shown.labels) if is_cut else None)
            except InvalidAnswer as error:
                reasons.append(str(error))
                logger.warning("synthesize: attempt %d failed: %s", attempt.number + 1, error)
                logger.debug("synthesize: the model said %r", result.text if isinstance(result, Answer) else result)
            if ended_with_the_context(result, self.max_tokens * attempt.tokens_factor):
                shown = self._shorten(shown, result)
            attempt = None if is_too_long(result) else next_attempt(attempt, failure_of(result))
        raise StageError(
            f"Step 2b: no {self.num_clusters} distinct clusters in {len(reasons)} attempts (last: {reasons[-1]}); "
            f"{self._remedy(result)}. Captions and labels are kept"
        )

    def _remedy(self, result: GenerationResult) -> str:
        if is_too_long(result):
            return "give the model a longer context (--max_model_len, or the server's own), or lower --num_clusters"
        return "try another --num_clusters, --seed or a larger model"

    async def _ask_fitting(
        self, engine: Engine, attempt: Attempt, shown: LabelHistogram
    ) -> tuple[GenerationResult, LabelHistogram]:
        """Return the result for the longest list that the engine takes, and that list."""
        while True:
            result = await self._ask(engine, self._request(attempt, shown))
            if not is_too_long(result) or len(shown.labels) <= self.num_clusters:
                return result, shown
            shown = self._shorten(shown, result)

    def _shorten(self, shown: LabelHistogram, result: GenerationResult) -> LabelHistogram:
        return shown.head(max(self.num_clusters, labels_to_try(len(shown.labels), result)))

    async def _ask(self, engine: Engine, request: GenerationRequest) -> GenerationResult:
        async def one_request() -> AsyncIterator[GenerationRequest]:
            yield request

        async with aclosing(engine.generate(one_request())) as results:
            async for result in results:
                return result
        raise EngineError("the engine ended without answering Step 2b; see the log")

    def _request(self, attempt: Attempt, shown: LabelHistogram) -> GenerationRequest:
        return GenerationRequest(
            request_id="synthesize",
            task=Task.SYNTHESIZE,
            messages=self.track.synthesize.render(
                criterion=self.criterion,
                num_clusters=self.num_clusters,
                labels="\n".join(f"{count} × {label}" for label, count in shown.labels),
                coverage=coverage_sentence(shown),
            ),
            answer=JsonAnswer(clusters_answer(self.num_clusters).model_json_schema()),
            sampling=attempt.sampling(max_tokens=self.max_tokens, seed=self.seed),
            min_answer_tokens=TOKENS_BESIDE + CLUSTER.least * self.num_clusters,
            inputs={
                "criterion": self.criterion,
                "num_clusters": self.num_clusters,
                "labels": [{"label": label, "count": count} for label, count in shown.labels],
            },
        )

    def _parse(self, result: GenerationResult) -> tuple[ClusterDefinition, ...]:
        if not isinstance(result, Answer):
            raise InvalidAnswer(f"{result.kind.value}: {result.message}")
        return parse_clusters(result.text, self.num_clusters)


def coverage_sentence(shown: LabelHistogram) -> str:
    """Return how many images the labels in the prompt stand for, in words."""
    return (
        f"They stand for {shown.covered_images} of {shown.num_images} images "
        f"({shown.coverage:.0%}); {shown.num_distinct} distinct labels were given in all."
    )


def is_too_long(result: GenerationResult) -> bool:
    """Whether the engine had no room for the prompt and its answer."""
    return isinstance(result, ItemError) and result.kind is ItemErrorKind.PROMPT_TOO_LONG


def ended_with_the_context(result: GenerationResult, max_tokens: int) -> bool:
    """Whether an answer was cut off before it had all the tokens that it might take: the prompt left no room."""
    if not isinstance(result, Answer) or result.completion_tokens is None:
        return False
    return result.finish_reason == "length" and result.completion_tokens < max_tokens


def labels_to_try(num_labels: int, result: GenerationResult) -> int:
    """Return how many labels may fit, fewer than did not.

    As the rest of the prompt does not shrink, the proportion leaves rather too many; the engine tells again.
    """
    share = UNTOLD_SHARE
    if isinstance(result, ItemError) and result.share_that_fits is not None:
        share = result.share_that_fits
    return min(num_labels - 1, int(num_labels * share))


def failure_of(result: GenerationResult) -> str:
    """Return which ladder of `retry` an invalid result climbs."""
    if not isinstance(result, Answer):
        return result.kind
    return CUT_OFF if result.finish_reason == "length" else INVALID
