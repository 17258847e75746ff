"""All that the results of one track's steps depend on, besides the images and what earlier steps made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ictc.config import ModelSpec
from ictc.config.answers import answer_options
from ictc.config.engine import Role
from ictc.config.levels import LevelSize
from ictc.records import ClusterDefinition, ClusterLevel, Guide
from ictc.storage.keys import digest
from ictc.tracks import Track
from ictc.tracks.base import AssignPrompt
from ictc.tracks.evidence import EVIDENCE_PROMPTS
from ictc.tracks.fitting import FITTING, FITTING_OR_NONE, fitting_prompts


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """All that the results of one track's steps depend on, besides the images.

    Attributes:
        num_clusters: K, or the most clusters that are tried.
        chooses_number: whether Step 2b chooses K.
        levels: of nested clusters, the coarsest first, the last having `num_clusters`; () if they are not nested.
        num_labels: most labels that one prompt lists to make clusters from.
        num_proposals: how many sets of clusters are made, of which those of the run are what they agree on.
        vlm, llm: the models of images and of texts.
        changed_models: what models are now, by name, that were others when they were first used.
        guide: what is known of the clusters before they are made.
        given: clusters to take instead of making some, () if there are none.
        given_levels: their levels, () if they are not nested.
        combined: digest of the one request that captions are asked by for several tracks, "" if each has its own.
        dedupe: what shares an answer.
        allow_none: whether an image may end in no cluster, as none fits.
        multi_label: whether an image may be in several clusters.
        assign_target: least share of assignments that are the model's own, where others are inferred; None if all are.
        assign_delta: probability with which that may be missed.
        evidence: whether each assignment is backed with a quote.
        is_part: whether the images are a part of a collection.
        has_imported_labels: whether some labels were imported, so that a model makes those of the others only.
    """

    track: Track
    criterion: str
    num_clusters: int
    num_labels: int
    chooses_number: bool = False
    levels: tuple[LevelSize, ...] = ()
    num_proposals: int = 1
    vlm: ModelSpec
    llm: ModelSpec
    seed: int
    changed_models: Mapping[str, str] = field(default_factory=dict)
    given: tuple[ClusterDefinition, ...] = ()
    given_levels: tuple[ClusterLevel, ...] = ()
    guide: Guide = field(default_factory=Guide)
    combined: str = ""
    dedupe: Literal["off", "exact", "near"] = "exact"
    allow_none: bool = False
    multi_label: bool = False
    assign_target: float | None = None
    assign_delta: float = 0.05
    evidence: bool = False
    is_part: bool = False
    has_imported_labels: bool = False

    def spec(self, role: Role) -> ModelSpec:
        """Return the model of a role."""
        return self.vlm if role == "vlm" else self.llm

    def model_key(self, role: Role, prompt: Mapping[str, Any], *, uses_criterion: bool) -> dict[str, Any]:
        """Return the part of a step's key that says which model is asked what.

        Args:
            prompt: the templates, and the form of the answer.
            uses_criterion: whether the templates have the criterion in them.
        """
        spec = self.spec(role)
        options = answer_options(spec.engine, spec.options)
        return {
            **({"weights": self.changed_models[spec.model]} if spec.model in self.changed_models else {}),
            **({"options": digest(options)} if options else {}),  # a digest: they may hold a key or a password
            "engine": spec.engine,
            "model": spec.model,
            "dtype": spec.dtype,
            "quantization": spec.quantization,
            "seed": self.seed,
            "prompt": digest(prompt),
            "criterion": self.criterion if uses_criterion else None,
        }

    @property
    def makes_agreement(self) -> bool:
        """Whether the clusters are what several sets of them agree on."""
        return self.num_proposals > 1 and not self.given

    @property
    def assign_prompt(self) -> AssignPrompt:
        """What Step 3 asks about an image."""
        if not self.multi_label:
            return self.track.assign
        return FITTING_OR_NONE if self.allow_none else FITTING

    @cached_property
    def prompts(self) -> dict[str, dict[str, Any]]:
        """The templates and answers' schemas that are asked by, by step; names of groups are asked for in Step 2b."""
        return {
            **self.track.prompts,
            **(self.track.naming_prompts if self.makes_agreement else {}),
            **(self.track.naming_inside_prompts if self.makes_agreement and self.levels else {}),
            **(fitting_prompts(self.assign_prompt) if self.multi_label else {}),
            **(EVIDENCE_PROMPTS if self.evidence else {}),
        }

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the results are made by, for people."""
        return {
            "track": self.track.name,
            "criterion": self.criterion,
            "num_clusters": self.num_clusters,
            "top_hooks": self.num_labels,
            **({"synthesize_runs": self.num_proposals} if self.makes_agreement else {}),
            "engine": self.vlm.engine,
            "vlm_model": self.vlm.model,
            "llm_model": self.llm.model,
            "max_image_tokens": self.vlm.max_image_tokens,
            "seed": self.seed,
            "prompts": digest(self.prompts),
            **({"definitions": "given"} if self.given else {}),
        }
