"""How `ictc plan` shows a plan: tables for people, one JSON object for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import orjson

from ictc.config.engine import ENGINES_WITH_OWN_MODELS
from ictc.planning.estimate import ModelPlan, StepEstimate
from ictc.planning.plan import ClusterPlan, Plan
from ictc.planning.roofline import REALISTIC_SHARE, request_flop
from ictc.steps.base import Step
from ictc.steps.table import find_step

SHARE = f"{REALISTIC_SHARE:.0%}"
Row = Sequence[str]


def plan_as_text(plan: Plan, price_per_hour: float | None) -> list[str]:
    """Return the lines of the plan."""
    sections = [align(collection_rows(plan), num_left=2)]
    sections += [align(model_rows(plan, model), num_left=2) for model in plan.estimate.models if has_gpu(plan)]
    sections.append(align(cluster_rows(plan.clusters), num_left=2) if plan.clusters else [])
    if plan.total_hours is not None:
        sections.append(align(step_rows(plan, price_per_hour), num_left=1))
    sections.append(list(footnotes(plan)))
    if plan.levers:
        heading = "What would change that:" if plan.estimate.steps else "What would run:"
        sections.append([heading, *align(lever_rows(plan, price_per_hour), num_left=1, last_left=True)])
    return "\n\n".join("\n".join(lines) for lines in sections if lines).splitlines()


def has_gpu(plan: Plan) -> bool:
    """Whether the engine of the plan runs models of one's choice on a GPU."""
    return plan.scenario.engine.engine not in ENGINES_WITH_OWN_MODELS


def align(rows: Sequence[Row], *, num_left: int, last_left: bool = False) -> list[str]:
    """Return the rows as lines with aligned columns; the first `num_left`, and the last if asked, to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if place < num_left or (last_left and place == last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def collection_rows(plan: Plan) -> list[Row]:
    """Return what was found out about the images."""
    scenario, sample = plan.scenario, plan.scenario.sample
    budget = scenario.engine.max_image_tokens
    tokens = sample.image_tokens(budget) or [0]
    middle, high = tokens[len(tokens) // 2], tokens[len(tokens) * 95 // 100]
    return [
        ("Images", f"{sample.num_images:,} in {plan.place}"),
        ("  unreadable", f"{sample.num_unreadable} of {sample.num_looked_at:,} looked at (headers only)"),
        ("  exact copies", describe_copies(plan)),
        (
            "  image tokens",
            f"{sample.mean_image_tokens(budget):,.0f} on average, median {middle:,}, 95th percentile {high:,}; "
            f"--max_image_tokens {budget:,}",
        ),
        *([("  besides", plan.left_out)] if plan.left_out else []),
    ]


def describe_copies(plan: Plan) -> str:
    """Return how many images are copies of others, and how that was found out."""
    sample = plan.scenario.sample
    if not sample.copies.num_compared:
        return "not looked for, as the files are not on this machine"
    copies = sample.num_usable - sample.num_distinct
    share = copies / max(sample.num_usable, 1)
    note = "" if plan.scenario.dedupe else "; --dedupe off asks about each"
    error = f" ± {2 * sample.copies.error:.1%}" if sample.copies.error else ""
    return f"about {copies:,} ({share:.0%}{error}), from comparing {sample.copies.num_compared:,} by size{note}"


def cluster_rows(clusters: ClusterPlan) -> list[Row]:
    """Return whether K, the labels and the context go together."""
    need = clusters.need
    if clusters.problem:
        fit = f"no: {clusters.problem}"
    else:
        has = "" if clusters.context is None else f", of {clusters.context:,}"
        fit = f"Step {need.step} takes {need.least:,} to {need.ample:,} tokens{has}"
    numbers = " > ".join(map(str, clusters.levels)) or f"{clusters.num_clusters}"
    return [("Clusters", f"{numbers} of at most {clusters.num_labels:,} labels"), ("  context", fit)]


def model_rows(plan: Plan, model: ModelPlan) -> list[Row]:
    """Return how a model lies on its GPUs, or why it does not."""
    gpu, num_gpus = plan.scenario.gpu, model.num_engines * model.gpus_each
    figures = f"{gpu.tflops:,g} TFLOP/s and {gpu.bandwidth_gb_s:,g} GB/s each"
    rows: list[Row] = [("Model", model.spec.model), ("  GPU", f"{num_gpus} x {gpu.gpu.name}, {figures}")]
    if model.problem:
        problem, _, remedy = model.problem.partition(": use ")
        return [*rows, ("  runs", f"no: {problem}"), *([("  instead", f"use {remedy}")] if remedy else [])]
    sequences, tokens = f"{model.batch.sequences:,} requests at a time", f"{model.batch.tokens:,} tokens a batch"
    return [*rows, *memory_rows(model), ("  settings", f"{model.layout}, {sequences}, {tokens}")]


def memory_rows(model: ModelPlan) -> list[Row]:
    """Return how an engine divides its memory, and for how many requests that is enough, if that is known."""
    memory = model.memory
    if memory is None:
        return []
    parts = f"weights {memory.weights_gb:.0f} GB, batches {memory.batch_gb:.0f} GB, cache {memory.cache_gb:.0f} GB"
    each = ", each engine" if model.num_engines > 1 else ""
    room = "" if model.room is None else f", room for {model.room:,} requests of {model.context_tokens:,} tokens"
    return [("  memory", f"fits{each}: {parts} of {memory.usable_gb:.0f} GB{room}")]


def step_rows(plan: Plan, price_per_hour: float | None) -> list[Row]:
    """Return a row for each step, and their sum."""
    measured = plan.measured is not None
    header = ["", "requests", "image", "text", "answer", "limit", "at peak", f"at {SHARE}"]
    header += (["measured"] if measured else []) + (["cost"] if price_per_hour else [])
    rows: list[Row] = [header]
    for step in plan.scenario.steps:
        cells = [step.title, f"{plan.scenario.num_requests(step):,}", *estimate_cells(plan.estimate_of(step))]
        rows.append([*cells, *hour_cells(plan, step, price_per_hour)])
    estimate, total = plan.estimate, plan.total_hours
    sums = ["Total", "", "", "", "", ""]
    sums += [format_hours(estimate.hours_at(1)), format_hours(estimate.hours)] if estimate.steps else ["", ""]
    sums += [format_hours(total)] if measured else []
    return [
        *rows,
        [*sums, *([format_cost(plan, hours=total, price_per_hour=price_per_hour)] if price_per_hour else [])],
    ]


def estimate_cells(step: StepEstimate | None) -> list[str]:
    """Return the tokens of one request, which limit binds, and the time of a step by the roofline."""
    if step is None:
        return [""] * 6
    request, duration = step.request, step.duration
    return [
        f"{request.image_tokens:,.0f}" if request.image_tokens else "",
        f"{request.text_tokens:,.0f}",
        f"{request.answer_tokens:,.0f}",
        duration.bound(REALISTIC_SHARE),
        format_hours(duration.seconds() / 3600),
        format_hours(duration.seconds(REALISTIC_SHARE) / 3600),
    ]


def hour_cells(plan: Plan, step: Step, price_per_hour: float | None) -> list[str]:
    """Return the measured time of a step, if anything was measured, and its cost, if there is a price."""
    is_measured = step.name in (plan.measured or {})
    cells = [format_hours(plan.hours(step)) if is_measured else ""] if plan.measured is not None else []
    return cells + (
        [format_cost(plan, hours=plan.hours(step), price_per_hour=price_per_hour)] if price_per_hour else []
    )


def footnotes(plan: Plan) -> Iterator[str]:
    """Yield what the numbers of the table rest on."""
    if not has_gpu(plan):
        yield f"The {plan.scenario.engine.engine} engine has no roofline on a GPU; --calibrate N measures it here."
    for model in plan.estimate.models if has_gpu(plan) else ():
        if model.shape is None and not model.problem:
            yield f"No time for {model.spec.model}: neither its folder nor its name tells its size."
        elif model.shape is not None and plan.estimate.steps:
            yield f"Times of {model.spec.model} rest on {model.shape.source}."
    if plan.estimate.steps:
        yield f"Text tokens: {plan.token_source}."
        yield f"{SHARE} of the peak is what an engine that never waits reaches; loading the model comes on top."
    for name, share in plan.scenario.shares.items():
        yield (
            f"{find_step(name).title}: about {share:.1%} of the images are asked about and the others inferred, where "
            "labels tell most clusters; up to all, where they don't."
        )
    for name, pace in (plan.measured or {}).items():
        tokens = "tokens unknown" if pace.tokens is None else f"{pace.tokens:,.0f} tokens each"
        measured = f"{pace.num_requests:,} requests at {pace.per_second:,.1f}/s"
        yield f"Measured: {find_step(name).title}, {measured}, {tokens}."


def lever_rows(plan: Plan, price_per_hour: float | None) -> list[Row]:
    """Return a row for each change."""
    rows: list[Row] = [["", "hours", "saves", *(["cost"] if price_per_hour else []), ""]]
    for lever in plan.levers:
        hours = plan.lever_hours(lever)
        cost = plan.cost(hours, price_per_hour=price_per_hour, num_gpus=lever.num_gpus)
        costs = [] if cost is None else [f"{cost:,.2f}"]
        rows.append([f"  {lever.change}", format_hours(hours), format_share(lever.saved_share), *costs, lever.note])
    return rows


def format_hours(hours: float | None) -> str:
    """Return a time in hours and minutes, or in seconds below two minutes.

    >>> format_hours(4.75)
    '4h45m'
    """
    if hours is None:
        return ""
    if hours * 3600 < 120:
        return f"{math.ceil(hours * 3600)}s"
    full_hours, minutes = divmod(round(hours * 60), 60)
    return f"{full_hours}h{minutes:02d}m" if full_hours else f"{minutes}m"


def format_share(share: float | None) -> str:
    """Return a share in percent, "" if there is none."""
    return "" if share is None else f"{share:.0%}"


def format_cost(plan: Plan, *, hours: float | None, price_per_hour: float) -> str:
    """Return what so many hours on all GPUs cost."""
    cost = None if hours is None else plan.cost(hours, price_per_hour=price_per_hour)
    return "" if cost is None else f"{cost:,.2f}"


def plan_as_json(plan: Plan, price_per_hour: float | None) -> str:
    """Return the plan as one JSON object; times in hours, memory in 10^9 bytes."""
    scenario, sample = plan.scenario, plan.scenario.sample
    total = plan.total_hours
    document = {
        "ads_dir": plan.place,
        "images": sample.num_images,
        "besides": plan.left_out,
        "looked_at": sample.num_looked_at,
        "unreadable": sample.num_unreadable,
        "distinct_share": sample.copies.distinct_share,
        "distinct_share_error": sample.copies.error,
        "image_tokens": sample.mean_image_tokens(scenario.engine.max_image_tokens),
        "text_tokens_by": plan.token_source,
        "gpu": scenario.gpu.gpu.name,
        "num_gpus": plan.estimate.num_gpus,
        "clusters": None if plan.clusters is None else clusters_as_json(plan.clusters),
        "models": [model_as_json(model) for model in plan.estimate.models] if has_gpu(plan) else [],
        "steps": [step_as_json(plan, step) for step in scenario.steps],
        "hours_at_peak": plan.estimate.hours_at(1) if plan.estimate.steps else None,
        "hours": total,
        "cost": None if total is None else plan.cost(total, price_per_hour=price_per_hour),
        "levers": [
            {"change": lever.change, "hours": plan.lever_hours(lever), "saved_share": lever.saved_share}
            | {"num_gpus": lever.num_gpus, "note": lever.note}
            for lever in plan.levers
        ],
    }
    return orjson.dumps(document).decode()


def clusters_as_json(clusters: ClusterPlan) -> dict[str, object]:
    """Return whether K, the labels and the context go together."""
    return {
        "num_clusters": clusters.num_clusters,
        **({"levels": list(clusters.levels)} if clusters.levels else {}),
        "labels": clusters.num_labels,
        "fits": not clusters.problem,
        "problem": clusters.problem or None,
        "context_needed": {"step": clusters.need.step, "least": clusters.need.least, "ample": clusters.need.ample},
        "context": clusters.context,
    }


def model_as_json(model: ModelPlan) -> dict[str, object]:
    """Return how a model lies on its GPUs."""
    memory = model.memory
    return {
        "model": model.spec.model,
        "runs": not model.problem,
        "problem": model.problem or None,
        "engines": model.num_engines,
        "gpus_each": model.gpus_each,
        "max_num_seqs": model.batch.sequences,
        "max_num_batched_tokens": model.batch.tokens,
        "weights_gb": memory and memory.weights_gb,
        "cache_gb": memory and memory.cache_gb,
        "room_for_requests": model.room,
        "shape": model.shape and model.shape.source,
    }


def step_as_json(plan: Plan, step: Step) -> dict[str, object]:
    """Return one step of the plan."""
    estimated = plan.estimate_of(step)
    pace = (plan.measured or {}).get(step.name)
    document: dict[str, object] = {
        "step": step.name,
        "requests": plan.scenario.num_requests(step),
        **({"expected_share": share} if (share := plan.scenario.shares.get(step.name)) else {}),
        "hours": plan.hours(step),
        "measured_per_second": pace and pace.per_second,
        "measured_tokens": pace and pace.tokens,
    }
    if estimated is None:
        return document
    shape = plan.estimate.models[0 if step.role == "vlm" else -1].shape
    return document | {
        "image_tokens": estimated.request.image_tokens,
        "text_tokens": estimated.request.text_tokens,
        "answer_tokens": estimated.request.answer_tokens,
        "tflop_each": shape and request_flop(shape, estimated.request) / 1e12,
        "limit": estimated.duration.bound(REALISTIC_SHARE),
        "hours_at_peak": estimated.duration.seconds() / 3600,
    }
