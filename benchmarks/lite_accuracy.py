"""What the lite engine makes of ads that name what they sell: `python benchmarks/lite_accuracy.py [--draws 40]`.

The drawn ads of `tests/support/lite_ads` are captioned and labeled once. Each draw then clusters the ads of five random
categories, overlapping ones among them, into five clusters by the criterion "product category". `--sets developed`
takes the categories that the engine was developed with. The demo is that of `launchers/demo.sh`: 80 example ads, half
of which sell by mood, in eight categories. Needs the extras lite and analysis.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import MAIN, Usage, measure, print_results, timing
from repository import REPOSITORY, import_test_support

from ictc.config import ModelSpec
from ictc.engines.base import Engine
from ictc.engines.lite import load_lite_engine

if TYPE_CHECKING:
    from support.lite_ads.drawing import DrawnAd
    from support.lite_ads.flow import Reading

drawing = import_test_support("lite_ads.drawing")
flow = import_test_support("lite_ads.flow")

CRITERION = "product category"
SETS = {"unseen": ("lifestyle", "shortlines", "slogans", "hype"), "developed": ("classic", "wellness", "school")}
CATEGORIES_PER_DRAW = 5
DEMO_CLUSTERS = 8


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One clustering of some categories' ads."""

    categories: tuple[str, ...]
    accuracy: float
    clusters: list[dict[str, str]]

    @property
    def row(self) -> dict[str, Any]:
        names = "; ".join(cluster["name"] for cluster in self.clusters)
        return {"categories": ", ".join(self.categories), "accuracy": self.accuracy, "clusters": names}


async def cluster_categories(
    engine: Engine, ads: Sequence[DrawnAd], reading: Reading, categories: Sequence[str]
) -> Draw:
    """Cluster the ads of `categories` into as many clusters."""
    chosen = [ad for ad in ads if ad.category in categories]
    ids = {ad.image_id for ad in chosen}
    labels = {image_id: label for image_id, label in reading.labels.items() if image_id in ids}
    outcome = await flow.cluster_reading(engine, flow.Reading(reading.captions, labels), CRITERION, len(categories))
    return Draw(categories=tuple(categories), accuracy=outcome.accuracy(chosen), clusters=outcome.clusters)


async def draw_and_cluster(sets: Sequence[str], draws: int, seed: int) -> list[Draw]:
    """Return each set's own categories clustered, then the random draws from all sets."""
    by_set = {name: drawing.draw_set(name) for name in sets}
    ads = [ad for drawn in by_set.values() for ad in drawn]
    random, pool = Random(seed), sorted({ad.category for ad in ads})
    own = [sorted({ad.category for ad in drawn}) for drawn in by_set.values()]
    chosen = [*own, *(sorted(random.sample(pool, CATEGORIES_PER_DRAW)) for _ in range(draws))]
    engine = await load_lite_engine(ModelSpec(engine="lite", model="lite"))
    try:
        with timing() as reading_time:
            reading = await flow.read_ads(engine, ads, CRITERION)
        print(f"Captioned and labeled {len(ads)} ads in {reading_time.seconds:.0f} s", flush=True)
        return [await cluster_categories(engine, ads, reading, categories) for categories in chosen]
    finally:
        await engine.close()


def run_demo(out: Path) -> tuple[float, list[dict[str, str]], Usage]:
    """Run what the demo runs; return its accuracy, its clusters, and what the run took."""
    measure(REPOSITORY / "examples/draw_ads.py", out)
    results = out / "results"
    run = ("run", "--ads_dir", out / "ads", "--output_dir", results, "--engine", "lite", "--criterion", CRITERION)
    usage = measure("-c", MAIN, *run, "--num_clusters", DEMO_CLUSTERS)
    truth = ("--truth", out / "truth.csv", "--column", "category", "--output_dir", out / "evaluation")
    measure("-c", MAIN, "evaluate", results, *truth)
    scores = json.loads((out / "evaluation/evaluation.json").read_text("utf-8"))["scores"]
    clusters = json.loads((results / "step2b_dynamic_clusters.json").read_text("utf-8"))
    return scores["accuracy"], clusters, usage


def main() -> None:
    """Draw, cluster, run the demo and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--sets", choices=SETS, default="unseen", help="which categories to draw from (unseen)")
    parser.add_argument("--seed", type=int, default=42, help="decides which categories each draw has (42)")
    arguments = parser.parse_args()
    names = SETS[arguments.sets]
    own_and_draws = asyncio.run(draw_and_cluster(names, arguments.draws, arguments.seed))
    accuracies = [draw.accuracy for draw in own_and_draws[len(names) :]]
    with tempfile.TemporaryDirectory() as temporary:
        demo, clusters, usage = run_demo(Path(temporary) / "demo")
    print("\nThe demo's clusters")
    for cluster in clusters:
        print(f"  {cluster['name']}: {cluster['description']}")
    figures = {
        "p10": float(np.quantile(accuracies, 0.1)),
        "mean": statistics.mean(accuracies),
        "median": statistics.median(accuracies),
        "least": min(accuracies),
        "sets": {name: draw.accuracy for name, draw in zip(names, own_and_draws, strict=False)},
        "demo": demo,
        "demo_s": usage.seconds,
        "demo_cpu_s": usage.cpu_s,
        "demo_gb": usage.peak_gb,
    }
    print_results(f"{arguments.sets} sets, then {arguments.draws} draws", [draw.row for draw in own_and_draws], figures)


if __name__ == "__main__":
    main()
