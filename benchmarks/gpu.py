"""Step 1 against the limits of a GPU: `python benchmarks/gpu.py`. Not yet run on a GPU, only with --preset tiny.

Qwen3.5-9B in its real sizes, without weights (`load_format=dummy`) and without a network: configuration, tokenizer and
image processor are made here. Every answer has --answer_tokens tokens. For images of 512 and of 1024 tokens, three ways
take turns on one engine: vLLM alone with images in memory, Step 1 of `ictc`, and blocking calls of 4 and of 8 images.

"of peak" is the FLOP that the captions need, by `count_flop`, over what the GPU could do in bf16 in that time. The text
of a prompt is counted as the tokenizer made here splits it. Needs a CUDA machine with vLLM and this repository:

    pip install -e '.[vllm]' && python benchmarks/gpu.py
    python benchmarks/gpu.py --preset tiny --images 24 --images_in_calls 24   # on the CPU build: does it work?
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import mean, median
from typing import Any

from checkpoints import PRESETS, Preset
from drawing import draw_photos
from engines import SharedEngine, Workload, add_engine_arguments, device_name, load_engine, make_workload
from measuring import check, print_results
from ways import ReferenceLoop, Way, feed_bare, take_turns

IMAGE_SIZES_PX = {512: (512, 1024), 1024: (1024, 1024)}
"""By image tokens, 32x32 px each."""
CALLS = (4, 8)
CHECKPOINT_IMAGES = 1000
BF16_PEAK_FLOP_PER_S = {"A100": 312e12, "H100": 989e12, "H200": 989e12}
"""Dense, from NVIDIA's data sheets (SXM)."""
VISION_PARAMETERS, VISION_WIDTH, VISION_DEPTH, PATCHES_PER_TOKEN = 0.41e9, 1152, 27, 4
LEAST_EFFICIENCY = 0.95
LEAST_OF_PEAK = 0.40


def count_flop(preset: Preset, image_tokens: int, text_tokens: float, answer_tokens: int) -> float:
    """Return the FLOP of one caption: two a parameter and token, and the vision tower's attention.

    The language model's attention is left out: three layers in four are linear, and the contexts are short.
    """
    patches = PATCHES_PER_TOKEN * image_tokens
    reading = 2 * preset.body * (image_tokens + text_tokens)
    answering = 2 * (preset.body + preset.head) * answer_tokens
    seeing = 2 * VISION_PARAMETERS * patches + 4 * patches**2 * VISION_WIDTH * VISION_DEPTH
    return reading + answering + seeing


def peak_flop_per_s() -> float | None:
    """Return the bf16 peak of the GPU, None if it is none of those known."""
    name = device_name()
    return next((peak for part, peak in BF16_PEAK_FLOP_PER_S.items() if part in name), None)


async def measure_images(
    engine: SharedEngine, workload: Workload, image_tokens: int, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Time all ways with images of one size and return a row for each."""
    await engine.run(workload.settings())
    assert all(request.image and request.image.num_tokens == image_tokens for request in engine.asked)
    text_tokens = mean(engine.prompt_tokens) - image_tokens
    tokens = image_tokens + text_tokens + arguments.answer_tokens
    requests, loop = list(engine.asked), ReferenceLoop(engine, workload, CHECKPOINT_IMAGES)
    whole: dict[str, Way] = {
        "bare engine": partial(feed_bare, engine, requests),
        "ictc": lambda: engine.run(workload.settings()),
    }
    slow = loop.ways(requests[: arguments.images_in_calls], CALLS)
    timings = await take_turns(engine, whole, arguments.repeats) | await take_turns(engine, slow, arguments.repeats)
    flop = count_flop(PRESETS[arguments.preset], image_tokens, text_tokens, arguments.answer_tokens)
    rows = []
    for name, taken in timings.items():
        num_images = arguments.images if name in whole else arguments.images_in_calls
        rate = num_images / median(timing.seconds for timing in taken)
        rows.append({"image tokens": image_tokens, "way": name, **describe_rate(rate, tokens, flop)})
    return rows


def describe_rate(images_per_s: float, tokens: float, flop: float) -> dict[str, float]:
    """Return what a rate of images, of so many tokens and FLOP each, means in tokens and in shares of the peak."""
    figures = {"images_per_s": images_per_s, "tokens_per_s": images_per_s * tokens}
    peak = peak_flop_per_s()
    return figures if peak is None else {**figures, "TFLOP": flop / 1e12, "of peak": images_per_s * flop / peak}


async def measure_sizes(arguments: argparse.Namespace, workload: Workload) -> list[dict[str, Any]]:
    """Load the engine once and time all sizes of images."""
    rows: list[dict[str, Any]] = []
    async with load_engine(workload.settings(), arguments.answer_tokens, arguments.spread) as engine:
        for image_tokens in IMAGE_SIZES_PX:
            placed = replace(workload, ads=workload.root / str(image_tokens))
            rows += await measure_images(engine, placed, image_tokens, arguments)
    return rows


def find_ratio(rows: Sequence[dict[str, Any]], image_tokens: int, way: str, other: str) -> float:
    """Return how many times as fast one way is as another."""
    rates = {row["way"]: row["images_per_s"] for row in rows if row["image tokens"] == image_tokens}
    return float(rates[way] / rates[other])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_engine_arguments(parser, images=1024)
    parser.set_defaults(preset="9b", max_num_seqs=None, spread=0.0)
    parser.add_argument("--images_in_calls", type=int, default=128, help="images of the blocking calls")
    parser.add_argument("--answer_tokens", type=int, default=140)
    arguments = parser.parse_args()
    with make_workload(arguments, max_image_tokens=max(IMAGE_SIZES_PX)) as workload:
        for image_tokens, size in IMAGE_SIZES_PX.items():
            draw_photos(workload.root / str(image_tokens), arguments.images, size)
        rows = asyncio.run(measure_sizes(arguments, workload))
    ratios = {tokens: find_ratio(rows, tokens, "ictc", "bare engine") for tokens in IMAGE_SIZES_PX}
    print_results(
        f"Qwen3.5 {arguments.preset}",
        rows,
        {"benchmark": "gpu", "device": device_name(), "of bare": ratios, **vars(arguments)},
    )
    shares = [row["of peak"] for row in rows if row["way"] == "ictc" and "of peak" in row]
    efficient = (
        (f"{tokens} tokens: {ratio:.3f} of the bare engine", ratio >= LEAST_EFFICIENCY)
        for tokens, ratio in ratios.items()
    )
    check(*efficient, *((f"{share:.1%} of the bf16 peak", share >= LEAST_OF_PEAK) for share in shares[-1:]))


if __name__ == "__main__":
    main()
