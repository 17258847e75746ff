"""Time all that is not the model: `python benchmarks/overhead.py [--records 50000] [--images 800]`.

The scripted engine answers at once. The text steps run over synthetic captions (`ictc recluster`); Step 1 runs over
drawn JPEGs (`ictc run --steps 1`), in turns with a plain pool of as many processes that decodes and resizes the same
files by the same function and hands nothing over. Where there are no more cores than such processes, what the command's
own process does counts in full: `--processes` sets how many there are.

"step" is the rate while the step itself ran; "command" counts the whole command: start, planning, accounting, exports.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from drawing import draw_photos
from measuring import MAIN, Usage, check, measure, median_ratio, print_results
from synthetic import fill_shard

from ictc.dataset.decoding.decode import decode_image
from ictc.records import DecodedImage

MAX_IMAGE_TOKENS = 1280
TEXT_STEPS = {"label": "2a", "assign": "3"}
LEAST_TEXT_RATE = 4000
LEAST_IMAGE_RATIO = 0.85


def read_rates(run: Path) -> dict[str, float]:
    """Return the records a second of each step while it ran, as `ictc status` tells them."""
    command = [sys.executable, "-c", MAIN, "status", str(run), "--json"]
    status = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {step["stage"]: step["images_per_second"] for step in status["steps"] if "images_per_second" in step}


def time_texts(root: Path, num_records: int) -> list[dict[str, Any]]:
    """Run the text steps over synthetic captions and return a row for each, and one for the whole command."""
    fill_shard(root / "captions", 0, num_records, num_records)
    command = ("recluster", "--source_dir", root / "captions", "--output_dir", root / "out", "--criterion", "Tone")
    usage = measure("-c", MAIN, *command, "--engine", "scripted", "--num_clusters", 5)
    rates = read_rates(root / "out")
    rows = [{"what": f"step {name}", "per_s": rates[stage]} for stage, name in TEXT_STEPS.items()]
    whole = {"what": "command", "per_s": len(TEXT_STEPS) * num_records / usage.seconds}
    return [*rows, {**whole, "seconds": usage.seconds, "cpu_s": usage.cpu_s, "peak_gb": usage.peak_gb}]


def decode(path: Path) -> bool:
    """Decode and resize one image, whose pixels stay where they are; return whether it is whole."""
    return isinstance(decode_image(path, MAX_IMAGE_TOKENS), DecodedImage)


def time_pillow(paths: list[Path], num_processes: int) -> float:
    """Return the images a second of a plain pool, once its processes run."""
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        pool.map(decode, paths[:num_processes], chunksize=1)
        started = time.perf_counter()
        assert all(pool.imap_unordered(decode, paths))
        return len(paths) / (time.perf_counter() - started)


def run_step_1(ads: Path, out: Path, num_processes: int) -> tuple[float, Usage]:
    """Return the images a second of Step 1 while it ran, and what the whole command took."""
    limits = ("--max_image_tokens", MAX_IMAGE_TOKENS, "--decode_workers", num_processes)
    command = ("run", "--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--steps", 1, *limits)
    usage = measure("-c", MAIN, *command)
    return read_rates(out)["caption"], usage


def time_images(ads: Path, root: Path, num_processes: int, repeats: int) -> list[dict[str, Any]]:
    """Decode the images by Pillow alone and by Step 1, in turns, and return a row for each."""
    paths = sorted(ads.iterdir())
    pillow, ours, usages = [], [], []
    for number in range(repeats):
        pillow.append(time_pillow(paths, num_processes))
        rate, usage = run_step_1(ads, root / f"step_1_{number}", num_processes)
        ours.append(rate)
        usages.append(usage)
    command = [len(paths) / usage.seconds for usage in usages]
    cpu_s = median(usage.cpu_s for usage in usages)
    return [
        {"what": "Pillow alone", "per_s": median(pillow), "ratio": 1.0},
        {"what": "step 1", "per_s": median(ours), "ratio": median_ratio(ours, pillow)},
        {"what": "command", "per_s": median(command), "ratio": median_ratio(command, pillow), "cpu_s": cpu_s},
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--image_px", type=int, nargs=2, default=(1080, 1920), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--processes", type=int, default=2, help="that decode")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        texts = time_texts(root, arguments.records)
        ads = draw_photos(root / "ads", arguments.images, tuple(arguments.image_px))
        images = time_images(ads, root, arguments.processes, arguments.repeats)
    print_results(f"{arguments.records:,} captions", texts, {"benchmark": "overhead: texts", **vars(arguments)})
    print_results(f"{arguments.images:,} images", images, {"benchmark": "overhead: images", **vars(arguments)})
    slowest = min(row["per_s"] for row in texts[:2])
    check(
        (f"text steps: {slowest:,.0f} of {LEAST_TEXT_RATE:,} records/s", slowest >= LEAST_TEXT_RATE),
        (f"images: {images[1]['ratio']:.2f} of {LEAST_IMAGE_RATIO}", images[1]["ratio"] >= LEAST_IMAGE_RATIO),
    )


if __name__ == "__main__":
    main()
