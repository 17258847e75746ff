"""Step 3: every valid ad gets one of the K clusters by a closed choice; with `--allow_none`, or none.

With `--multi_label` it gets all that fit, the best of which is its cluster to whoever wants one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ictc.records import Assignment, ClusterDefinition, LabeledCaption
from ictc.stages.outcome import Status
from ictc.stages.work import ImageReader, MapStage, WorkItem
from ictc.steps.base import ExportFile, JsonFile, MapStep, TypicalRequest, View
from ictc.steps.caption import CAPTION, caption_of, find_duplicates
from ictc.steps.certified import TARGET, CertifiedAnswers, describe_certificate, load_certificate, target_key
from ictc.steps.choosing import TOKENS_PER_FIT, AssignStage, FittingStage
from ictc.steps.config import StepConfig
from ictc.steps.finding import Finding
from ictc.steps.label import LABEL, has_label, label_of
from ictc.steps.none_of_these import NONE_DESCRIPTION, NONE_NAME
from ictc.steps.options import NONE, Option, list_options, make_options
from ictc.steps.result_rows import PATH_FIELD, ResultRow, metadata_types, result_fields, write_parquet
from ictc.steps.results import Results
from ictc.steps.shortlist import MOST_LISTED, shortlist_key, shortlist_of
from ictc.steps.synthesis.levels import find_paths, list_levels
from ictc.steps.synthesize import SYNTHESIZE, definitions_of, digest_clusters, levels_of, say_settings
from ictc.storage.entries import Entry, iter_parquet, row_entry
from ictc.storage.forms import FIELDS, MAPPING, TABLE
from ictc.storage.keys import StageKey, digest
from ictc.tracks.base import image_json
from ictc.tracks.context import CLUSTER, IMAGE, NOTHING, RULES, ContextNeed, Size, count_prompt, count_tokens
from ictc.tracks.fitting import MOST_SCORE
from ictc.tracks.typical import TYPICAL_CLUSTER, TYPICAL_LABEL, TYPICAL_RULES, typical_ad

INFERRED_COLUMNS: dict[str, type] = {"inferred": bool, "probability": float}
"""Of rows where only some images were asked about, and their types."""

JUDGED = (Status.DONE, Status.NONE)
"""How an image leaves that has its answer: a cluster, or that none fits."""

SAID_APART = ("clusters", "levels", "allow_none", "multi_label", "certificate")
TYPICAL_FITS = '{"clusters": [{"cluster": "A", "score": 5}, {"cluster": "B", "score": 2}]}'

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
    sizes, fitting = count_sizes(view.results)
    is_several = "multi_label" in view.keys[ASSIGN]
    yield (
        "clusters",
        [
            {
                **one.to_row(),
                "size": sizes[one.cluster_id],
                **({"size_all": fitting[one.cluster_id]} if is_several else {}),
            }
            for one in definitions_of(view.results)
        ],
    )
    if levels := levels_of(view.results):
        yield "levels", list_levels(levels, sizes)


def count_sizes(results: Results) -> tuple[Counter[int | None], Counter[int]]:
    """Return of how many images each cluster is the best, and how many it fits, where all that fit were asked for."""
    sizes: Counter[int | None] = Counter()
    fitting: Counter[int] = Counter()
    for one in iter_assignments(results):
        sizes[one.cluster_id] += 1
        fitting.update(cluster_id for cluster_id, _ in one.fitting)
    return sizes, fitting


def say_counts(view: View) -> dict[str, Any]:
    """Return what a run says of itself, with how many images left each step in which way."""
    results = view.results
    certificate = say_certificate(view)
    return {
        **{name: value for name, value in say_settings(view).items() if name not in SAID_APART},
        "images": results.manifest.num_images,
        "duplicates": len(find_duplicates(results)),
        **{f"step{step.number}": results.describe_statuses(step) for step in (CAPTION, LABEL, ASSIGN)},
        **{name: True for name in ("allow_none", "multi_label") if name in view.keys[ASSIGN]},
        **({"certificate": certificate} if certificate else {}),
    }


def say_certificate(view: View) -> dict[str, Any]:
    """Return what is certain of the assignments, {} where all images were asked about for want of a target."""
    if TARGET not in view.keys[ASSIGN]:
        return {}
    return load_certificate(view.results.journals[ASSIGN].directory) or {}


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
    return entries_of(iter_result_rows(view), more_types(view))


def entries_of(rows: Iterable[ResultRow], columns: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield rows as files have them, with these columns beside those of every run."""
    return (row_entry(result_fields(row, columns)) for row in rows)


def more_types(view: View, added: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the types of the columns that not every run has, those that are the user's own last.

    Args:
        added: by a later step.
    """
    path = {PATH_FIELD: list[str]} if levels_of(view.results) else {}
    several = {"clusters": list[str], "cluster_scores": list[int]} if "multi_label" in view.keys[ASSIGN] else {}
    inferred = INFERRED_COLUMNS if TARGET in view.keys[ASSIGN] else {}
    return {**path, **several, **inferred, **(added or {}), **view.results.once(own_types)}


def own_types(results: Results) -> dict[str, type]:
    """Return the types of the columns that are the user's own."""
    return metadata_types(results.manifest)


def say_inferred(assignment: Assignment) -> dict[str, Any]:
    """Return the columns that tell whether an image was asked about."""
    probability = assignment.probability
    return {"inferred": probability is not None, "probability": probability}


def say_fitting(assignment: Assignment, names: Mapping[int, str]) -> dict[str, Any]:
    """Return the columns that tell of all clusters that fit an image."""
    fitting = assignment.fitting
    return {
        "clusters": [names[cluster_id] for cluster_id, _ in fitting],
        "cluster_scores": [score for _, score in fitting],
    }


@dataclass(frozen=True, kw_only=True)
class ParquetFile(ExportFile):
    """The same rows as a table with a type for each column.

    Attributes:
        added: types of the columns that a later step adds.
    """

    added: Mapping[str, type] = field(default_factory=dict)

    def write(self, directory: Path, view: View) -> None:
        rows = (row for _, row in self.entries(view))
        write_parquet(directory / self.name, rows, more_types(view, self.added))

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
        prompt = config.prompts[self.name]
        common = config.model_key(self.role, prompt, uses_criterion=config.assign_prompt.uses("criterion"))
        none = {"allow_none": digest([NONE_NAME, NONE_DESCRIPTION])} if config.allow_none else {}
        several = {"multi_label": True} if config.multi_label else {}
        target = target_key(target=config.assign_target, delta=config.assign_delta, shares=config.dedupe != "off")
        listed = shortlist_key(results)
        return {**common, **none, **several, **target, **listed, "clusters": digest_clusters(definitions_of(results))}

    def is_of_a_part(self, settings: object, *, given: bool) -> bool:
        """Return as the others, but that what is inferred is inferred from the whole."""
        return super().is_of_a_part(settings, given=given) and not infers(settings)

    def must_have(self, config: StepConfig) -> tuple[MapStep[Any], ...]:
        return (self,) if config.is_part else (CAPTION, self)

    def iter_items(self, results: Results) -> Iterator[WorkItem[LabeledCaption]]:
        return map(partial(self._item, results), results.iter_ids(CAPTION, Status.DONE))

    def _item(self, results: Results, image_id: str) -> WorkItem[LabeledCaption]:
        made_from = [results.fingerprint(CAPTION, image_id)]
        if has_label(results, image_id):
            made_from.append(results.fingerprint(LABEL, image_id))
        return WorkItem(image_id, input_digest=digest(made_from), load=partial(labeled_caption_of, results, image_id))

    def partly_asked(
        self, key: StageKey, results: Results, stage: MapStage[LabeledCaption] | None
    ) -> CertifiedAnswers | None:
        """Return which images are asked about, where others are inferred."""
        if TARGET not in key:
            return None
        assert stage is None or isinstance(stage, AssignStage)
        return CertifiedAnswers(
            key=key, items=partial(self.iter_items, results), item_of=partial(self._item, results), stage=stage
        )

    def stage(self, config: StepConfig, results: Results, reader: ImageReader | None) -> AssignStage:
        clusters = definitions_of(results)
        common: dict[str, Any] = {
            "items": partial(self.iter_items, results),
            "prompt": config.assign_prompt,
            "criterion": config.criterion,
            "seed": config.seed,
            "shortlist": shortlist_of(results),
        }
        if config.multi_label:
            options = make_options(clusters, allow_none=False)
            return FittingStage(**common, options=options, allow_none=config.allow_none)
        return AssignStage(**common, options=make_options(clusters, allow_none=config.allow_none))

    def remark(self, results: Results) -> str:
        return self.describe_result(results.journals[self].directory)

    def describe_result(self, folder: Path) -> str:
        certificate = load_certificate(folder)
        return describe_certificate(certificate) if certificate else ""

    def count_context(self, config: StepConfig, num_labels: int) -> ContextNeed | None:
        around = count_prompt(config.assign_prompt.render(criterion=config.criterion, clusters="", image=""))
        clusters = CLUSTER.plus(RULES if config.evidence else NOTHING).times(min(config.num_clusters, MOST_LISTED))
        if config.given:
            lines = (list_options({"AA": one}) for one in make_options(config.given, allow_none=False))
            tokens = count_tokens("\n".join(sorted(lines, key=len)[-MOST_LISTED:]))
            clusters = Size(least=tokens, ample=tokens)
        around += count_tokens(list_options({"AA": NONE})) if config.allow_none else 0
        around += TOKENS_PER_FIT if config.multi_label else 0
        return ContextNeed(
            self.number, least=around + clusters.least + IMAGE.least, ample=around + clusters.ample + IMAGE.ample
        )

    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        name, description = TYPICAL_CLUSTER
        rules = TYPICAL_RULES if config.evidence else {}
        typical = Option(cluster_id=1, name=name, description=description, **rules)
        options = [typical] * min(config.num_clusters, MOST_LISTED) + [NONE] * (
            config.allow_none and not config.multi_label
        )
        prompt = config.assign_prompt.render(
            criterion=config.criterion,
            clusters="\n".join(list_options({"A": option}) for option in options),
            image=image_json(typical_ad(config.track), TYPICAL_LABEL),
        )
        return [TypicalRequest(prompt=prompt, answer=TYPICAL_FITS if config.multi_label else "A")]

    def expected_share(self, config: StepConfig, num_images: int) -> float:
        if config.assign_target is None:
            return 1.0
        from ictc.inference.cascade import Aim, foresee

        return foresee(num_images, Aim(target=config.assign_target, delta=config.assign_delta, seed=config.seed))

    def check_result(self, folder: Path, results: Results, key: StageKey) -> Iterator[Finding]:
        if key["clusters"] != digest_clusters(definitions_of(results)):
            problem = "is out of date: it assigns to other clusters than those in use; run again"
            yield Finding("key", folder, problem)
        if "allow_none" not in key and (count := results.count_statuses(self)[Status.NONE]):
            problem = (
                f"{count:,} images fit no cluster, which the key does not allow; run Step 3 again (--force_steps 3)"
            )
            yield Finding("accounting", folder, problem)
        if certified := self.partly_asked(key, results, None):
            for problem in certified.find_problems(results.journals[self]):
                yield Finding("accounting", folder, problem)
        is_several = "multi_label" in key
        if any(("fitting" in data) != is_several for _, data in results.iter_data(self, *JUDGED)):
            problem = "has answers to another question than its key: for one cluster, or for all that fit; run again"
            yield Finding("key", folder, problem)

    def sense_of(self, results: Results) -> Callable[[Mapping[str, Any]], bool]:
        meant: dict[str, set[int | None]] = {
            Status.DONE: {definition.cluster_id for definition in definitions_of(results)},
            Status.NONE: {None},
        }

        def makes_sense(record: Mapping[str, Any]) -> bool:
            data = record["data"]
            is_known = data.get("cluster_id", 0) in meant.get(record["status"], ())
            is_known = is_known and 0 <= data.get("probability", 1) <= 1
            return is_known and ("fitting" not in data or is_fitting(data, known=meant[Status.DONE]))

        return makes_sense


ASSIGN = AssignStep()


def infers(settings: object) -> bool:
    """Whether settings ask for assignments of which some are inferred."""
    return getattr(settings, "assign_target", None) not in (None, 1)


def is_fitting(data: Mapping[str, Any], *, known: Container[int | None]) -> bool:
    """Whether a record of an image in several clusters has each once, with a score, and the best first."""
    clusters, scores = [one for one, _ in data["fitting"]], [score for _, score in data["fitting"]]
    is_in_order = scores == sorted(scores, reverse=True) and data["cluster_id"] == next(iter(clusters), None)
    return (
        is_in_order
        and all(one in known for one in clusters)
        and len(set(clusters)) == len(clusters)
        and all(1 <= score <= MOST_SCORE for score in scores)
    )


def labeled_caption_of(results: Results, image_id: str) -> LabeledCaption:
    """Return the caption of an image with its label."""
    return caption_of(results, image_id), label_of(results, image_id)


def iter_assignments(results: Results) -> Iterator[Assignment]:
    """Yield the assignment of each image that was judged, reading nothing else of it."""
    return (Assignment(image_id, **data) for image_id, data in results.iter_data(ASSIGN, *JUDGED))


def iter_result_rows(view: View) -> Iterator[ResultRow]:
    """Yield everything known about each image that was judged."""
    results, is_several, infers_some = view.results, "multi_label" in view.keys[ASSIGN], TARGET in view.keys[ASSIGN]
    duplicates = find_duplicates(results)
    clusters: dict[int | None, ClusterDefinition | None] = {one.cluster_id: one for one in definitions_of(results)}
    clusters[None] = None
    paths = find_paths(levels_of(results))
    names = {one.cluster_id: one.name for one in definitions_of(results)}
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
            further={
                **({PATH_FIELD: path} if (path := paths.get(assignment.cluster_id or 0)) else {}),
                **(say_fitting(assignment, names) if is_several else {}),
                **(say_inferred(assignment) if infers_some else {}),
            },
        )
