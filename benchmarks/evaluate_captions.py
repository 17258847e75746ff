"""Cluster captions of known classes and evaluate that: `python benchmarks/evaluate_captions.py DATA.jsonl`.

DATA.jsonl has a line an image with image_id, truth and caption. Sentence embeddings of the captions are clustered by
k-means with as many clusters as classes: a baseline that needs no prompts, to read other results against. The same two
tables then go through `ictc evaluate`, whose numbers must be those of scikit-learn. Needs the extras lite and analysis.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn import metrics
from sklearn.cluster import KMeans

from ictc.cli.main import run_command
from ictc.engines.lite.embedder import Embedder

TOLERANCE = 1e-12


def load_rows(path: Path) -> list[dict[str, str]]:
    """Return the lines of the file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def cluster_captions(captions: list[str], num_clusters: int, seed: int) -> list[int]:
    """Return the cluster of each caption."""
    vectors = Embedder().embed(captions)
    return KMeans(num_clusters, n_init=10, random_state=seed).fit_predict(vectors).tolist()


def write_pairs(path: Path, column: str, pairs: list[tuple[str, str]]) -> None:
    """Write a table of image ids and one other column."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("image_id", column), *pairs])


def score_with_sklearn(truth: list[str], clusters: list[int]) -> dict[str, float]:
    """Return the scores that the evaluation must reproduce."""
    table = metrics.cluster.contingency_matrix(truth, clusters)
    return {
        "accuracy": table[linear_sum_assignment(table, maximize=True)].sum() / table.sum(),
        "nmi": metrics.normalized_mutual_info_score(truth, clusters),
        "ari": metrics.adjusted_rand_score(truth, clusters),
        "ami": metrics.adjusted_mutual_info_score(truth, clusters),
    }


def evaluate(rows: list[dict[str, str]], clusters: list[int], out: Path) -> dict[str, float]:
    """Write both tables to `out`, run the command over them and return its scores."""
    ids = [row["image_id"] for row in rows]
    write_pairs(out / "assignments.csv", "cluster", list(zip(ids, map(str, clusters), strict=True)))
    write_pairs(out / "truth.csv", "truth", [(row["image_id"], row["truth"]) for row in rows])
    command = ("evaluate", out / "assignments.csv", "--truth", out / "truth.csv", "--output_dir", out)
    if run_command([str(word) for word in command]) != 0:
        sys.exit(1)
    scores: dict[str, float] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["scores"]
    return scores


def main() -> None:
    """Cluster, evaluate, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output_dir", type=Path, help="keep the tables and the evaluation there")
    arguments = parser.parse_args()
    rows = load_rows(arguments.data)
    truth = [row["truth"] for row in rows]
    started = time.perf_counter()
    clusters = cluster_captions([row["caption"] for row in rows], len(set(truth)), arguments.seed)
    print(f"Embedded and clustered {len(rows):,} captions in {time.perf_counter() - started:.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.output_dir or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        scores = evaluate(rows, clusters, out)
    expected = score_with_sklearn(truth, clusters)
    equal = all(np.isclose(scores[name], value, rtol=0, atol=TOLERANCE) for name, value in expected.items())
    print(f"The scores are {'equal to' if equal else 'DIFFERENT FROM'} those of scikit-learn")
    print(json.dumps({"data": arguments.data.stem, "images": len(rows), "seed": arguments.seed, **scores}))
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
