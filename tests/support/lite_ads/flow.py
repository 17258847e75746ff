"""Drives an engine through the four steps as a run does, and measures the outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np
import orjson
from scipy.optimize import linear_sum_assignment
from support.lite_ads.drawing import DrawnAd

from ictc.engines.base import (
    Answer,
    ChoiceAnswer,
    Engine,
    GenerationRequest,
    GenerationResult,
    JsonAnswer,
    SamplingParams,
    Task,
)
from ictc.records import DecodedImage
from ictc.steps.histogram import build_histogram
from ictc.tracks.answers import CaptionAnswer, ClusterAnswer, LabelAnswer, clusters_answer

SAMPLING = SamplingParams(max_tokens=200)
TOP_LABELS = 60


@dataclass(frozen=True)
class Reading:
    """What the first two steps made of the ads, by image id; interface screens have no label."""

    captions: dict[str, dict[str, Any]]
    labels: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """What the last two steps made of the labels: the clusters, and each image's by its id."""

    clusters: list[dict[str, str]]
    assigned: dict[str, int]

    def accuracy(self, ads: Sequence[DrawnAd]) -> float:
        """Return the share of ads in the cluster of their category, under the best pairing (Hungarian)."""
        categories = sorted({ad.category for ad in ads})
        table = np.zeros((len(categories), len(self.clusters)))
        for ad in ads:
            if ad.image_id in self.assigned:
                table[categories.index(ad.category), self.assigned[ad.image_id]] += 1
        rows, columns = linear_sum_assignment(table, maximize=True)
        return float(table[rows, columns].sum() / len(ads))


async def cluster_ads(engine: Engine, ads: Sequence[DrawnAd], criterion: str, num_clusters: int) -> Outcome:
    """Caption, label, synthesize and assign."""
    return await cluster_reading(engine, await read_ads(engine, ads, criterion), criterion, num_clusters)


async def read_ads(engine: Engine, ads: Sequence[DrawnAd], criterion: str) -> Reading:
    """Caption all ads, and label those that are no interface screens."""
    captions = await ask_json(engine, [caption_request(ad.image_id, ad.image, criterion) for ad in ads])
    valid = {image_id: caption for image_id, caption in captions.items() if not caption["ui_only"]}
    answers = await ask_json(engine, [label_request(*item, criterion) for item in valid.items()])
    return Reading(captions, {image_id: answer["label"] for image_id, answer in answers.items()})


async def cluster_reading(engine: Engine, reading: Reading, criterion: str, num_clusters: int) -> Outcome:
    """Synthesize clusters from the labels, and assign each labeled ad to one."""
    request = synthesize_request(reading.labels.values(), criterion, num_clusters)
    clusters = (await ask_json(engine, [request]))[request.request_id]["clusters"]
    options = dict(zip(ascii_uppercase, clusters, strict=False))
    requests = [
        assign_request(image_id, reading.captions[image_id], label, criterion, options)
        for image_id, label in reading.labels.items()
    ]
    letters = list(options)
    choices = await ask(engine, requests)
    return Outcome(clusters, {image_id: letters.index(text_of(result)) for image_id, result in choices.items()})


def caption_request(
    request_id: str, image: DecodedImage, criterion: str, schema: dict[str, Any] | None = None
) -> GenerationRequest:
    answer = JsonAnswer(schema or CaptionAnswer.model_json_schema())
    return GenerationRequest(
        request_id,
        task=Task.CAPTION,
        messages=(),
        answer=answer,
        sampling=SAMPLING,
        image=image,
        inputs={"criterion": criterion},
    )


def label_request(request_id: str, caption: dict[str, Any], criterion: str) -> GenerationRequest:
    inputs = {"criterion": criterion, **caption}
    return GenerationRequest(
        request_id,
        task=Task.LABEL,
        messages=(),
        answer=JsonAnswer(LabelAnswer.model_json_schema()),
        sampling=SAMPLING,
        image=None,
        inputs=inputs,
    )


def synthesize_request(labels: Iterable[str], criterion: str, num_clusters: int) -> GenerationRequest:
    histogram = build_histogram(Counter(sorted(labels))).head(TOP_LABELS)
    inputs = {
        "criterion": criterion,
        "num_clusters": num_clusters,
        "labels": [{"label": label, "count": count} for label, count in histogram.labels],
    }
    answer = JsonAnswer(clusters_answer(num_clusters).model_json_schema())
    return GenerationRequest(
        "synthesize", task=Task.SYNTHESIZE, messages=(), answer=answer, sampling=SAMPLING, image=None, inputs=inputs
    )


def name_request(
    labels: Mapping[str, int], others: Sequence[Sequence[str]], criterion: str, taken: Sequence[str] = ()
) -> GenerationRequest:
    inputs = {
        "criterion": criterion,
        "labels": [{"label": label, "count": count} for label, count in labels.items()],
        "examples": [],
        "others": [list(other) for other in others],
        "taken": list(taken),
    }
    return GenerationRequest(
        "name",
        task=Task.NAME,
        messages=(),
        answer=JsonAnswer(ClusterAnswer.model_json_schema()),
        sampling=SAMPLING,
        image=None,
        inputs=inputs,
    )


def assign_request(
    request_id: str, caption: dict[str, Any], label: str, criterion: str, options: dict[str, dict[str, str]]
) -> GenerationRequest:
    inputs = {"criterion": criterion, **caption, "label": label, "options": options}
    return GenerationRequest(
        request_id,
        task=Task.ASSIGN,
        messages=(),
        answer=ChoiceAnswer(tuple(options)),
        sampling=SAMPLING,
        image=None,
        inputs=inputs,
    )


async def ask(engine: Engine, requests: Sequence[GenerationRequest]) -> dict[str, GenerationResult]:
    """Return each request's result by its id."""

    async def feed() -> AsyncIterator[GenerationRequest]:
        for request in requests:
            yield request

    return {result.request_id: result async for result in engine.generate(feed())}


async def ask_json(engine: Engine, requests: Sequence[GenerationRequest]) -> dict[str, dict[str, Any]]:
    """Return each request's parsed answer by its id; an item error fails the test."""
    return {id_: orjson.loads(text_of(result)) for id_, result in (await ask(engine, requests)).items()}


def text_of(result: GenerationResult) -> str:
    assert isinstance(result, Answer), result
    return result.text
