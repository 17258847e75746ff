"""What the page says about a run as a whole: what became of each image, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ictc.report.clusters import clip
from ictc.report.reading import RunReport
from ictc.steps.base import MapStep
from ictc.steps.certified import describe_certificate
from ictc.steps.evidence import DROPPED, QUOTED
from ictc.steps.table import STEPS

MAX_LISTED = 200
"""Most images listed for each way to have no cluster."""

UI_ONLY = ("Interface only", "Screens that show nothing but the interface of an app.")
NONE = "The model found that no cluster fits."
REJECTED = ("Rejected", "What the model gave no valid answer for, after several tries.")

IMPORTS = {"texts": "a table of texts", "captions": "a table of captions", "reference": "a directory of the reference"}
"""What was imported, for people."""


@dataclass(frozen=True, kw_only=True)
class FilteredImage:
    """An image without a cluster.

    Attributes:
        path: its id, if it is no file.
    """

    path: str
    platform: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All images that left the run in one way without a cluster.

    Attributes:
        images: the first `MAX_LISTED` of them.
    """

    key: str
    title: str
    description: str
    count: int
    reasons: list[tuple[str, int]]
    images: list[FilteredImage]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a step asked the model."""

    title: str
    system: str
    user: str


def build_outcomes(run: RunReport) -> list[Outcome]:
    """Return each way in which images ended without a cluster, if any did."""
    filtered = run.results.filtered
    none = (run.results.none_name, NONE)
    told = {"none": none, "ui_only": UI_ONLY, "broken": run.words.broken, "rejected": REJECTED}
    groups = ((key, filtered[filtered["outcome"] == key]) for key in told)
    return [build_outcome(key, images, told=told[key]) for key, images in groups if len(images)]


def build_outcome(key: str, images: pd.DataFrame, *, told: tuple[str, str]) -> Outcome:
    """Summarize the `images` of one outcome.

    Args:
        told: its title, and a sentence about it.
    """
    title, description = told
    listed = images.head(MAX_LISTED)[["image_path", "platform", "reason"]].fillna("")
    listed["image_path"] = listed["image_path"].where(listed["image_path"] != "", images["image_id"])
    return Outcome(
        key=key,
        title=title,
        description=description,
        count=len(images),
        reasons=[(clip(reason, 200), int(count)) for reason, count in images["reason"].value_counts().head(5).items()],
        images=[
            FilteredImage(path=path, platform=platform, reason=reason)
            for path, platform, reason in (map(clip, row) for row in listed.itertuples(index=False))
        ],
    )


def count_repeated(rows: pd.DataFrame) -> int:
    """Return how many ads say word for word what an earlier one says; ads without words are never repeated."""
    wordy = rows[rows["text"].str.strip() != ""]
    return int(wordy.duplicated(["brand", "text"]).sum())


def build_facts(run: RunReport) -> dict[str, str]:
    """Return how the run was made, as titles and values for people."""
    metadata, info = run.results.metadata, run.info
    settings = info.get("settings") or {}
    versions = info.get("versions") or {}
    imported = metadata.get("imported", "")
    facts = {
        "Criterion": run.results.criterion,
        "Track": run.results.track,
        "Clusters": f"{run.results.num_clusters} (K)",
        "Levels": describe_levels(run),
        "No cluster": "allowed where none fits" if metadata.get("allow_none") else "",
        "Several clusters": "all that fit, with a score from 1 to 5" if metadata.get("multi_label") else "",
        "Certificate": describe_certificate(metadata["certificate"]) if "certificate" in metadata else "",
        "Evidence": describe_quotes(run.quotes),
        "Imported": IMPORTS.get(imported, ""),
        "Model": describe_models(metadata),
        "Engine": str(metadata.get("engine", "")),
        "Precision": str(settings.get("dtype", "")) if metadata.get("engine") == "vllm" else "",
        "Labels read by Step 2b": describe_labels(run.synthesis, run.words.item),
        "Image tokens, at most": "" if imported else str(metadata.get("max_image_tokens", "")),
        "Seed": str(metadata.get("seed", "")),
        "Prompts": str(metadata.get("prompts", "")),
        "Finished": str(info.get("saved_at", "")),
        "Time of the last command": describe_seconds(info.get("seconds")),
        "Version": f"ictc {versions['ictc']}" if "ictc" in versions else "",
    }
    return {title: clip(value) for title, value in facts.items() if value}


def describe_quotes(quotes: Mapping[str, int]) -> str:
    """Return how many images are backed with a quote, "" where nobody asked for quotes."""
    if not quotes:
        return ""
    told = f"a quote for {quotes[QUOTED]:,} of {sum(quotes.values()):,}"
    return f"{told}; {quotes[DROPPED]:,} were dropped, as they stand nowhere" if quotes[DROPPED] else told


def describe_levels(run: RunReport) -> str:
    """Return the levels with their numbers of clusters, "" if there are none."""
    return " > ".join(f"{level.name} ({len(level.clusters)})" for level in run.results.levels)


def describe_labels(synthesis: dict[str, Any], item: str) -> str:
    """Return which labels the clusters were made from, "" if that is not known.

    Args:
        item: what was labeled.
    """
    match synthesis:
        case {"labels_read": 0}:
            return "none: the clusters were given"
        case {"labels_read": int(count), "share_covered": float(share)}:
            return f"the {count:,} most frequent, which stand for {share:.0%} of the labeled {item}s"
    return ""


def describe_models(metadata: dict[str, Any]) -> str:
    """Return the models' names, one if the same did all steps."""
    models = [str(metadata[name]) for name in ("vlm_model", "llm_model") if metadata.get(name)]
    return ", then ".join(dict.fromkeys(models))


def describe_seconds(seconds: object) -> str:
    """Return a duration in words, such as "2 h 5 min"."""
    if not isinstance(seconds, int | float):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def build_prompts(run: RunReport) -> list[Prompt]:
    """Return what each step asked, in their order; none if `prompts.json` is not there."""
    was_imported = bool(run.results.metadata.get("imported"))
    steps = (step for step in STEPS if not (was_imported and isinstance(step, MapStep) and step.reads_images))
    titles = {step.name: f"Step {step.number}: {run.words.about(step)}" for step in steps}
    titles["name"] = "Step 2b: a name for each group of labels"
    titles["name_inside"] = "Step 2b: a name for each group inside a coarser cluster"
    return [
        Prompt(
            title=title,
            system=clip(str(prompt.get("system", "")), 20_000),
            user=clip(str(prompt.get("user", "")), 20_000),
        )
        for name, title in titles.items()
        if isinstance(prompt := run.prompts.get(name), dict)
    ]
