"""Step 3b, with `--evidence`: the words of each image that show why it is in its cluster, as they stand in its caption.

A step of its own, so that the choice of Step 3 keeps its confidence; of an image whose caption and cluster stay as they
are it is not repeated, whatever becomes of other clusters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import orjson

from ictc.engines.base import Answer, GenerationRequest, JsonAnswer, Task
from ictc.records import Caption, ClusterDefinition
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.work import ImageReader, WorkItem, no_items
from ictc.steps.assign import (
    ASSIGN,
    RESULTS_FILE,
    ROWS_FILE,
    ParquetFile,
    entries_of,
    iter_result_rows,
    more_types,
    say_clusters,
    say_counts,
)
from ictc.steps.base import JsonFile, MapStep, TypicalRequest, View
from ictc.steps.caption import CAPTION, caption_of
from ictc.steps.config import StepConfig
from ictc.steps.label import shorten
from ictc.steps.result_rows import ResultRow
from ictc.steps.results import Results
from ictc.steps.synthesize import SYNTHESIZE, definitions_of
from ictc.storage.entries import Entry
from ictc.storage.forms import FIELDS, MAPPING, TABLE
from ictc.storage.keys import StageKey, digest
from ictc.tracks.base import image_inputs, image_json
from ictc.tracks.evidence import EVIDENCE as PROMPT
from ictc.tracks.evidence import EVIDENCE_PROMPTS, QuoteAnswer, find_quote, iter_quotable, parse_quote
from ictc.tracks.typical import TYPICAL_AD, TYPICAL_CLUSTER, TYPICAL_RULES, typical_ad

MAX_TOKENS = 128

EVIDENCE_FILE = "step3b_evidence.json"
METADATA_FILE = "step3b_metadata.json"
COLUMNS: dict[str, type] = {"evidence": str, "evidence_field": str}
"""What rows of the results have besides, and their types."""

QUOTED, DROPPED, NOTHING = "quoted", "dropped", "nothing_to_quote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """An image with its cluster."""

    caption: Caption
    cluster: ClusterDefinition


def iter_evidence(view: View) -> Iterator[Entry]:
    """Yield the quote of each image that has a cluster, null if there is none."""
    return ((image_id, columns_of(view.results, image_id)) for image_id in view.results.iter_ids(ASSIGN, Status.DONE))


def iter_metadata(view: View) -> Iterator[Entry]:
    """Yield what the results were made by, and how many images have a quote or why they have none."""
    yield from say_settings(view).items()


def iter_rows(view: View) -> Iterator[Entry]:
    """Yield all that is known of each image that was judged, with the quote of those that have a cluster."""
    columns = more_types(view, COLUMNS)
    return entries_of(map(partial(with_evidence, view.results), iter_result_rows(view)), columns)


def iter_table(view: View) -> Iterator[Entry]:
    """Yield what the results were made by, the clusters, and these rows."""
    yield "metadata", say_settings(view)
    yield "cluster_definitions", say_clusters(view)
    yield from iter_rows(view)


def say_settings(view: View) -> dict[str, Any]:
    """Return what a run says of itself, this step last."""
    results = view.results
    own = {f"step{EVIDENCE.number}": results.describe_statuses(EVIDENCE), "quotes": count_quotes(results)}
    return {**{name: value for name, value in say_counts(view).items() if name not in own}, **own}


class EvidenceStep(MapStep[Assigned]):
    """Step 3b."""

    name = "evidence"
    number = "3b"
    title = "Step 3b evidence"
    about = "a quote that shows why"
    needs = (CAPTION, SYNTHESIZE, ASSIGN)
    follows = ASSIGN
    of_a_part_if_given = True
    of_input = "another caption or cluster"
    senseless = "are backed with words that do not stand in their caption"
    files = (
        JsonFile(name=EVIDENCE_FILE, form=MAPPING, entries=iter_evidence),
        JsonFile(name=RESULTS_FILE, form=TABLE, entries=iter_table),
        ParquetFile(name=ROWS_FILE, entries=iter_rows, added=COLUMNS),
        JsonFile(name=METADATA_FILE, form=FIELDS, entries=iter_metadata),
    )
    settings_file = METADATA_FILE
    flag = "evidence"
    completes = ASSIGN

    def is_of_a_part(self, settings: object, *, given: bool) -> bool:
        return ASSIGN.is_of_a_part(settings, given=given)

    def key(self, config: StepConfig, results: Results) -> StageKey:
        prompt = EVIDENCE_PROMPTS[self.name]
        return config.model_key(self.role, prompt, uses_criterion=PROMPT.uses("criterion"))

    def iter_items(self, results: Results) -> Iterator[WorkItem[Assigned]]:
        clusters = {one.cluster_id: one for one in definitions_of(results)}
        for image_id, data in results.iter_data(ASSIGN, Status.DONE):
            cluster = clusters.get(data["cluster_id"])
            if cluster is None:  # it is of other clusters than those in use, which is Step 3's to see to
                continue
            yield WorkItem(
                image_id,
                input_digest=digest([results.fingerprint(CAPTION, image_id), _words_of(cluster)]),
                load=partial(_load, results, image_id, cluster),
            )

    def stage(self, config: StepConfig, results: Results, reader: ImageReader | None) -> EvidenceStage:
        return EvidenceStage(items=partial(self.iter_items, results), criterion=config.criterion, seed=config.seed)

    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        name, description = TYPICAL_CLUSTER
        cluster = ClusterDefinition(1, name=name, description=description, **TYPICAL_RULES)
        prompt = PROMPT.render(
            criterion=config.criterion, cluster=_cluster_json(cluster), image=image_json(typical_ad(config.track))
        )
        quote = TYPICAL_AD.text.partition(". ")[0]
        return [TypicalRequest(prompt=prompt, answer=orjson.dumps({"quote": quote}).decode())]

    def remark(self, results: Results) -> str:
        counts = count_quotes(results)
        told = f"{counts[QUOTED]:,} of {sum(counts.values()):,} images are backed with a quote"
        return f"{told}; of {counts[DROPPED]:,} it was dropped, as it stands nowhere" if counts[DROPPED] else told

    def sense_of(self, results: Results) -> Callable[[Mapping[str, Any]], bool]:
        return partial(_is_quoted, results)


def _is_quoted(results: Results, record: Mapping[str, Any]) -> bool:
    """Whether the words of a record stand where it says."""
    data = record["data"]
    if record["status"] != Status.DONE or {*data} - {"dropped"} != {"quote", "field"}:
        return False
    if data["quote"] is None:
        return data["field"] is None
    fields = dict(iter_quotable(caption_of(results, record["id"])))
    return bool(data["quote"]) and data["quote"] in fields.get(data["field"], "") and "dropped" not in data


EVIDENCE = EvidenceStep()


def columns_of(results: Results, image_id: str) -> dict[str, str | None]:
    """Return the quote of an image and the field in which it stands, null both where it has none."""
    data = results.record(EVIDENCE, image_id)["data"]
    return dict(zip(COLUMNS, (data.get("quote"), data.get("field")), strict=True))


def with_evidence(results: Results, row: ResultRow) -> ResultRow:
    """Return a row with the quote of its image; one that no cluster fits has none."""
    quote = dict.fromkeys(COLUMNS) if row.cluster is None else columns_of(results, row.image.image_id)
    return replace(row, further={**row.further, **quote})


def count_quotes(results: Results) -> dict[str, int]:
    """Return how many images have a quote, how many had one that stands nowhere, and of how many no words show it."""
    return results.once(_count_quotes, CAPTION, ASSIGN, EVIDENCE)


def _count_quotes(results: Results) -> dict[str, int]:
    ways: Counter[str] = Counter()
    for _, data in results.iter_data(EVIDENCE, Status.DONE):
        ways[QUOTED if data["quote"] is not None else DROPPED if data.get("dropped") else NOTHING] += 1
    return {way: ways[way] for way in (QUOTED, DROPPED, NOTHING)}


def _load(results: Results, image_id: str, cluster: ClusterDefinition) -> Assigned:
    return Assigned(caption=caption_of(results, image_id), cluster=cluster)


def _words_of(cluster: ClusterDefinition) -> dict[str, Any]:
    """Return what a request says of a cluster; its number means nothing."""
    return {name: value for name, value in cluster.to_row().items() if name != "cluster_id"}


def _cluster_json(cluster: ClusterDefinition) -> str:
    return orjson.dumps(_words_of(cluster), option=orjson.OPT_INDENT_2).decode()


@dataclass(frozen=True, kw_only=True)
class EvidenceStage:
    """Asks for a quote of each image that has a cluster, and keeps what stands in its caption.

    A quote that stands nowhere is asked for again; after that, the image has none, and is no worse for it.
    """

    items: Callable[[], Iterator[WorkItem[Assigned]]]
    criterion: str
    seed: int
    name: str = EVIDENCE.name
    reads_images: bool = False

    def detached(self) -> Self:
        return replace(self, items=no_items)

    def iter_items(self) -> Iterator[WorkItem[Assigned]]:
        return self.items()

    async def find_source(self, item: Assigned) -> None:
        """Return None: equal captions in equal clusters have equal input digests."""

    async def build_request(self, item: Assigned, attempt: Attempt) -> GenerationRequest | Outcome:
        if not any(iter_quotable(item.caption)):
            return Outcome(Status.DONE, {"quote": None, "field": None})
        caption = shorten(item.caption, attempt.text_share)
        return GenerationRequest(
            request_id=caption.image_id,
            task=Task.EVIDENCE,
            messages=PROMPT.render(
                criterion=self.criterion, cluster=_cluster_json(item.cluster), image=image_json(caption)
            ),
            answer=JsonAnswer(QuoteAnswer.model_json_schema()),
            sampling=attempt.sampling(max_tokens=MAX_TOKENS, seed=self.seed),
            inputs={"criterion": self.criterion, **image_inputs(caption), "cluster": _words_of(item.cluster)},
        )

    def parse_answer(self, item: Assigned, answer: Answer) -> Outcome:
        words = parse_quote(answer.text)
        if not words:
            return Outcome(Status.DONE, {"quote": None, "field": None})
        quote = find_quote(words, item.caption)
        if quote is None:
            nowhere = {"quote": None, "field": None, "dropped": True}
            return Outcome(Status.DONE, nowhere, doubt=f"{words[:60]!r} stands nowhere in the caption")
        return Outcome(Status.DONE, {"quote": quote.words, "field": quote.field})
