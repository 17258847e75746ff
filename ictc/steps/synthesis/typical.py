"""What Step 2b asks, for typical labels: to reckon what a run costs."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from ictc.config.groups import MIN_CLUSTERS
from ictc.steps.base import TypicalRequest
from ictc.steps.config import StepConfig
from ictc.steps.synthesis.naming import LABELS_OF_SIBLING, MAX_LABELS, MAX_SIBLINGS
from ictc.tracks.typical import TYPICAL_AD, TYPICAL_CLUSTER, TYPICAL_LABEL

NAME, DESCRIPTION = TYPICAL_CLUSTER


def typical_requests(config: StepConfig) -> Sequence[TypicalRequest]:
    """Return what is asked for the proposals, for the place of each label in them, and for the names."""
    if config.given:
        return [_proposal(config, count=0)]
    if config.num_proposals == 1:
        return [_proposal(config, count=1)]
    numbers = config.num_clusters - MIN_CLUSTERS + 1 if config.chooses_number else 1
    return [_proposal(config, count=numbers * config.num_proposals), _place(config, numbers), _name(config)]


def _proposal(config: StepConfig, *, count: int) -> TypicalRequest:
    prompt = config.track.synthesize.render(
        criterion=config.criterion,
        num_clusters=config.num_clusters,
        labels=_label_lines(config.num_labels),
        coverage="",
    )
    clusters = [{"name": NAME, "description": DESCRIPTION}] * config.num_clusters
    return TypicalRequest(prompt=prompt, answer=orjson.dumps(clusters).decode(), count=count)


def _place(config: StepConfig, numbers: int) -> TypicalRequest:
    clusters = "\n".join(f"A. {NAME}: {DESCRIPTION}" for _ in range(config.num_clusters))
    label = orjson.dumps({"label": TYPICAL_LABEL}).decode()
    prompt = config.track.assign.render(criterion=config.criterion, clusters=clusters, image=label)
    return TypicalRequest(prompt=prompt, answer="A", count=numbers * config.num_proposals * config.num_labels)


def _name(config: StepConfig) -> TypicalRequest:
    num_labels = min(MAX_LABELS, max(1, config.num_labels // config.num_clusters))
    sibling = ", ".join([TYPICAL_LABEL] * LABELS_OF_SIBLING)
    prompt = config.track.naming.render(
        criterion=config.criterion,
        labels=_label_lines(num_labels),
        examples=TYPICAL_AD.summary,
        others="\n".join([sibling] * min(MAX_SIBLINGS, config.num_clusters - 1)),
        taken="[]",
    )
    answer = orjson.dumps({"name": NAME, "description": DESCRIPTION}).decode()
    return TypicalRequest(prompt=prompt, answer=answer, count=config.num_clusters)


def _label_lines(num_labels: int) -> str:
    return "\n".join(f"1234 × {TYPICAL_LABEL}" for _ in range(num_labels))
