"""Step 2b: the label histogram becomes exactly K cluster definitions, or a clear failure.

The list of labels is as long as the context allows, and what the prompt and the results say of it is about the list
that was read. An engine that counts tokens tells how much of a prompt fits before it computes anything; of one that
doesn't, a shorter list is asked until it takes it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from ictc.engines.base import (
    Answer,
    Engine,
    GenerationRequest,
    GenerationResult,
    ItemError,
    ItemErrorKind,
    JsonAnswer,
    Task,
)
from ictc.errors import EngineError, InvalidAnswer, StageError
from ictc.records import ClusterDefinition
from ictc.stages.histogram import LabelHistogram
from ictc.stages.retry import CUT_OFF, FIRST, INVALID, Attempt, next_attempt
from ictc.tracks.base import Track, clusters_answer, parse_clusters
from ictc.tracks.context import CLUSTER

logger = logging.getLogger(__name__)

TOKENS_PER_CLUSTER = 128
TOKENS_BESIDE = 64
UNTOLD_SHARE = 0.75
"""How much of the list is left when an engine finds it too long and does not say by how much."""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What Step 2b came to.

    Attributes:
        num_labels: how many labels of the histogram the model read, the most frequent ones.
    """

    definitions: tuple[ClusterDefinition, ...]
    num_labels: int


@dataclass(frozen=True)
class SynthesizeStage:
    """Ask once for the clusters of the whole collection."""

    histogram: LabelHistogram
    num_clusters: int
    track: Track
    criterion: str
    seed: int

    @property
    def max_tokens(self) -> int:
        """Most tokens of the first answer."""
        return TOKENS_BESIDE + TOKENS_PER_CLUSTER * self.num_clusters

    async def run(self, engine: Engine) -> Synthesis:
        """Return the K definitions, and what they were made from.

        Raises:
            StageError: no attempt gave K distinct definitions.
            EngineError: the engine cannot go on.
        """
        attempt: Attempt | None = FIRST
        shown, reasons = self.histogram, []
        while attempt is not None:
            result, shown = await self._ask_fitting(engine, attempt, shown)
            try:
                return Synthesis(self._parse(result), len(shown.labels))
            except InvalidAnswer as error:
                reasons.append(str(error))
                logger.warning("synthesize: attempt %d failed: %s", attempt.number + 1, error)
                logger.debug("synthesize: the model said %r", result.text if isinstance(result, Answer) else result)
            if ended_with_the_context(result, self.max_tokens * attempt.tokens_factor):
                shown = self._shorten(shown, result)
            attempt = None if is_too_long(result) else next_attempt(attempt, failure_of(result))
        raise StageError(
            f"Step 2b: no {self.num_clusters} distinct clusters in {len(reasons)} attempts (last: {reasons[-1]}); "
            f"{self._remedy(result)}. Captions and labels are kept"
        )

    def _remedy(self, result: GenerationResult) -> str:
        if is_too_long(result):
            return "give the model a longer context (--max_model_len, or the server's own), or lower --num_clusters"
        return "try another --num_clusters, --seed or a larger model"

    async def _ask_fitting(
        self, engine: Engine, attempt: Attempt, shown: LabelHistogram
    ) -> tuple[GenerationResult, LabelHistogram]:
        """Return the result for the longest list that the engine takes, and that list."""
        while True:
            result = await self._ask(engine, self._request(attempt, shown))
            if not is_too_long(result) or len(shown.labels) <= self.num_clusters:
                return result, shown
            shown = self._shorten(shown, result)

    def _shorten(self, shown: LabelHistogram, result: GenerationResult) -> LabelHistogram:
        return shown.head(max(self.num_clusters, labels_to_try(len(shown.labels), result)))

    async def _ask(self, engine: Engine, request: GenerationRequest) -> GenerationResult:
        async def one_request() -> AsyncIterator[GenerationRequest]:
            yield request

        async with aclosing(engine.generate(one_request())) as results:
            async for result in results:
                return result
        raise EngineError("the engine ended without answering Step 2b; see the log")

    def _request(self, attempt: Attempt, shown: LabelHistogram) -> GenerationRequest:
        return GenerationRequest(
            request_id="synthesize",
            task=Task.SYNTHESIZE,
            messages=self.track.synthesize.render(
                criterion=self.criterion,
                num_clusters=self.num_clusters,
                labels="\n".join(f"{count} × {label}" for label, count in shown.labels),
                coverage=coverage_sentence(shown),
            ),
            answer=JsonAnswer(clusters_answer(self.num_clusters).model_json_schema()),
            sampling=attempt.sampling(self.max_tokens, self.seed),
            min_answer_tokens=TOKENS_BESIDE + CLUSTER.least * self.num_clusters,
            inputs={
                "criterion": self.criterion,
                "num_clusters": self.num_clusters,
                "labels": [{"label": label, "count": count} for label, count in shown.labels],
            },
        )

    def _parse(self, result: GenerationResult) -> tuple[ClusterDefinition, ...]:
        if not isinstance(result, Answer):
            raise InvalidAnswer(f"{result.kind.value}: {result.message}")
        return parse_clusters(result.text, self.num_clusters)


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


def failure_of(result: GenerationResult) -> str:
    """Return which ladder of `retry` an invalid result climbs."""
    if not isinstance(result, Answer):
        return result.kind
    return CUT_OFF if result.finish_reason == "length" else INVALID
