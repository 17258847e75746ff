"""What a run costs on a named GPU: whether its models fit, and the seconds of each step at the roofline.

Joins what is known of the collection, the prompts, the models and the GPU. Measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ictc.config import EngineSettings, ModelSpec
from ictc.engines.gpu import FP8_CAPABILITY, bytes_per_weight, check_gpus
from ictc.engines.shapes import ModelShape, find_shape
from ictc.engines.sizing import (
    Batch,
    Memory,
    choose_batch,
    context_tokens,
    count_engines,
    divide_memory,
    sequences_that_fit,
)
from ictc.engines.vllm_options import divide_spec, tensor_parallel_size
from ictc.errors import EngineLoadError
from ictc.planning.gpus import GpuModel
from ictc.planning.prompts import TextTokens
from ictc.planning.roofline import REALISTIC_SHARE, Duration, Machine, Request, duration
from ictc.planning.sample import Sample
from ictc.steps.base import MapStep, ReduceStep, Step


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """All that an estimate depends on.

    Attributes:
        tokens: text tokens of each step, by its name.
        steps: those to be run.
        num_tracks: tracks of the run.
        dedupe: whether equal images are asked about once.
        shares: of the images, what a step is expected to ask about, by its name; all of them else.
        in_one_pass: whether the tracks share each image, or every track is a run of its own.
    """

    engine: EngineSettings
    gpu: GpuModel
    sample: Sample
    tokens: Mapping[str, TextTokens]
    steps: tuple[Step, ...]
    num_tracks: int = 1
    dedupe: bool = True
    shares: Mapping[str, float] = field(default_factory=dict)
    in_one_pass: bool = True

    @property
    def num_gpus(self) -> int:
        """GPUs of the run: as many as its settings name or need, else one."""
        engine = self.engine
        return len(engine.named_gpus) or engine.num_gpus or (engine.vlm_tp or 1) * (engine.replicas or 1)

    @property
    def num_images(self) -> int:
        """Images that are asked about."""
        return self.sample.num_distinct if self.dedupe else self.sample.num_usable

    @property
    def sees_images(self) -> bool:
        """Whether a step asks about images."""
        return any(reads_images(step) for step in self.steps)

    def num_requests(self, step: Step) -> int:
        """Return how many requests a step makes, for all tracks together."""
        of_each = self.tokens[step.name].num_requests
        times = 1 if isinstance(step, ReduceStep) else self.num_images * self.shares.get(step.name, 1.0)
        return round(self.num_tracks * of_each * times)


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """How one model is laid out.

    Attributes:
        num_engines, gpus_each: engines side by side, and over how many GPUs each.
        memory: of one engine, None if the size of the weights is unknown.
        room: how many such requests the cache of one engine holds, None if that is unknown.
        problem: why it does not run there and what would, "" if it does.
    """

    spec: ModelSpec
    shape: ModelShape | None
    num_engines: int
    gpus_each: int
    batch: Batch
    memory: Memory | None
    room: int | None
    problem: str = ""

    @property
    def layout(self) -> str:
        """How many engines there are and over how many GPUs each lies, in words."""
        return count_engines(self.num_engines, gpus_each=self.gpus_each)

    @property
    def context_tokens(self) -> int:
        """Tokens of a request with an image of full size, and of its answer."""
        return context_tokens(self.spec)

    def machine(self, gpu: GpuModel) -> Machine:
        """Return all GPUs of these engines as one."""
        num_gpus = self.num_engines * self.gpus_each
        capability = gpu.gpu.capability
        num_bytes = bytes_per_weight(self.spec)
        native_fp8 = num_bytes == 1.0 and capability is not None and capability >= FP8_CAPABILITY
        return Machine(
            flops=num_gpus * gpu.tflops * 1e12,
            bandwidth=num_gpus * gpu.bandwidth_gb_s * 1e9,
            sequences=self.num_engines * self.batch.sequences,
            num_engines=self.num_engines,
            bytes_per_weight=num_bytes,
            body_speedup=2.0 if native_fp8 else 1.0,
        )


@dataclass(frozen=True)
class StepEstimate:
    """What one step costs.

    Attributes:
        num_requests: of all tracks together.
        request: the average one.
    """

    step: Step
    num_requests: int
    request: Request
    duration: Duration


@dataclass(frozen=True)
class Estimate:
    """What a run costs. `steps` is empty if a model does not run there, or its size is unknown."""

    models: tuple[ModelPlan, ...]
    steps: tuple[StepEstimate, ...]
    num_gpus: int

    @cached_property
    def hours(self) -> float:
        """Hours at a realistic share of the peak."""
        return self.hours_at(REALISTIC_SHARE)

    def hours_at(self, share: float) -> float:
        """Return the hours at `share` of the peak."""
        return sum(step.duration.seconds(share) for step in self.steps) / 3600


def estimate(scenario: Scenario) -> Estimate:
    """Return what a run under `scenario` costs."""
    vlm = plan_model(scenario, scenario.engine.model_spec("vlm", seed=0))
    llm = vlm if scenario.engine.is_unified else plan_model(scenario, scenario.engine.model_spec("llm", seed=0))
    models = (vlm,) if llm is vlm else (vlm, llm)
    num_gpus = max(model.num_engines * model.gpus_each for model in models)
    if any(model.problem or model.shape is None for model in models):
        return Estimate(models, (), num_gpus)
    steps = tuple(_estimate_step(scenario, step, vlm if step.role == "vlm" else llm) for step in scenario.steps)
    return Estimate(models, steps, num_gpus)


def reads_images(step: Step) -> bool:
    """Whether a step asks about images."""
    return isinstance(step, MapStep) and step.reads_images


def plan_model(scenario: Scenario, spec: ModelSpec) -> ModelPlan:
    """Return how the GPUs of `scenario` are divided for one model."""
    gpus = [scenario.gpu.gpu] * scenario.num_gpus
    numbered = replace(spec, gpus=tuple(range(len(gpus))))
    problem, specs, size = "", [numbered], len(gpus)
    try:
        specs = divide_spec(numbered, gpus)
        size = tensor_parallel_size(specs[0], len(gpus))
        check_gpus(specs[0], gpus, size)
    except EngineLoadError as error:
        problem = str(error)
    used = gpus[:size]
    batch = choose_batch(spec, used)
    memory = divide_memory(spec, used, batch.tokens)
    room = sequences_that_fit(spec, memory)
    if not problem and room == 0:
        problem = f"{spec.model} leaves no room for a request of {context_tokens(spec):,} tokens; use more GPUs"
    return ModelPlan(
        spec=spec,
        shape=find_shape(spec.model),
        num_engines=len(specs),
        gpus_each=len(used),
        batch=batch,
        memory=memory,
        room=room,
        problem=problem,
    )


def _estimate_step(scenario: Scenario, step: Step, model: ModelPlan) -> StepEstimate:
    assert model.shape is not None
    tokens = scenario.tokens[step.name]
    machine = model.machine(scenario.gpu)
    num_requests = scenario.num_requests(step)
    request = Request(image_tokens=0, text_tokens=tokens.prompt, answer_tokens=tokens.answer)
    if reads_images(step):
        image_tokens = scenario.sample.mean_image_tokens(scenario.engine.max_image_tokens)
        request = replace(
            request, image_tokens=image_tokens, sharing=scenario.num_tracks if scenario.in_one_pass else 1
        )
    elif isinstance(step, ReduceStep):  # one engine works, on the requests of one track at a time
        machine = replace(model, num_engines=1).machine(scenario.gpu)
        machine = replace(machine, sequences=max(1, min(machine.sequences, int(tokens.num_requests))))
    return StepEstimate(step, num_requests, request, duration(model.shape, request, num_requests, machine))
