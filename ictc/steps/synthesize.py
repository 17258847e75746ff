"""Step 2b: the label histogram becomes exactly K cluster definitions, or a clear failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from ictc.config.levels import AUTO, MIN_CLUSTERS, MOST_AT_ONCE
from ictc.errors import StageError
from ictc.records import NONE_GIVEN, ClusterDefinition, ClusterLevel, GivenClusters, Guide
from ictc.steps.base import JsonFile, MapStep, ReduceStep, TypicalRequest, View
from ictc.steps.caption import CAPTION, caption_of
from ictc.steps.config import StepConfig
from ictc.steps.finding import Finding
from ictc.steps.histogram import LabelHistogram, build_histogram
from ictc.steps.label import LABEL, count_labels, iter_labels
from ictc.steps.results import Results
from ictc.steps.synthesis.dividing import labels_at_once
from ictc.steps.synthesis.levels import iter_problems, iter_repeated_names, level_to_row
from ictc.steps.synthesis.merging import METHOD
from ictc.steps.synthesis.proposing import Aim
from ictc.steps.synthesis.result import DEFINITIONS, LEVELS, Synthesis, load_synthesis, save_synthesis
from ictc.steps.synthesis.task import SynthesizeTask
from ictc.steps.synthesis.typical import typical_requests
from ictc.storage.entries import Entry
from ictc.storage.forms import FIELDS, LIST
from ictc.storage.keys import StageKey, digest
from ictc.tracks.context import CLUSTER, LABEL_LINE, NOTHING, RULES, ContextNeed, count_prompt
from ictc.tracks.rules import asks_rules
from ictc.tracks.spelling import singular_form

CLUSTERS_FILE = "step2b_dynamic_clusters.json"
LEVELS_FILE = "step2b_levels.json"
METADATA_FILE = "step2b_metadata.json"


def iter_clusters(view: View) -> Iterator[Entry]:
    """Yield the clusters by name."""
    return ((definition.name, definition.to_row()) for definition in definitions_of(view.results))


def iter_levels(view: View) -> Iterator[Entry]:
    """Yield the levels by name, the coarsest first, each with its clusters."""
    return ((level.name, level_to_row(level)) for level in levels_of(view.results))


def are_nested(results: Results) -> bool:
    """Whether there are levels."""
    return bool(levels_of(results))


def iter_metadata(view: View) -> Iterator[Entry]:
    """Yield what the clusters were made by and from."""
    key, made = view.keys[SYNTHESIZE], view.results.find(SYNTHESIZE)
    counts = count_labels(view.results)
    histogram = build_histogram(counts, seed=key.get("seed", view.said.get("seed", 0))).head(key["top_hooks"])
    read = histogram.head(made.num_labels if made is not None else None)
    known = {
        "labeled_images": read.num_images,
        "distinct_labels": read.num_distinct,
        "labels_read": len(read.labels),
        "images_covered": read.covered_images,
        "share_covered": round(read.coverage, 4),
        "labels": [{"label": label, "count": count} for label, count in read.labels],
        **say_placed(made),
    }
    yield from {**say_settings(view), **known}.items()


def say_placed(made: Synthesis | None) -> dict[str, Any]:
    """Return which cluster each label belongs to, and how surely, where several proposals say so."""
    if made is None or not made.placed:
        return {}
    curve = {"stability": [asdict(one) for one in made.curve]} if made.curve else {}
    merged = {"merged_groups": made.num_merged} if made.num_merged else {}
    return {**curve, **merged, "placed_labels": [asdict(one) for one in made.placed]}


def say_settings(view: View) -> dict[str, Any]:
    """Return what a run says of itself, as far as the key of the clusters does not know better."""
    key = view.keys[SYNTHESIZE]
    is_chosen = key["num_clusters"] == AUTO
    number = len(definitions_of(view.results)) if is_chosen else key["num_clusters"]
    most = {"max_clusters": key["max_clusters"]} if is_chosen else {}
    levels = {level.name: len(level.clusters) for level in levels_of(view.results)}
    nested = {"num_clusters_of_levels": levels} if levels else {}
    return {**view.said, "num_clusters": number, **nested, **most, "top_hooks": key["top_hooks"]}


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
        JsonFile(name=LEVELS_FILE, form=LIST, entries=iter_levels, is_wanted=are_nested),
        JsonFile(name=METADATA_FILE, form=FIELDS, entries=iter_metadata),
    )
    settings_file = METADATA_FILE

    def key(self, config: StepConfig, results: Results) -> StageKey:
        sizes: dict[str, Any] = {"num_clusters": config.num_clusters, "top_hooks": config.num_labels}
        if config.given:
            nested = {"levels": digest([*map(level_to_row, config.given_levels)])} if config.given_levels else {}
            return {**sizes, "given": digest_clusters(config.given), **nested}
        prompt = config.track.prompts[self.name]
        common = config.model_key(self.role, prompt, uses_criterion=config.track.synthesize.uses("criterion"))
        if config.chooses_number:
            sizes |= {"num_clusters": AUTO, "max_clusters": config.num_clusters, "merges": METHOD}
        if not config.makes_agreement:
            return {**common, **sizes, "labels": digest(all_labels(config, results).head(config.num_labels))}
        agreed = {
            "proposals": config.num_proposals,
            "placing": digest(config.track.prompts["assign"]),
            "naming": digest(config.track.naming_prompts),
            **({"guide": digest(config.guide)} if config.guide != Guide() else {}),
        }
        if config.levels:
            agreed["levels"] = [[level.name, level.num_clusters] for level in config.levels]
            agreed["naming_inside"] = digest(config.track.naming_inside_prompts)
        return {**common, **sizes, **agreed, "labels": digest(all_labels(config, results))}

    def must_have(self, config: StepConfig) -> tuple[MapStep[Any], ...]:
        return (CAPTION,) if config.given else (CAPTION, LABEL)

    def explain_too_few(self, config: StepConfig, num_images: int) -> str:
        named = len(config.guide.clusters)
        if named > config.num_clusters:
            return f"--guide names {named} clusters, and --num_clusters is {config.num_clusters}: raise it"
        if config.given or config.chooses_number or num_images >= config.num_clusters:
            return ""
        return f"{num_images:,} images can't make {config.num_clusters} clusters: lower --num_clusters or add images"

    def begin(self, config: StepConfig, results: Results) -> SynthesizeTask | Synthesis:
        if config.given:
            return Synthesis(config.given, 0, levels=config.given_levels)
        labels = all_labels(config, results)
        least = config.num_clusters
        if config.chooses_number:
            least = max(MIN_CLUSTERS, len(config.guide.clusters))
        if len(labels.labels) < least:
            raise StageError(
                f"Step 2b: {len(labels.labels)} distinct labels can't make {least} clusters; "
                "lower --num_clusters or add images"
            )
        return SynthesizeTask(
            aim=Aim(track=config.track, criterion=config.criterion, num_clusters=config.num_clusters, seed=config.seed),
            labels=labels,
            num_labels=config.num_labels,
            num_proposals=config.num_proposals,
            chooses_number=config.chooses_number,
            levels=config.levels,
            guide=config.guide,
            examples=find_examples(results, labels.head(config.num_labels)) if config.makes_agreement else {},
        )

    def given_for(self, key: StageKey, result: Synthesis) -> GivenClusters:
        if "given" not in key:
            return NONE_GIVEN
        return GivenClusters(definitions=result.definitions, levels=result.levels)

    def size(self, key: StageKey) -> int:
        return 1 if key["num_clusters"] == AUTO else int(key["num_clusters"])

    def count(self, result: Synthesis | None) -> int:
        if result is None:
            return 0
        return 1 if result.curve else len(result.definitions)

    def load(self, folder: Path) -> Synthesis | None:
        return load_synthesis(folder)

    def save(self, folder: Path, result: Synthesis) -> None:
        save_synthesis(folder, result)

    def count_context(self, config: StepConfig, num_labels: int) -> ContextNeed | None:
        if config.given:
            return None
        num_clusters = min(config.num_clusters, MOST_AT_ONCE)
        num_labels = labels_at_once(num_labels, num_clusters=config.num_clusters)
        prompt = config.track.synthesize.render(
            criterion=config.criterion, num_clusters=num_clusters, labels="", coverage="x" * 160
        )
        around = count_prompt(prompt)
        has_rules = asks_rules(config.track.synthesize.answer)
        clusters = CLUSTER.plus(RULES if has_rules else NOTHING).times(num_clusters)
        return ContextNeed(
            self.number,
            least=around + num_labels * LABEL_LINE.least + clusters.least,
            ample=around + num_labels * LABEL_LINE.ample + clusters.ample,
        )

    def examples(self, config: StepConfig) -> Sequence[TypicalRequest]:
        return typical_requests(config)

    def check_result(self, folder: Path, results: Results, key: StageKey) -> Iterator[Finding]:
        path, definitions = folder / DEFINITIONS, definitions_of(results)
        if not definitions:
            yield Finding("accounting", path, "there are no clusters yet, or the file is damaged; run again")
            return
        if key["num_clusters"] == AUTO:
            most = key["max_clusters"]
            if not MIN_CLUSTERS <= len(definitions) <= most:
                yield Finding("accounting", path, f"holds {len(definitions)} clusters, not 2 to {most}")
        elif len(definitions) != key["num_clusters"]:
            yield Finding("accounting", path, f"holds {len(definitions)} clusters, not {key['num_clusters']}")
        for problem in iter_repeated_names(definition.name for definition in definitions):
            yield Finding("accounting", path, problem)
        if [definition.cluster_id for definition in definitions] != list(range(1, len(definitions) + 1)):
            yield Finding("accounting", path, f"the clusters are not numbered from 1 to {len(definitions)}")
        yield from self._check_levels(folder, results, key)
        if "labels" in key and self._labels_now(results, key) != key["labels"]:
            yield Finding("key", path, "is out of date: it was made from other labels than those in use; run again")

    def _check_levels(self, folder: Path, results: Results, key: StageKey) -> Iterator[Finding]:
        """Yield why the levels, if there are any, are not what they must be."""
        levels, path = levels_of(results), folder / LEVELS
        if ("levels" in key) != bool(levels):
            yield Finding("accounting", path, f"there are {len(levels) or 'no'} levels, and the key says otherwise")
        if not levels:
            return
        for problem in iter_problems(levels):
            yield Finding("accounting", path, problem)
        if levels[-1].clusters != definitions_of(results):
            yield Finding("accounting", path, f"the finest level is not what {DEFINITIONS} holds")
        sizes = [[level.name, len(level.clusters)] for level in levels]
        if "given" not in key and sizes != key.get("levels"):
            yield Finding("accounting", path, f"the levels are {sizes}, and the key says {key.get('levels')}")

    def _labels_now(self, results: Results, key: StageKey) -> str:
        top = None if "proposals" in key else key["top_hooks"]
        return digest(build_histogram(count_labels(results), seed=key["seed"]).head(top))


SYNTHESIZE = SynthesizeStep()


def definitions_of(results: Results) -> tuple[ClusterDefinition, ...]:
    """Return the clusters, () if there are none."""
    made = results.find(SYNTHESIZE)
    return () if made is None else made.definitions


def levels_of(results: Results) -> tuple[ClusterLevel, ...]:
    """Return the levels, the coarsest first, () if the clusters are not nested."""
    made = results.find(SYNTHESIZE)
    return () if made is None else made.levels


def digest_clusters(definitions: Sequence[ClusterDefinition]) -> str:
    """Return a digest of clusters, which is that of earlier versions where they have no rules.

    Fields are in the order of the record, not sorted: so records themselves are written, which these versions took.
    """
    return digest([orjson.Fragment(orjson.dumps(definition.to_row())) for definition in definitions])


def all_labels(config: StepConfig, results: Results) -> LabelHistogram:
    """Return what the clusters are made from: the labels that are there."""
    return build_histogram(count_labels(results), seed=config.seed)


def find_examples(results: Results, labels: LabelHistogram) -> dict[str, str]:
    """Return the caption of one image for each label, the same whatever the order of the images."""
    named = {singular_form(label): label for label, _ in labels.labels}
    chosen: dict[str, tuple[str, str]] = {}
    for image_id, label in iter_labels(results):
        name = named.get(singular_form(label))
        if name is not None:
            drawn = digest(image_id), image_id
            chosen[name] = min(drawn, chosen.get(name, drawn))
    captions = {name: caption_of(results, image_id) for name, (_, image_id) in chosen.items()}
    return {name: caption.summary or caption.text for name, caption in captions.items()}
