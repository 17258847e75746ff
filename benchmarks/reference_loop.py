"""Step 1 against the reference study's way to caption: `python benchmarks/reference_loop.py [--images 256]`.

One vLLM engine and the same images, prompts and lengths of answers for all: `ictc`'s Step 1 (the whole of it: listing,
decoding, captions, journal, exports), and blocking calls of 4 and of 8 images, which decode in the engine's thread and
rewrite all captions every --ckpt images. The ways take turns. Loading is in none of the times. Runs with a tiny model
on the CPU build of vLLM, and with --model or --preset 9b on a GPU.
"""

from __future__ import annotations

import argparse
import asyncio
from statistics import median
from typing import Any

from drawing import draw_photos
from engines import Workload, add_engine_arguments, device_name, load_engine, make_workload
from measuring import Timing, check, median_ratio, print_results
from ways import ReferenceLoop, Way, take_turns

LEAST_RATIOS = {4: 3.0, 8: 1.6}
"""How much faster Step 1 must be than calls of so many images."""


async def measure_ways(arguments: argparse.Namespace, workload: Workload) -> dict[str, list[Timing]]:
    """Load the engine, and time Step 1 and the blocking calls."""
    async with load_engine(workload.settings(), arguments.answer_tokens, arguments.spread) as engine:
        await engine.run(workload.settings())
        loop = ReferenceLoop(engine, workload, arguments.ckpt)
        ways: dict[str, Way] = {"ictc": lambda: engine.run(workload.settings())}
        ways |= loop.ways(list(engine.asked), LEAST_RATIOS)
        return await take_turns(engine, ways, arguments.repeats)


def describe_way(name: str, timings: dict[str, list[Timing]], num_images: int) -> dict[str, Any]:
    """Return a row of the table: medians over the rounds, and how much faster `ictc` is."""
    own, ours = ([timing.seconds for timing in timings[way]] for way in (name, "ictc"))
    return {
        "way": name,
        "images_per_s": num_images / median(own),
        "cpu_s": median(timing.cpu_s for timing in timings[name]),
        "ictc is faster by": median_ratio(own, ours),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_engine_arguments(parser, images=256)
    parser.add_argument("--image_px", type=int, nargs=2, default=(256, 256), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--answer_tokens", type=int, default=140)
    parser.add_argument("--ckpt", type=int, default=100, help="images between two checkpoints of the reference's way")
    arguments = parser.parse_args()
    with make_workload(arguments) as workload:
        draw_photos(workload.ads, arguments.images, tuple(arguments.image_px))
        timings = asyncio.run(measure_ways(arguments, workload))
    rows = [describe_way(name, timings, arguments.images) for name in timings]
    print_results("Ways to caption", rows, {"benchmark": "reference_loop", "device": device_name(), **vars(arguments)})
    ratios = [row["ictc is faster by"] for row in rows[1:]]
    pairs = zip(LEAST_RATIOS.items(), ratios, strict=True)
    check(*((f"calls of {size}: {ratio:.2f} of {least}", ratio >= least) for (size, least), ratio in pairs))


if __name__ == "__main__":
    main()
