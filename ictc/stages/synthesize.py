"""Step 2b: the label histogram becomes exactly K cluster definitions, or a clear failure."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from ictc.engines.base import Answer, Engine, GenerationRequest, GenerationResult, JsonAnswer, Task
from ictc.errors import EngineError, InvalidAnswer, StageError
from ictc.records import ClusterDefinition
from ictc.stages.histogram import LabelHistogram
from ictc.stages.retry import CUT_OFF, FIRST, INVALID, Attempt, next_attempt
from ictc.tracks.base import Track, clusters_answer, parse_clusters

logger = logging.getLogger(__name__)

TOKENS_PER_CLUSTER = 200
TOKENS_BESIDE = 64


@dataclass(frozen=True)
class SynthesizeStage:
    """Ask once for the clusters of the whole collection."""

    histogram: LabelHistogram
    num_clusters: int
    track: Track
    criterion: str
    seed: int

    async def run(self, engine: Engine) -> tuple[ClusterDefinition, ...]:
        """Return the K definitions.

        Raises:
            StageError: no attempt gave K distinct definitions.
            EngineError: the engine cannot go on.
        """
        attempt: Attempt | None = FIRST
        reasons = []
        while attempt is not None:
            result = await self._ask(engine, attempt)
            try:
                return self._parse(result)
            except InvalidAnswer as error:
                reasons.append(str(error))
                logger.warning("synthesize: attempt %d failed: %s", attempt.number + 1, error)
                logger.debug("synthesize: the model said %r", result.text if isinstance(result, Answer) else result)
            attempt = next_attempt(attempt, failure_of(result))
        raise StageError(
            f"Step 2b: no {self.num_clusters} distinct clusters in {len(reasons)} attempts (last: {reasons[-1]}); "
            "try another --num_clusters, --seed or a larger model. Captions and labels are kept"
        )

    async def _ask(self, engine: Engine, attempt: Attempt) -> GenerationResult:
        async def one_request() -> AsyncIterator[GenerationRequest]:
            yield self._request(attempt)

        async with aclosing(engine.generate(one_request())) as results:
            async for result in results:
                return result
        raise EngineError("the engine ended without answering Step 2b; see the log")

    def _request(self, attempt: Attempt) -> GenerationRequest:
        labels = self.histogram.labels[: max(self.num_clusters, int(len(self.histogram.labels) * attempt.text_share))]
        return GenerationRequest(
            request_id="synthesize",
            task=Task.SYNTHESIZE,
            messages=self.track.synthesize.render(
                criterion=self.criterion,
                num_clusters=self.num_clusters,
                labels="\n".join(f"{count} × {label}" for label, count in labels),
                coverage=self._coverage_sentence(),
            ),
            answer=JsonAnswer(clusters_answer(self.num_clusters).model_json_schema()),
            sampling=attempt.sampling(TOKENS_BESIDE + TOKENS_PER_CLUSTER * self.num_clusters, self.seed),
            inputs={
                "criterion": self.criterion,
                "num_clusters": self.num_clusters,
                "labels": [{"label": label, "count": count} for label, count in labels],
            },
        )

    def _coverage_sentence(self) -> str:
        histogram = self.histogram
        return (
            f"They stand for {histogram.covered_images} of {histogram.num_images} images "
            f"({histogram.coverage:.0%}); {histogram.num_distinct} distinct labels were given in all."
        )

    def _parse(self, result: GenerationResult) -> tuple[ClusterDefinition, ...]:
        if not isinstance(result, Answer):
            raise InvalidAnswer(f"{result.kind.value}: {result.message}")
        return parse_clusters(result.text, self.num_clusters)


def failure_of(result: GenerationResult) -> str:
    """Return which ladder of `retry` an invalid result climbs."""
    if not isinstance(result, Answer):
        return result.kind
    return CUT_OFF if result.finish_reason == "length" else INVALID
