"""What the pipeline costs beside the engine: `python benchmarks/efficiency.py [--images 256]`.

Step 1 of `ictc` against vLLM's engine alone, which gets the same requests with images that are decoded and in memory,
as many in flight at a time, and whose answers go nowhere. Both take turns on one engine; loading is in neither. Step 1
counts whole: listing, decoding, captions, journal, exports. So that it is the pipeline that is measured and not the few
cores, which an engine on a CPU needs as well, images are small and answers long: the share of decoding is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path
from statistics import median

from drawing import draw_photos
from engines import Workload, add_engine_arguments, device_name, load_engine, make_workload
from measuring import Timing, check, median_ratio, print_results
from ways import Way, feed_bare, take_turns

from ictc.dataset.decoding.decode import decode_image

LEAST_RATIO = 0.95
MOST_DECODING = 0.05


async def measure_ways(arguments: argparse.Namespace, workload: Workload) -> dict[str, list[Timing]]:
    """Load the engine, and time Step 1 and the bare engine."""
    async with load_engine(workload.settings(), arguments.answer_tokens, arguments.spread) as engine:
        await engine.run(workload.settings())
        requests = list(engine.asked)
        ways: dict[str, Way] = {
            "bare engine": partial(feed_bare, engine, requests),
            "ictc": lambda: engine.run(workload.settings()),
        }
        return await take_turns(engine, ways, arguments.repeats)


def time_decoding(ads: Path, max_image_tokens: int) -> float:
    """Return the seconds that one core takes to decode all images."""
    started = time.perf_counter()
    for path in ads.iterdir():
        decode_image(path, max_image_tokens)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_engine_arguments(parser, images=256)
    parser.add_argument("--image_px", type=int, nargs=2, default=(256, 256), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--answer_tokens", type=int, default=160)
    arguments = parser.parse_args()
    with make_workload(arguments) as workload:
        draw_photos(workload.ads, arguments.images, tuple(arguments.image_px))
        decoding_s = time_decoding(workload.ads, workload.settings().engine.max_image_tokens)
        timings = asyncio.run(measure_ways(arguments, workload))
    seconds = {name: [timing.seconds for timing in taken] for name, taken in timings.items()}
    rows = [
        {
            "way": name,
            "images_per_s": arguments.images / median(seconds[name]),
            "cpu_s": median(timing.cpu_s for timing in taken),
            "ratio": median_ratio(seconds["bare engine"], seconds[name]),
        }
        for name, taken in timings.items()
    ]
    share, ratio = decoding_s / median(seconds["bare engine"]), rows[1]["ratio"]
    print_results(
        f"Decoding takes {share:.1%} of the engine's time",
        rows,
        {"benchmark": "efficiency", "device": device_name(), "decoding_share": share, **vars(arguments)},
    )
    check(
        (f"images/s of the bare engine's: {ratio:.3f} of {LEAST_RATIO}", ratio >= LEAST_RATIO),
        (f"decoding: {share:.3f} of at most {MOST_DECODING}", share <= MOST_DECODING),
    )


if __name__ == "__main__":
    main()
