"""How often intervals of corrected shares hold, and how wide they are: those of `ictc validate`, and the normal ones.

    python benchmarks/corrected_shares.py --draws 200

In made-up collections a model is right for some share of the images, else it says a cluster at random. So many images
of each of its clusters are coded without an error; corrected are the shares of groups of equal size. Beside the score
intervals stand the normal ones of prediction-powered inference (Angelopoulos et al. 2023) with the weights of the
design.
Prints a table and, last, a JSON line.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import numpy.typing as npt

from ictc.analytics.stratified import effective_sizes, score_interval

NUM_IMAGES = 20_000
NUM_CLUSTERS = 8
NORMAL = 1.959964
CASES = ((0.95, 1, 20), (0.8, 1, 20), (0.95, 6, 20), (0.8, 6, 20), (0.6, 6, 20), (0.95, 12, 20), (0.95, 12, 40))
"""How often the model is right, how many groups there are, and how many images of each cluster are coded."""

NAMES = ("score_holds", "score_width", "normal_holds", "normal_width")

Codes = npt.NDArray[np.intp]


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200, help="collections of each case")
    draws = parser.parse_args().draws
    rows = [measure(right, num_groups, coded, draws) for right, num_groups, coded in CASES]
    print("right  groups  coded   score: holds  width   normal: holds  width")
    for row in rows:
        told = "   ".join(f"{row[name]:>9.3f}" for name in NAMES)
        print(f"{row['right']:5.2f}  {row['groups']:6}  {row['per_cluster']:5}   {told}")
    print(json.dumps({"draws": draws, "rows": rows}))


def measure(right: float, num_groups: int, per_cluster: int, draws: int) -> dict[str, float]:
    """Return how often both intervals hold over all groups and clusters of some collections, and their mean width."""
    rng = np.random.default_rng(0)
    found = np.concatenate([one_collection(rng, right, num_groups, per_cluster) for _ in range(draws)])
    means = dict(zip(NAMES, found.mean(axis=0).round(4).tolist(), strict=True))
    return {"right": right, "groups": num_groups, "per_cluster": per_cluster, **means}


def one_collection(
    rng: np.random.Generator, right: float, num_groups: int, per_cluster: int
) -> npt.NDArray[np.float64]:
    """Return for each group and cluster whether both intervals hold, and how wide they are."""
    shares = rng.dirichlet(np.full(NUM_CLUSTERS, 3.0))
    truth, other = (rng.choice(NUM_CLUSTERS, NUM_IMAGES, p=shares) for _ in range(2))
    model: Codes = np.where(rng.random(NUM_IMAGES) < right, truth, other)
    group = rng.integers(0, num_groups, NUM_IMAGES)
    strata = [rng.permutation(np.flatnonzero(model == code))[:per_cluster] for code in range(NUM_CLUSTERS)]
    coded = np.concatenate(strata)
    sizes, drawn = np.bincount(model, minlength=NUM_CLUSTERS), np.array([len(one) for one in strata])
    rows = []
    for number in range(num_groups):
        inside = group == number
        total = inside.sum()
        cells = np.bincount(model[inside], minlength=NUM_CLUSTERS)
        here = coded[inside[coded]]
        seen = np.bincount(model[here], minlength=NUM_CLUSTERS)
        for code in range(NUM_CLUSTERS):
            true = (truth[inside] == code).mean()
            said = np.bincount(model[here], weights=truth[here] == code, minlength=NUM_CLUSTERS)
            low, high = score_interval(
                said / np.maximum(seen, 1), sizes=effective_sizes(seen, cells), weights=cells / total
            )
            wrong = np.bincount(model[here], weights=truth[here] != model[here], minlength=NUM_CLUSTERS)
            is_own = np.arange(NUM_CLUSTERS) == code
            error = np.where(is_own, -wrong, said) / drawn
            estimate = cells[code] / total + (sizes / total * error).sum()
            spread = np.abs(error) * (1 - np.abs(error)) / np.maximum(drawn - 1, 1) * (1 - drawn / sizes)
            half = NORMAL * np.sqrt(((sizes / total) ** 2 * spread).sum())
            rows.append((low <= true <= high, high - low, abs(estimate - true) <= half, 2 * half))
    return np.array(rows, dtype=np.float64)


if __name__ == "__main__":
    main()
