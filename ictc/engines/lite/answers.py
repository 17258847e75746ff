"""Answers each kind of request with the small models. Knows requests and answers, nothing of concurrency."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from ictc.engines.base import (
    Answer,
    ChoiceAnswer,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
    Task,
)
from ictc.engines.lite.describing import Describer
from ictc.engines.lite.embedder import Array, Embedder, softmax
from ictc.engines.lite.judging import Judge
from ictc.engines.lite.language_model import LanguageModel
from ictc.engines.lite.naming import Namer
from ictc.engines.lite.nouns import NounJudge
from ictc.engines.lite.ocr import TextLine, TextReader
from ictc.engines.lite.prototypes import embed_definition
from ictc.engines.lite.quoting import find_best_quote
from ictc.engines.lite.schema import RequestRefusedError, Schema, cut, fill, properties_of, resolve
from ictc.engines.lite.spacing import Spacer
from ictc.engines.lite.synthesis import LABEL_JOINT, LabelGroup, embed_labels, group_labels

SUBJECT = "product category"
"""What the caption's `category` field asks of any image, whatever the criterion."""
GENERAL_CRITERIA = (
    SUBJECT,
    "emotional tone",
    "target audience",
    "promised benefit",
    "season or occasion",
    "place",
    "activity",
    "price level",
    "kind of offer",
    "style of language",
)
"""What is tried where criteria are asked for: a list of ours, whatever the images are."""
NOTHING_READ = "no readable text"
NOTHING_READ_SUMMARY = "This engine reads words only, and found none in the image."
PROMINENT_SHARE = 0.8
LABEL_WEIGHT = np.float32(0.3)
"""What a label counts for beside the image's own words: the criterion enters through the label alone."""
ASSIGN_SHARPNESS = np.float32(20.0)
LEAST_SIMILARITY = 0.3
"""Of an image to a cluster that fits. With the cluster of one category after the other left out, 2 % of the drawn ads
that have a cluster are less similar to all, and 35 % of those that have none; no value parts them."""
FIT_SHARE = 0.75
"""Of the similarity to the best cluster that others need to fit, too."""
LEAST_SIMILARITY_UNREAD = 0.9
"""Of an image without words: only to a cluster of such images it is as similar."""
SCORE_DIGITS = 4
MAX_DESCRIPTION_CHARS = 300
MIN_RARE_WORD_LENGTH = 5
NUM_IN_RULE = 3

Inputs = Mapping[str, Any]


class Answerer:
    """Answers one request at a time; safe to call from several threads."""

    def __init__(self, vision: bool) -> None:
        self._reader = TextReader() if vision else None
        self._embedder = Embedder()
        self._language_model = LanguageModel()
        self._spacer = Spacer(word_ranks(self._embedder, self._language_model))
        self._namer = Namer(self._embedder, self._language_model)
        self._judge = Judge(self._language_model)
        self._describer = Describer(self._embedder, NounJudge(self._language_model))
        self._tasks: dict[str, Callable[[GenerationRequest], str]] = {
            Task.CAPTION: self._caption,
            Task.LABEL: self._label,
            Task.SYNTHESIZE: self._synthesize,
            Task.SUGGEST: self._suggest,
            Task.NAME: self._name,
            Task.EVIDENCE: self._quote,
            Task.ASSIGN: self._fit,
        }

    def answer(self, request: GenerationRequest) -> GenerationResult:
        """Return an answer that satisfies the request's constraint, or the reason why there is none."""
        try:
            scores = None
            if request.task not in set(Task):
                raise RequestRefusedError(f"it can't do the {request.task} step; use another engine")
            if isinstance(request.answer, ChoiceAnswer):
                choose = self._tell_odd_one if request.task == Task.INTRUDER else self._assign
                scores = choose(request.inputs, request.answer.options)
                text = max(scores, key=scores.__getitem__)
            else:
                text = self._tasks[request.task](request)
        except RequestRefusedError as error:
            return ItemError(request.request_id, ItemErrorKind.REFUSED, message=f"lite engine: {error}")
        num_tokens = self._language_model.count_tokens(text)
        return Answer(request.request_id, text=text, completion_tokens=num_tokens, scores=scores)

    def _caption(self, request: GenerationRequest) -> str:
        if request.image is None or self._reader is None:
            raise RequestRefusedError("a caption needs an image, and an engine that was loaded with vision")
        try:
            found = self._reader.read(request.image)
        except Exception as error:  # whatever the recognition libraries raise, it is about this image
            raise RequestRefusedError(f"text recognition failed: {error}") from error
        lines = [replace(line, text=self._spacer.restore(line.text)) for line in found]
        return to_json(fill(json_schema(request), self._describe(lines)))

    def _describe(self, lines: list[TextLine]) -> dict[str, str | bool]:
        text = " ".join(line.text for line in lines)
        if not any(map(str.isalpha, text)):
            nothing = {"category": NOTHING_READ, "brand": "", "summary": NOTHING_READ_SUMMARY}
            return {**nothing, "text": text, "ui_only": False}
        category = " and ".join(self._namer.name(text, criterion=SUBJECT))
        largest = max(line.height for line in lines)
        prominent = " ".join(line.text for line in lines if line.height >= PROMINENT_SHARE * largest)
        return {
            "text": text,
            "brand": self._judge.find_brand([line.text for line in lines]),
            "ui_only": self._judge.is_interface(text),
            "category": category,
            "summary": f"Probably about {category}; its most prominent words: {prominent}",
        }

    def _label(self, request: GenerationRequest) -> str:
        schema = json_schema(request)
        content = content_of(request.inputs)
        label = (
            LABEL_JOINT.join(self._namer.name(content, criterion=request.inputs["criterion"]))
            if content
            else NOTHING_READ
        )
        pattern = properties_of(schema, schema)["label"].get("pattern", "")
        if not re.search(pattern, label):
            raise RequestRefusedError(f"the label {label!r} does not match {pattern!r}")
        return to_json(fill(schema, {"label": label}))

    def _synthesize(self, request: GenerationRequest) -> str:
        inputs, schema = request.inputs, json_schema(request)
        labels, counts = zip(*((entry["label"], entry["count"]) for entry in inputs["labels"]), strict=True)
        groups = group_labels(labels, counts=counts, num_groups=inputs["num_clusters"], embedder=self._embedder)
        if len(groups) < inputs["num_clusters"]:
            raise RequestRefusedError(
                f"{len(labels)} labels are {len(groups)} different meanings, too few for {inputs['num_clusters']} "
                "clusters; ask for fewer with --num_clusters"
            )
        item = resolve(properties_of(schema, schema)["clusters"]["items"], schema)
        described = self._describer.describe(
            groups, criterion=inputs["criterion"], max_chars=max_description_chars(item, schema)
        )
        clusters = []
        for place, (group, one) in enumerate(zip(groups, described, strict=True)):
            others = [other.name.lower() for other in described[:place] + described[place + 1 :]]
            known = {"name": one.name, "description": one.definition, **make_rules(group.labels, others=others)}
            clusters.append(only_asked(known, item, schema))
        return to_json({"clusters": clusters})

    def _name(self, request: GenerationRequest) -> str:
        inputs, schema = request.inputs, json_schema(request)
        labels, counts = zip(*((entry["label"], entry["count"]) for entry in inputs["labels"]), strict=True)
        others = [LabelGroup(labels=tuple(other), counts=(1,) * len(other)) for other in inputs["others"] if other]
        described = self._describer.describe_first(
            [LabelGroup(labels=labels, counts=counts), *others],
            criterion=inputs["criterion"],
            max_chars=max_description_chars(schema, schema),
            taken=inputs["taken"],
        )
        rules = make_rules(labels, others=[other.labels[0] for other in others])
        return to_json(
            only_asked({"name": described.name, "description": described.definition, **rules}, schema, schema)
        )

    def _quote(self, request: GenerationRequest) -> str:
        """Return the words nearest to the cluster: of those in the image, else of what the caption says."""
        inputs, cluster = request.inputs, request.inputs["cluster"]
        prototype = embed_definition(
            cluster["name"],
            description=cluster["description"],
            criterion=inputs["criterion"],
            embedder=self._embedder,
        )
        said = [inputs["summary"], inputs["category"], *inputs.get("analysis", {}).values()]
        read = [inputs["text"]] if any(map(str.isalpha, inputs["text"])) else said
        schema = json_schema(request)
        quote = find_best_quote(read, prototype, self._embedder)
        return to_json({"quote": cut(quote, properties_of(schema, schema)["quote"])})

    def _suggest(self, request: GenerationRequest) -> str:
        """Return criteria of the list that are not known yet: these models name what is there, not what to ask."""
        known = set(request.inputs["known"])
        left = [criterion for criterion in GENERAL_CRITERIA if criterion not in known] or [*GENERAL_CRITERIA]
        return to_json({"criteria": left[: request.inputs["num_criteria"]]})

    def _assign(self, inputs: Inputs, options: tuple[str, ...]) -> dict[str, float]:
        """Return each option's probability: a softmax of its similarity to the image's words and label.

        That no cluster fits, if it is an option, counts as a cluster at the least similarity of one that fits.
        """
        clusters = [option for option in options if not stands_for_none(inputs["options"][option])]
        none = [option for option in options if option not in clusters]
        similarities, least = self._similarities(inputs, clusters)
        probabilities = softmax(ASSIGN_SHARPNESS * np.array(similarities + [least] * len(none), np.float32))
        return rounded_to_one(dict(zip([*clusters, *none], probabilities.tolist(), strict=True)))

    def _tell_odd_one(self, inputs: Inputs, options: tuple[str, ...]) -> dict[str, float]:
        """Return each option's probability: the less its words are like those of the others, the likelier."""
        fields = ("category", "text", "summary")
        known = [{name: str(inputs["options"][option].get(name, "")) for name in fields} for option in options]
        vectors = self._embedder.embed([content_of(one) or NOTHING_READ for one in known])
        likeness = (vectors @ vectors.T).sum(axis=1) - 1  # of each to the others; to itself it is 1
        probabilities = softmax(-ASSIGN_SHARPNESS * likeness)
        return rounded_to_one(dict(zip(options, probabilities.tolist(), strict=True)))

    def _fit(self, request: GenerationRequest) -> str:
        """Return the clusters nearly as similar as the best; none, where that is allowed and the best is unlike it."""
        letters = list(request.inputs["options"])
        similarities, least = self._similarities(request.inputs, letters)
        may_be_empty = not properties_of(json_schema(request), json_schema(request))["clusters"].get("minItems")
        if may_be_empty and max(similarities) < least:
            return to_json({"clusters": []})
        scores = score_fitting(dict(zip(letters, similarities, strict=True)))
        return to_json({"clusters": [{"cluster": letter, "score": score} for letter, score in scores.items()]})

    def _similarities(self, inputs: Inputs, clusters: Sequence[str]) -> tuple[list[float], float]:
        """Return how similar an image is to each cluster, and the least that one has to be to fit."""
        content = content_of(inputs)
        image = self._embedder.embed([content or NOTHING_READ])[0]
        if inputs.get("label"):
            image = image + LABEL_WEIGHT * embed_labels([inputs["label"]], self._embedder)[0]
        length = float(np.linalg.norm(image))
        least = length * (LEAST_SIMILARITY if content else LEAST_SIMILARITY_UNREAD)
        similarities = [self._compare(image, inputs["options"][option], inputs["criterion"]) for option in clusters]
        if not content:  # it belongs to those of which nothing was read, however these are worded
            like = [lists_unread(inputs["options"][option]) for option in clusters]
            similarities = [length if is_like else each for is_like, each in zip(like, similarities, strict=True)]
        return similarities, least

    def _compare(self, image: Array, definition: Mapping[str, Any], criterion: str) -> float:
        """Return the dot product of an image and the prototype of a cluster."""
        prototype = embed_definition(
            definition["name"], description=definition["description"], criterion=criterion, embedder=self._embedder
        )
        return float(prototype @ image)


def score_fitting(similarities: Mapping[str, float]) -> dict[str, int]:
    """Return scores from 1 to 5 of the clusters nearly as similar as the best, which comes first whatever it is like.

    >>> score_fitting({"A": 0.32, "B": 0.4, "C": 0.1})
    {'B': 5, 'A': 2}
    >>> score_fitting({"A": -0.2, "B": -0.1})
    {'B': 5}
    """
    (letter, best), *others = sorted(similarities.items(), key=lambda pair: -pair[1])
    shares = {other: similarity / best for other, similarity in others if best > 0}
    nearly = {other: share for other, share in shares.items() if share >= FIT_SHARE}
    return {
        letter: 5,
        **{other: 1 + round(4 * (share - FIT_SHARE) / (1 - FIT_SHARE)) for other, share in nearly.items()},
    }


def stands_for_none(option: Mapping[str, Any]) -> bool:
    """Whether an option says that no cluster fits."""
    return option.get("cluster_id", 0) is None


def lists_unread(definition: Mapping[str, Any]) -> bool:
    """Whether a cluster is one of images of which nothing was read."""
    return NOTHING_READ in f"{definition['name']} {definition['description']}".lower()


def content_of(inputs: Inputs) -> str:
    """Return the words to judge an image by: those read in it, else what its caption says, "" if nothing was read."""
    if inputs["category"] == NOTHING_READ:
        return ""
    return inputs["text"] or f"{inputs['category']} {inputs['summary']}".strip()


def word_ranks(embedder: Embedder, language_model: LanguageModel) -> dict[str, int]:
    """Return all words that the two models know whole, the commonest first."""
    ranks = {word: rank for rank, word in enumerate(embedder.words_by_frequency())}
    for word in sorted(language_model.whole_words()):
        if word.islower() and len(word) >= MIN_RARE_WORD_LENGTH:
            ranks.setdefault(word, len(ranks))
    return ranks


def rounded_to_one(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores to a few digits, the best one absorbing what rounding took from their sum."""
    rounded = {option: round(score, SCORE_DIGITS) for option, score in scores.items()}
    best = max(scores, key=scores.__getitem__)
    rounded[best] = round(rounded[best] + 1 - sum(rounded.values()), SCORE_DIGITS)
    return rounded


def make_rules(labels: Sequence[str], *, others: Sequence[str]) -> dict[str, str]:
    """Return the rules of a group: its most typical labels belong to it, what other groups are does not.

    >>> make_rules(["city hotels", "beach flights"], others=["food"])
    {'include': 'Labels such as city hotels or beach flights.', 'exclude': 'What is rather food.'}
    """
    own, rather = (" or ".join(words[:NUM_IN_RULE]) for words in (labels, others))
    exclude = f"What is rather {rather}." if rather else "What has none of these labels."
    return {"include": f"Labels such as {own}.", "exclude": exclude}


def only_asked(known: Mapping[str, str], schema: Schema, root: Schema) -> dict[str, str]:
    """Return those of the values that a schema asks for, cut to its lengths."""
    asked = properties_of(schema, root)
    return {name: cut(value, asked[name]) for name, value in known.items() if name in asked}


def max_description_chars(cluster: Schema, root: Schema) -> int:
    """Return how long the description of a cluster may be by its schema."""
    length: int = properties_of(cluster, root)["description"].get("maxLength", MAX_DESCRIPTION_CHARS)
    return length


def json_schema(request: GenerationRequest) -> Schema:
    """Return the schema of a JSON request."""
    if not isinstance(request.answer, JsonAnswer):
        raise RequestRefusedError(f"{request.task} is answered in JSON only")
    return request.answer.schema


def to_json(value: Any) -> str:
    """Return `value` as JSON."""
    return orjson.dumps(value).decode()
