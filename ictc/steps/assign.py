"""Step 3: every valid ad gets exactly one of the K clusters by a closed choice; with `--allow_none`, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from ictc.engines.base import Answer, ChoiceAnswer, GenerationRequest, Task
from ictc.errors import InvalidAnswer
from ictc.records import Assignment, ClusterDefinition, LabeledCaption
from ictc.stages.outcome import Outcome, Status
from ictc.stages.retry import Attempt
from ictc.stages.work import ImageReader, WorkItem, no_items
from ictc.steps.base import ExportFile, JsonFile, MapStep, Results, TypicalRequest, View
from ictc.steps.caption import CAPTION, caption_of, find_duplicates
from ictc.steps.config import StepConfig
from ictc.steps.finding import Finding
from ictc.steps.label import LABEL, has_label, label_of, shorten
from ictc.steps.none_of_these import NONE_DESCRIPTION, NONE_NAME
from ictc.steps.options import NONE, Option, list_options, make_options, shuffle_options
from ictc.steps.result_rows import PATH_FIELD, ResultRow, metadata_types, result_fields, write_parquet
from ictc.steps.synthesis.levels import find_paths, list_levels
from ictc.steps.synthesize import SYNTHESIZE, definitions_of, digest_clusters, levels_of, say_settings
from ictc.storage.entries import Entry, iter_parquet, row_entry
from ictc.storage.forms import FIELDS, MAPPING, TABLE
from ictc.storage.keys import StageKey, digest
from ictc.tracks.base import Track, image_inputs, image_json
from ictc.tracks.context import CLUSTER, IMAGE, NOTHING, RULES, ContextNeed, Size, count_prompt, count_tokens
from ictc.tracks.typical import TYPICAL_CLUSTER, TYPICAL_LABEL, TYPICAL_RULES, typical_ad

JUDGED = (Status.DONE, Status.NONE)
"""How an image leaves that has its answer: a cluster, or that none fits."""

MAX_TOKENS = 16
CONFIDENCE_DIGITS = 4

ASSIGNMENTS_FILE = "step3_final_assignment.json"
METADATA_FILE = "step3_metadata.json"
RESULTS_FILE = "ictc_final_results.json"
ROWS_FILE = "results.parquet"


def iter_names(view: View) -> Iterator[Entry]:
    """Yield the name of the cluster of each image that was judged, null if none fits."""
    names: dict[int | None, str | None] = {one.cluster_id: one.name for one in definitions_of(view.results)}
    names[None] = None
    return ((one.image_id, names[one.cluster_id]) for one in iter_assignments(view.results))


def iter_metadata(view: View) -> Iterator[Entry]:
    """Yield what the results were made by, and how many images came where."""
    yield from say_counts(view).items()
    sizes = Counter(one.cluster_id for one in iter_assignments(view.results))
    yield "clusters", [{**one.to_row(), "size": sizes[one.cluster_id]} for one in definitions_of(view.results)]
    if levels := levels_of(view.results):
        yield "levels", list_levels(levels, sizes)


def say_counts(view: View) -> dict[str, Any]:
    """Return what a run says of itself, with how many images left each step in which way."""
    results = view.results
    return {
        **{
            name: value
            for name, value in say_settings(view).items()
            if name not in ("clusters", "levels", "allow_none")
        },
        "images": results.manifest.num_images,
        "duplicates": len(find_duplicates(results)),
        **{f"step{step.number}": results.describe_statuses(step) for step in (CAPTION, LABEL, ASSIGN)},
        **({"allow_none": True} if "allow_none" in view.keys[ASSIGN] else {}),
    }


def iter_table(view: View) -> Iterator[Entry]:
    """Yield what the results were made by, the clusters, and all that is known of each image that was judged."""
    yield "metadata", say_counts(view)
    yield "cluster_definitions", say_clusters(view)
    yield from iter_rows(view)


def say_clusters(view: View) -> list[dict[str, Any]]:
    """Return the clusters as files have them."""
    return [definition.to_row() for definition in definitions_of(view.results)]


def iter_rows(view: View) -> Iterator[Entry]:
    """Yield all that is known of each image that was judged."""
    return entries_of(iter_result_rows(view.results), more_types(view.results))


def entries_of(rows: Iterable[ResultRow], columns: Mapping[str, type]) -> Iterator[Entry]:
    """Yield rows as files have them, with these columns beside those of every run."""
    return (row_entry(result_fields(row, columns)) for row in rows)


def more_types(results: Results, added: Mapping[str, type] | None = None) -> dict[str, type]:
    """Return the types of the columns that not every run has, those that are the user's own last.

    Args:
        added: by a later step.
    """
    path: dict[str, type] = {PATH_FIELD: list} if levels_of(results) else {}
    return {**path, **(added or {}), **results.once(own_types)}


def own_types(results: Results) -> dict[str, type]:
    """Return the types of the columns that are the user's own."""
    return metadata_types(results.manifest)


@dataclass(frozen=True, kw_only=True)
class ParquetFile(ExportFile):
    """The same rows as a table with a type for each column.

    Attributes:
        added: types of the columns that a later step adds.
    """

    added: Mapping[str, type] = field(default_factory=dict)

    def write(self, directory: Path, view: View) -> None:
        rows = (row for _, row in self.entries(view))
        write_parquet(directory / self.name, rows, more_types(view.results, self.added))

    def read(self, directory: Path) -> Iterator[Entry]:
        return iter_parquet(directory / self.name)


class AssignStep(MapStep[LabeledCaption]):
    """Step 3."""

    name = "assign"
    number = "3"
    title = "Step 3 assignments"
    about = "a cluster for each ad"
    needs = (CAPTION, LABEL, SYNTHESIZE)
    follows = CAPTION
    of_a_part_if_given = True
    key_reads_results = True
    of_input = "another caption or label"
    senseless = "are assigned to no existing cluster"
    files = (
        JsonFile(name=ASSIGNMENTS_FILE, form=MAPPING, entries=iter_names),
        JsonFile(name=METADATA_FILE, form=FIELDS, entries=iter_metadata),
        JsonFile(name=RESULTS_FILE, form=TABLE, entries=iter_table),
        ParquetFile(name=ROWS_FILE, entries=iter_rows),
    )
    settings_file = METADATA_FILE

    def key(self, config: StepConfig, results: Results) -> StageKey:
        prompt = config.track.prompts[self.name]
        common = config.model_key(self.role, prompt, uses_criterion=config.track.assign.uses("criterion"))
        none = {"allow_none": digest([NONE_NAME, NONE_DESCRIPTION])} if config.allow_none else {}
        return {**common, **none, "clusters": digest_clusters(definitions_of(results))}

    def must_have(self, config: StepConfig) -> tuple[MapStep[Any], ...]:
        return (self,) if config.is_part else (CAPTION, self)

    def iter_items(self, results: Results) -> Iterator[WorkItem[LabeledCaption]]:
        for image_id in results.iter_ids(CAPTION, Status.DONE):
            made_from = [results.fingerprint(CAPTION, image_id)]
            if has_label(results, image_id):
                made_from.append(results.fingerprint(LABEL, image_id))
            yield WorkItem(
                image_id, input_digest=digest(made_from), load=partial(labeled_caption_of, results, image_id)
            )

    def stage(self, config: StepConfig, results: Results, reader: ImageReader | None) -> AssignStage:
        return AssignStage(
            items=partial(self.iter_items, results),
            options=make_options(definitions_of(results), allow_none=config.allow_none),
            track=config.track,
            criterion=config.criterion,
            seed=config.seed,
        )

    def count_context(self, config: StepConfig, num_labels: int) -> ContextNeed | None:
        around = count_prompt(config.track.assign.render(criterion=config.criterion, clusters="", image=""))
        clusters = CLUSTER.plus(RULES if config.evidence else NOTHING).times(config.num_clusters)
        if config.given:
            tokens = count_tokens(
                "\n".join(list_options({"AA": one}) for one in make_options(config.given, allow_none=False))
            )
            clusters = Size(least=tokens, ample=tokens)
        around += count_tokens(list_options({"AA": NONE})) if config.allow_none else 0
        return ContextNeed(
            self.number, least=around + clusters.least + IMAGE.least, ample=around + clusters.ample + IMAGE.ample
        )

    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        name, description = TYPICAL_CLUSTER
        rules = TYPICAL_RULES if config.evidence else {}
        typical = Option(cluster_id=1, name=name, description=description, **rules)
        options = [typical] * config.num_clusters + [NONE] * config.allow_none
        prompt = config.track.assign.render(
            criterion=config.criterion,
            clusters="\n".join(list_options({"A": option}) for option in options),
            image=image_json(typical_ad(config.track), TYPICAL_LABEL),
        )
        return [TypicalRequest(prompt=prompt, answer="A")]

    def check_result(self, folder: Path, results: Results, key: StageKey) -> Iterator[Finding]:
        if key["clusters"] != digest_clusters(definitions_of(results)):
            problem = "is out of date: it assigns to other clusters than those in use; run again"
            yield Finding("key", folder, problem)
        if "allow_none" not in key and (count := results.count_statuses(self)[Status.NONE]):
            problem = (
                f"{count:,} images fit no cluster, which the key does not allow; run Step 3 again (--force_steps 3)"
            )
            yield Finding("accounting", folder, problem)

    def sense_of(self, results: Results) -> Callable[[Mapping[str, Any]], bool]:
        meant: dict[str, set[int | None]] = {
            Status.DONE: {definition.cluster_id for definition in definitions_of(results)},
            Status.NONE: {None},
        }
        return lambda record: record["data"].get("cluster_id", 0) in meant.get(record["status"], ())


ASSIGN = AssignStep()


def labeled_caption_of(results: Results, image_id: str) -> LabeledCaption:
    """Return the caption of an image with its label."""
    return caption_of(results, image_id), label_of(results, image_id)


def iter_assignments(results: Results) -> Iterator[Assignment]:
    """Yield the assignment of each image that was judged, reading nothing else of it."""
    return (Assignment(image_id, **data) for image_id, data in results.iter_data(ASSIGN, *JUDGED))


def iter_result_rows(results: Results) -> Iterator[ResultRow]:
    """Yield everything known about each image that was judged."""
    duplicates = find_duplicates(results)
    clusters: dict[int | None, ClusterDefinition | None] = {one.cluster_id: one for one in definitions_of(results)}
    clusters[None] = None
    paths = find_paths(levels_of(results))
    for image in results.iter_images(ASSIGN, *JUDGED):
        image_id = image.image_id
        caption, label = labeled_caption_of(results, image_id)
        assignment = Assignment(image_id, **results.record(ASSIGN, image_id)["data"])
        yield ResultRow(
            image=image,
            caption=caption,
            label=label,
            assignment=assignment,
            cluster=clusters[assignment.cluster_id],
            runner_up=clusters.get(assignment.runner_up),
            duplicate_of=duplicates.get(image_id),
            further={PATH_FIELD: path} if (path := paths.get(assignment.cluster_id or 0)) else {},
        )


@dataclass(frozen=True, kw_only=True)
class AssignStage:
    """Asks for the cluster of every caption.

    The options stand in another order for each caption, drawn from the seed and its words, so that a model's liking
    for the first or last one evens out, and equal captions get equal requests. So does the one that no cluster fits:
    at the end of every list it would be chosen as often as a model likes what comes last.
    """

    items: Callable[[], Iterator[WorkItem[LabeledCaption]]]
    options: tuple[Option, ...]
    track: Track
    criterion: str
    seed: int
    name: str = ASSIGN.name
    reads_images: bool = False

    def detached(self) -> Self:
        return replace(self, items=no_items)

    @cached_property
    def _described(self) -> dict[int | None, dict[str, Any]]:
        return {option.cluster_id: option.to_row() for option in self.options}

    def iter_items(self) -> Iterator[WorkItem[LabeledCaption]]:
        return self.items()

    async def find_source(self, item: LabeledCaption) -> None:
        """Return None: equal captions with equal labels have equal input digests."""

    async def build_request(self, item: LabeledCaption, attempt: Attempt) -> GenerationRequest | Outcome:
        caption, label = shorten(item[0], attempt.text_share), item[1]
        options = self._by_letters(item)
        return GenerationRequest(
            request_id=caption.image_id,
            task=Task.ASSIGN,
            messages=self.track.assign.render(
                criterion=self.criterion, clusters=list_options(options), image=image_json(caption, label)
            ),
            answer=ChoiceAnswer(tuple(options)),
            sampling=attempt.sampling(max_tokens=MAX_TOKENS, seed=self.seed),
            inputs={
                "criterion": self.criterion,
                **image_inputs(caption, label),
                "options": {letters: self._described[option.cluster_id] for letters, option in options.items()},
            },
        )

    def parse_answer(self, item: LabeledCaption, answer: Answer) -> Outcome:
        options = self._by_letters(item)
        chosen = options.get(answer.text)
        if chosen is None:
            raise InvalidAnswer(f"{answer.text[:40]!r} is none of the {len(options)} options")
        confidence = runner_up = None
        if answer.scores is not None:
            confidence = round(answer.scores[answer.text], CONFIDENCE_DIGITS)
            others = [letters for letters in options if letters != answer.text]
            runner_up = options[max(others, key=answer.scores.__getitem__)].cluster_id
        status = Status.NONE if chosen.cluster_id is None else Status.DONE
        return Outcome(status, {"cluster_id": chosen.cluster_id, "confidence": confidence, "runner_up": runner_up})

    def _by_letters(self, item: LabeledCaption) -> dict[str, Option]:
        """Return the options by their letters, in the order for these words."""
        return shuffle_options(self.options, f"{self.seed}/{digest(image_inputs(*item))}")
