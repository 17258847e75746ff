"""Asks for K clusters of a list of labels: as many of them as the context allows.

What the prompt and the results say of the list is about the list that was read. An engine that counts tokens tells how
much of a prompt fits before it computes anything; of one that doesn't, a shorter list is asked until it takes it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property

from ictc.engines.base import (
    Answer,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
    Task,
)
from ictc.errors import InvalidAnswer, StageError
from ictc.records import ClusterDefinition
from ictc.stages.dialogue import Dialogue
from ictc.stages.retry import FIRST, Attempt, failure_of, next_attempt, text_of
from ictc.steps.histogram import LabelHistogram
from ictc.steps.options import Option, make_options
from ictc.tracks.answers import ClusterAnswer, clusters_answer, parse_clusters
from ictc.tracks.base import Track
from ictc.tracks.context import CLUSTER
from ictc.tracks.rules import asks_rules

logger = logging.getLogger(__name__)

TOKENS_PER_CLUSTER = 128
TOKENS_OF_RULES = 128
TOKENS_BESIDE = 64
UNTOLD_SHARE = 0.75
"""How much of the list is left when an engine finds it too long and does not say by how much."""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What clusters are wanted."""

    track: Track
    criterion: str
    num_clusters: int
    seed: int

    def of(self, num_clusters: int) -> Aim:
        """Return the same for another number of clusters."""
        return replace(self, num_clusters=num_clusters)


@dataclass(frozen=True)
class Proposal:
    """K clusters, as one answer gave them.

    Attributes:
        read: the labels that it was made from.
    """

    definitions: tuple[ClusterDefinition, ...]
    read: LabelHistogram

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """What a label is placed among."""
        return make_options(self.definitions, allow_none=False)


@dataclass(frozen=True, kw_only=True)
class Proposer:
    """Asks for the clusters of one list of labels.

    Attributes:
        name: of its requests.
    """

    aim: Aim
    histogram: LabelHistogram
    name: str

    @property
    def max_tokens(self) -> int:
        """Most tokens of the first answer."""
        rules = TOKENS_OF_RULES if asks_rules(self._answer) else 0
        return TOKENS_BESIDE + (TOKENS_PER_CLUSTER + rules) * self.aim.num_clusters

    @property
    def _answer(self) -> type[ClusterAnswer]:
        return self.aim.track.synthesize.answer

    def propose(self) -> Dialogue[Proposal]:
        """Come to K definitions.

        Raises:
            StageError: no attempt gave K distinct definitions.
        """
        attempt: Attempt | None = FIRST
        shown, reasons = self.histogram, []
        while attempt is not None:
            result, shown = yield from self._ask_fitting(attempt, shown)
            try:
                return Proposal(parse_clusters(text_of(result), self.aim.num_clusters, self._answer), shown)
            except InvalidAnswer as error:
                reasons.append(str(error))
                logger.warning("%s: attempt %d failed: %s", self.name, attempt.number + 1, error)
                logger.debug("%s: the model said %r", self.name, result.text if isinstance(result, Answer) else result)
            if ended_with_the_context(result, self.max_tokens * attempt.tokens_factor):
                shown = self._shorten(shown, result)
            attempt = None if is_too_long(result) else next_attempt(attempt, failure_of(result))
        raise StageError(
            f"Step 2b: no {self.aim.num_clusters} distinct clusters in {len(reasons)} attempts (last: {reasons[-1]}); "
            f"{self._remedy(result)}. Captions and labels are kept"
        )

    def _remedy(self, result: GenerationResult) -> str:
        if is_too_long(result):
            return "give the model a longer context (--max_model_len, or the server's own), or lower --num_clusters"
        return "try another --num_clusters, --seed or a larger model"

    def _ask_fitting(
        self, attempt: Attempt, shown: LabelHistogram
    ) -> Dialogue[tuple[GenerationResult, LabelHistogram]]:
        """Come to the result for the longest list that the engine takes, and that list."""
        while True:
            result = yield self._request(attempt, shown)
            if not is_too_long(result) or len(shown.labels) <= self.aim.num_clusters:
                return result, shown
            shown = self._shorten(shown, result)

    def _shorten(self, shown: LabelHistogram, result: GenerationResult) -> LabelHistogram:
        return shown.head(max(self.aim.num_clusters, labels_to_try(len(shown.labels), result)))

    def _request(self, attempt: Attempt, shown: LabelHistogram) -> GenerationRequest:
        aim = self.aim
        return GenerationRequest(
            request_id=self.name,
            task=Task.SYNTHESIZE,
            messages=aim.track.synthesize.render(
                criterion=aim.criterion,
                num_clusters=aim.num_clusters,
                labels="\n".join(f"{count} × {label}" for label, count in shown.labels),
                coverage=coverage_sentence(shown),
            ),
            answer=JsonAnswer(clusters_answer(aim.num_clusters, self._answer).model_json_schema()),
            sampling=attempt.sampling(max_tokens=self.max_tokens, seed=aim.seed),
            min_answer_tokens=TOKENS_BESIDE + CLUSTER.least * aim.num_clusters,
            inputs={
                "criterion": aim.criterion,
                "num_clusters": aim.num_clusters,
                "labels": [{"label": label, "count": count} for label, count in shown.labels],
            },
        )


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
