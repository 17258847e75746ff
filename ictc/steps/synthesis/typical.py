"""What Step 2b asks, for typical labels: to reckon what a run costs."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from ictc.config.levels import MIN_CLUSTERS
from ictc.steps.base import TypicalRequest
from ictc.steps.config import StepConfig
from ictc.steps.synthesis.dividing import first_number, labels_at_once
from ictc.steps.synthesis.naming import LABELS_OF_SIBLING, MAX_LABELS, MAX_SIBLINGS
from ictc.tracks.answers import ClusterAnswer
from ictc.tracks.rules import asks_rules
from ictc.tracks.typical import TYPICAL_AD, TYPICAL_CLUSTER, TYPICAL_LABEL, TYPICAL_RULES

NAME, DESCRIPTION = TYPICAL_CLUSTER


def typical_requests(config: StepConfig) -> Sequence[TypicalRequest]:
    """Return what is asked for the proposals, for the place of each label in them, and for the names."""
    if config.given:
        return [_proposal(config, config.num_clusters, num_labels=config.num_labels, count=0)]
    if config.num_proposals == 1:
        return [_proposal(config, config.num_clusters, num_labels=config.num_labels, count=1)]
    if config.levels:
        return _levels(config)
    numbers = config.num_clusters - MIN_CLUSTERS + 1 if config.chooses_number else 1
    return [*_placements(config, config.num_clusters, count=numbers), _name(config, config.num_clusters)]


def _levels(config: StepConfig) -> Sequence[TypicalRequest]:
    """Return what is asked for each level."""
    requests = []
    num_above = 1
    for level in config.levels:
        number = level.num_clusters
        requests += [*_placements(config, number), _name(config, number, num_above=num_above)]
        num_above = number
    return requests


def _placements(config: StepConfig, num_clusters: int, *, count: int = 1) -> Sequence[TypicalRequest]:
    """Return what is asked for `count` times all proposals, and for the place of each label in them.

    Of more clusters than one answer can hold, each label is placed twice.
    """
    num_proposals, first = count * config.num_proposals, first_number(num_clusters)
    places = num_proposals * config.num_labels
    listed = labels_at_once(config.num_labels, num_clusters=num_clusters)
    requests = [
        _proposal(config, first, num_labels=listed, count=num_proposals),
        _place(config, first, count=places),
    ]
    if first == num_clusters:
        return requests
    inside, listed = -(-num_clusters // first), -(-config.num_labels // first)
    return [
        *requests,
        _proposal(config, inside, num_labels=listed, count=num_proposals * first),
        _place(config, inside, count=places),
    ]


def _proposal(config: StepConfig, num_clusters: int, *, num_labels: int, count: int) -> TypicalRequest:
    prompt = config.track.synthesize.render(
        criterion=config.criterion,
        num_clusters=num_clusters,
        labels=_label_lines(num_labels),
        coverage="",
    )
    clusters = [_cluster(config.track.synthesize.answer)] * num_clusters
    return TypicalRequest(prompt=prompt, answer=orjson.dumps(clusters).decode(), count=count)


def _place(config: StepConfig, num_clusters: int, *, count: int) -> TypicalRequest:
    clusters = "\n".join(f"A. {NAME}: {DESCRIPTION}" for _ in range(num_clusters))
    label = orjson.dumps({"label": TYPICAL_LABEL}).decode()
    prompt = config.track.assign.render(criterion=config.criterion, clusters=clusters, image=label)
    return TypicalRequest(prompt=prompt, answer="A", count=count)


def _name(config: StepConfig, num_clusters: int, *, num_above: int = 1) -> TypicalRequest:
    """Return the request for a name.

    Args:
        num_above: clusters of the level above, 1 if there is none.
    """
    num_labels = min(MAX_LABELS, max(1, config.num_labels // num_clusters))
    num_siblings = max(1, num_clusters // num_above - 1)
    sibling = ", ".join([TYPICAL_LABEL] * LABELS_OF_SIBLING)
    answer = orjson.dumps(_cluster(config.track.naming.answer)).decode()
    is_inside = num_above > 1
    prompt = config.track.naming_inside if is_inside else config.track.naming
    messages = prompt.render(
        criterion=config.criterion,
        labels=_label_lines(num_labels),
        examples=TYPICAL_AD.summary,
        others="\n".join([sibling] * min(MAX_SIBLINGS, num_siblings)),
        taken="[]",
        **({"parent": answer} if is_inside else {}),
    )
    return TypicalRequest(prompt=messages, answer=answer, count=num_clusters)


def _cluster(answer: type[ClusterAnswer]) -> dict[str, str]:
    return {"name": NAME, "description": DESCRIPTION, **(TYPICAL_RULES if asks_rules(answer) else {})}


def _label_lines(num_labels: int) -> str:
    return "\n".join(f"1234 × {TYPICAL_LABEL}" for _ in range(num_labels))
