"""Compare two engines on a Ray cluster with two local `--replicas`: `python benchmarks/ray_executor.py`.

The scripted engine, whose answers take as long as on a busy GPU, captions small images: the engines are the bottleneck
and this machine has time for Ray. The rate is that between the first and the last tenth of the records, so without
start and end; the rest of the time is told beside it. Both ways take turns. Needs `ictc[ray]`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from measuring import MAIN, check, median_ratio, print_results
from PIL import Image

ENGINES = 2
WINDOW = 32
ATTEMPTED_RATIO = 0.9
WAYS = {"two local replicas": (), "two actors on Ray": ("--executor", "ray", "--ray_address", "local")}


def draw_images(folder: Path, count: int) -> None:
    """Draw different images that cost little to decode."""
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (64, 64), (number % 256, number // 256, 99)).save(folder / f"{number:06d}.png")


def caption(ads: Path, out: Path, latency_s: float, *arguments: str) -> dict[str, Any]:
    """Caption all images; return the rate while the engines are busy, and the seconds beside that."""
    options = json.dumps({"window": WINDOW, "latency_s": latency_s})
    command = ["run", "--ads_dir", str(ads), "--output_dir", str(out), "--steps", "1", "--replicas", str(ENGINES)]
    engine = ["--engine", "scripted", "--engine_options", options, "--dedupe", "off", *arguments]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *command, *engine], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    counts = watch(process, out)
    assert process.returncode == 0
    total = counts[-1][1]
    busy = [(moment, count) for moment, count in counts if 0.1 * total <= count <= 0.9 * total]
    (begin, first), (end, last) = busy[0], busy[-1]
    rate = (last - first) / (end - begin)
    return {"images_per_s": rate, "seconds": counts[-1][0] - started, "other_s": counts[-1][0] - started - total / rate}


def watch(process: subprocess.Popen[bytes], out: Path) -> list[tuple[float, int]]:
    """Return how many captions were recorded at which moments, until the process ends."""
    counts = []
    while process.poll() is None:
        counts.append((time.monotonic(), count_records(out)))
        time.sleep(0.1)
    return [*counts, (time.monotonic(), count_records(out))]


def count_records(out: Path) -> int:
    """Return how many captions there are in the journal."""
    return sum(max(path.read_bytes().count(b"\n") - 1, 0) for path in out.glob("state/caption/*/*.jsonl"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--latency_s", type=float, default=1.0, help="seconds that each answer takes")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    taken: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        draw_images(Path(temporary) / "ads", arguments.images)
        for number in range(arguments.rounds):
            for way, flags in WAYS.items():
                out = Path(temporary) / f"{number} {way}"
                taken[way].append(caption(Path(temporary) / "ads", out, arguments.latency_s, *flags))
    report(taken, arguments)


def report(taken: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> None:
    """Print the medians and whether the ratio is as attempted."""
    rows = [
        {"way": way, **{name: median(one[name] for one in rounds) for name in rounds[0]}}
        for way, rounds in taken.items()
    ]
    rates = [[one["images_per_s"] for one in rounds] for rounds in taken.values()]
    ratio = median_ratio(rates[1], rates[0])
    ceiling = ENGINES * WINDOW / arguments.latency_s
    title = f"{arguments.images:,} images, {ENGINES} engines of window {WINDOW}, {arguments.latency_s} s an answer: "
    print_results(f"{title}at most {ceiling:.0f} images/s", rows, {**vars(arguments), "ratio": ratio})
    check((f"Ray gives {ratio:.2f} of the local rate, at least {ATTEMPTED_RATIO}", ratio >= ATTEMPTED_RATIO))


if __name__ == "__main__":
    main()
