"""What would make a run cheaper, and by how much: the same estimate with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ictc.config.engine import UNIFIED
from ictc.engines.gpu import DENSE_QWEN_SIZES, FP8_CAPABILITY, bytes_per_weight
from ictc.engines.shapes import billions_in_name
from ictc.planning.estimate import Scenario, estimate

IMAGE_BUDGETS = (1024, 512, 256)
NUM_TRACKS = 3
TENSOR_PARALLEL_SIZES = (2, 4, 8)
LAYOUT = ("num_gpus", "gpu_ids", "gpu_id", "vlm_tp", "llm_tp", "replicas")
"""Settings that say which GPUs there are and how they are divided."""


@dataclass(frozen=True, kw_only=True)
class Lever:
    """One change to a run.

    Attributes:
        change: the flag to give, or what it amounts to.
        hours: of the changed run, at a realistic share of the peak.
        num_gpus: of the changed run.
        base_hours: what that compares with, None if the run is impossible as it is.
        note: what else it changes.
    """

    change: str
    hours: float
    num_gpus: int
    base_hours: float | None
    note: str = ""

    @property
    def saved_share(self) -> float | None:
        """Share of the time that it saves, negative if it costs time; None if there is nothing to compare with."""
        return None if self.base_hours is None else 1 - self.hours / self.base_hours


def find_levers(scenario: Scenario) -> list[Lever]:
    """Return the changes that apply to this run or, if it can't run as it is, those that would let it."""
    base = estimate(scenario)
    changes = _changes(scenario) if base.hours else _remedies(scenario)
    levers = []
    for change, changed, note in changes:
        estimated, against = estimate(changed), base
        if changed.num_tracks != scenario.num_tracks:  # other work: what it saves shows against a run for each track
            against = estimate(replace(changed, in_one_pass=False))
        if estimated.hours:
            levers.append(
                Lever(
                    change=change,
                    hours=estimated.hours,
                    num_gpus=estimated.num_gpus,
                    base_hours=against.hours or None,
                    note=note,
                )
            )
    return levers


Change = tuple[str, Scenario, str]


def _changes(scenario: Scenario) -> Iterator[Change]:
    yield from _fewer_image_tokens(scenario)
    yield from _duplicates(scenario)
    yield from _tracks(scenario)
    yield from _more_gpus(scenario)
    yield from _cheaper_models(scenario)


def _remedies(scenario: Scenario) -> Iterator[Change]:
    for num_gpus in TENSOR_PARALLEL_SIZES:
        more = _with_engine(scenario, **dict.fromkeys(LAYOUT) | {"num_gpus": num_gpus})
        if estimate(more).hours:
            yield f"--num_gpus {num_gpus}", more, "one engine over all of them"
            break
    if scenario.engine.dtype == "bfloat16":
        yield "--dtype float16", _with_engine(scenario, dtype="float16"), "where a GPU has no bfloat16"
    yield from _cheaper_models(scenario)


def _with_engine(scenario: Scenario, **settings: object) -> Scenario:
    return replace(scenario, engine=scenario.engine.model_copy(update=settings))


def _fewer_image_tokens(scenario: Scenario) -> Iterator[Change]:
    mean = scenario.sample.mean_image_tokens(scenario.engine.max_image_tokens)
    for budget in IMAGE_BUDGETS:
        fewer = scenario.sample.mean_image_tokens(budget)
        if scenario.sees_images and fewer < 0.95 * mean:
            changed = _with_engine(scenario, max_image_tokens=budget)
            yield f"--max_image_tokens {budget}", changed, f"{fewer:,.0f} tokens an image; small print may be lost"


def _duplicates(scenario: Scenario) -> Iterator[Change]:
    if scenario.sample.num_distinct < scenario.sample.num_usable:
        name = "--dedupe off" if scenario.dedupe else "--dedupe exact"
        note = "each copy is asked about anew" if scenario.dedupe else "copies are asked about once"
        yield name, replace(scenario, dedupe=not scenario.dedupe), note


def _tracks(scenario: Scenario) -> Iterator[Change]:
    if scenario.num_tracks > 1:
        separate = replace(scenario, in_one_pass=False)
        yield f"{scenario.num_tracks} runs of one track", separate, "each computes every image anew"
    elif scenario.sees_images:
        together = replace(scenario, num_tracks=NUM_TRACKS)
        yield "--track 1,2,3", together, "at best, against three runs: all share each image"


def _more_gpus(scenario: Scenario) -> Iterator[Change]:
    if scenario.engine.engine != "vllm":
        return
    base = estimate(scenario).models[0]
    replicas, size = 2 * base.num_engines, base.gpus_each
    layout = dict.fromkeys(LAYOUT) | {"replicas": replicas, "vlm_tp": size, "llm_tp": size}
    changed = _with_engine(scenario, **layout)
    yield f"--replicas {replicas}", changed, f"{replicas * size} GPUs, for the same GPU-hours"


def _cheaper_models(scenario: Scenario) -> Iterator[Change]:
    if _could_be_fp8(scenario):
        yield "--quantization fp8", _with_engine(scenario, quantization="fp8"), "at best; compare the answers"
    engine = scenario.engine
    size = billions_in_name(engine.vlm_model)
    for smaller in DENSE_QWEN_SIZES:
        name = f"Qwen/Qwen3.5-{smaller:g}B"
        changed = _with_engine(scenario, vlm_model=name, llm_model=UNIFIED)
        if engine.is_unified and size and smaller < size and estimate(changed).hours:
            yield f"--vlm_model {name}", changed, "compare the answers"
            return


def _could_be_fp8(scenario: Scenario) -> bool:
    engine, capability = scenario.engine, scenario.gpu.gpu.capability
    quantized = {engine.quantization, engine.vlm_quantization, engine.llm_quantization} - {"none", None}
    is_16_bit = bytes_per_weight(engine.model_spec("vlm", seed=0)) == 2
    return is_16_bit and not quantized and capability is not None and capability >= FP8_CAPABILITY
