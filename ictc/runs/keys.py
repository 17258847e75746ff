"""What the result of each step depends on. A change of anything in a key makes the result stale (D6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ictc.config import ModelSpec, RunSettings
from ictc.config.answers import answer_options
from ictc.records import ClusterDefinition, StageName
from ictc.stages.histogram import LabelHistogram
from ictc.storage.keys import StageKey, digest
from ictc.tracks import Track


@dataclass(frozen=True)
class RunKeys:
    """The keys of one track under one set of settings.

    What a map stage reads of each image is not in here: every record carries a digest of its own input.

    Attributes:
        given: clusters that Step 2b takes instead of making its own, () if there are none.
        changed_models: what models are now, by name, that were others when they were first used.
        combined: digest of the one request that captions are asked by for several tracks, "" if each has its own.
    """

    settings: RunSettings
    track: Track
    criterion: str
    given: tuple[ClusterDefinition, ...] = ()
    combined: str = ""
    changed_models: Mapping[str, str] = field(default_factory=dict)

    @property
    def vlm(self) -> ModelSpec:
        """The model of Step 1."""
        return self.settings.engine.model_spec("vlm", self.settings.control.seed)

    @property
    def llm(self) -> ModelSpec:
        """The model of the text steps."""
        return self.settings.engine.model_spec("llm", self.settings.control.seed)

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.given) or self.settings.clustering.num_clusters

    def caption(self) -> StageKey:
        """Return the key of Step 1."""
        key = {**self._common("caption", self.vlm), "max_image_tokens": self.vlm.max_image_tokens}
        if self.settings.control.dedupe == "near":  # exact copies change nothing
            key["dedupe"] = "near"
        if self.combined:
            key["combined"] = self.combined
        return key

    def label(self) -> StageKey:
        """Return the key of Step 2a."""
        return self._common("label", self.llm)

    def synthesize(self, histogram: LabelHistogram) -> StageKey:
        """Return the key of Step 2b."""
        sizes = {"num_clusters": self.num_clusters, "top_hooks": self.settings.clustering.num_labels}
        if self.given:
            return {**sizes, "given": digest(self.given)}
        return {**self._common("synthesize", self.llm), **sizes, "labels": digest(histogram)}

    def assign(self, definitions: tuple[ClusterDefinition, ...]) -> StageKey:
        """Return the key of Step 3."""
        return {**self._common("assign", self.llm), "clusters": digest(definitions)}

    def _common(self, stage: StageName, spec: ModelSpec) -> StageKey:
        prompt = self.track.prompts[stage]
        uses_criterion = getattr(self.track, stage).uses("criterion")
        options = answer_options(spec.engine, spec.options)
        return {
            **({"weights": self.changed_models[spec.model]} if spec.model in self.changed_models else {}),
            **({"options": digest(options)} if options else {}),  # a digest: they may hold a key or a password
            "engine": spec.engine,
            "model": spec.model,
            "dtype": spec.dtype,
            "quantization": spec.quantization,
            "seed": self.settings.control.seed,
            "prompt": digest(prompt),
            "criterion": self.criterion if uses_criterion else None,
        }

    def metadata(self) -> dict[str, Any]:
        """Return for people what the results were made by."""
        clustering = self.settings.clustering
        return {
            "track": self.track.name,
            "criterion": self.criterion,
            "num_clusters": self.num_clusters,
            "top_hooks": clustering.num_labels,
            "engine": self.vlm.engine,
            "vlm_model": self.vlm.model,
            "llm_model": self.llm.model,
            "max_image_tokens": self.vlm.max_image_tokens,
            "seed": self.settings.control.seed,
            "prompts": digest(self.track.prompts),
            **({"definitions": "given"} if self.given else {}),
        }
