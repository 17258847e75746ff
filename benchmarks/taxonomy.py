"""How well labels are grouped: `python benchmarks/taxonomy.py --data FILE.jsonl [--seeds 20]`, or with `--scale` alone.

FILE.jsonl has a line an image with image_id, truth, caption, label and assigned: what a model said of it in Steps 1, 2a
and 3. Vectors of MiniLM stand in place of the model in Step 2b: of each label, and the mean of its captions. The number
of groups is that of the true classes, or is to be found. An image is in the group of its label. Accuracy is Hungarian,
over the images that have a label.

A seed changes all that the methods draw, and the order of images and labels. One row leaves out a tenth of the images
with each seed, and asks where all of them belong; a label that is gone with them counts as wrong.

Needs the extras lite and test. The peers are the clustering cores of BERTopic and Toponymy as they are documented,
from umap-learn and scikit-learn, on the same vectors of captions and labels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
import numpy.typing as npt
from measuring import check, measure, print_results
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from threadpoolctl import threadpool_limits

from ictc.engines.lite.embedder import Embedder
from ictc.grouping.consensus import find_consensus
from ictc.grouping.levels import find_levels
from ictc.grouping.number import choose_number
from ictc.grouping.vectors import propose_groupings

Vectors = npt.NDArray[np.float64]
Clusters = npt.NDArray[np.int64]

LEFT_OUT = 0.1
FEW = 50
FINER = 3
"""How many times as many groups the finer of two levels has."""
SCALE_IMAGES, SCALE_LABELS, SCALE_DIMENSIONS, SCALE_GROUPS = 1_000_000, 100_000, 384, 50
MAX_SECONDS, MAX_GB = 120, 1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Labeled images of known classes.

    Attributes:
        labels: all distinct labels, N of them.
        label_of: label of each image, shape (M,).
        truth: class of each image, shape (M,).
        assigned: what the recorded model put it into, shape (M,), -1 for nothing.
        label_vectors: shape (N, D).
        caption_vectors: shape (M, D).
    """

    labels: list[str]
    label_of: Clusters
    truth: Clusters
    assigned: Clusters
    label_vectors: Vectors
    caption_vectors: Vectors

    @property
    def num_classes(self) -> int:
        return int(self.truth.max()) + 1

    def draw(self, seed: int, left_out: float = 0.0) -> Clusters:
        """Return the images in a random order, without a share of them."""
        order = np.random.default_rng(seed).permutation(len(self.truth))
        return order[int(left_out * len(order)) :]

    def joint_vectors(self) -> Vectors:
        """Return caption and label of each image side by side, shape (M, 2 D)."""
        return np.hstack([self.caption_vectors, self.label_vectors[self.label_of]])

    def accuracy(self, clusters: Clusters) -> float:
        """Return the share of images whose cluster stands for their class, under the best pairing; -1 is wrong."""
        table = np.zeros((int(clusters.max()) + 1, self.num_classes))
        placed = clusters >= 0
        np.add.at(table, (clusters[placed], self.truth[placed]), 1)
        return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(clusters))


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """The labels of the images that a seed draws, each with its count and its vector: itself and its mean caption."""

    images: Images
    present: Clusters
    labels: list[str]
    weights: Vectors
    vectors: Vectors
    seed: int

    def propose(self, num_groups: int, num_proposals: int | None = None) -> Clusters:
        """Return proposals, shape (R, N)."""
        return propose_groupings(
            self.vectors,
            labels=self.labels,
            weights=self.weights,
            num_groups=num_groups,
            seed=self.seed,
            num_proposals=num_proposals,
        )

    def propose_few(self, num_groups: int) -> Clusters:
        """Return proposals of which many numbers are tried."""
        return self.propose(num_groups, FEW)

    def accuracy(self, members: Clusters) -> float:
        """Return the accuracy of groups of the labels, over all images."""
        group_of = np.full(len(self.images.labels), -1)
        group_of[self.present] = members
        return self.images.accuracy(group_of[self.images.label_of])


def draw_labels(images: Images, seed: int, left_out: float = 0.0) -> Drawn:
    """Return the labels of the images that a seed draws."""
    drawn = images.draw(seed, left_out)
    counts = np.bincount(images.label_of[drawn], minlength=len(images.labels))
    sums = np.zeros_like(images.label_vectors)
    np.add.at(sums, images.label_of[drawn], images.caption_vectors[drawn])
    present = np.random.default_rng(seed).permutation(np.flatnonzero(counts))
    captions = sums[present] / np.linalg.norm(sums[present], axis=1, keepdims=True)
    return Drawn(
        images=images,
        present=present,
        labels=[images.labels[label] for label in present],
        weights=counts[present].astype(np.float64),
        vectors=np.hstack([images.label_vectors[present], captions]),
        seed=seed,
    )


def load_images(path: Path) -> tuple[Images, int]:
    """Return the images of the file that have a label, with their vectors, and how many have none."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in lines if row["label"] and row["caption"]]
    labels, label_of = np.unique([row["label"] for row in rows], return_inverse=True)
    _, truth = np.unique([row["truth"] for row in rows], return_inverse=True)
    names, assigned = np.unique([row["assigned"] or "" for row in rows], return_inverse=True)
    captions, caption_of = np.unique([row["caption"] for row in rows], return_inverse=True)
    embedder = Embedder()
    images = Images(
        labels=labels.tolist(),
        label_of=label_of,
        truth=truth,
        assigned=np.where(names[assigned] == "", -1, assigned),
        label_vectors=embedder.embed(labels.tolist()).astype(np.float64),
        caption_vectors=embedder.embed(captions.tolist())[caption_of].astype(np.float64),
    )
    return images, len(lines) - len(rows)


def group_labels(images: Images, seed: int, left_out: float = 0.0) -> float:
    """Ours: the consensus of proposals."""
    drawn = draw_labels(images, seed, left_out)
    found = find_consensus(
        drawn.propose(images.num_classes), labels=drawn.labels, weights=drawn.weights, num_groups=images.num_classes
    )
    return drawn.accuracy(found.members)


def group_most(images: Images, seed: int) -> float:
    """The same without a tenth of the images."""
    return group_labels(images, seed, LEFT_OUT)


def group_once(images: Images, seed: int) -> float:
    """One synthesis: the first of the proposals alone."""
    drawn = draw_labels(images, seed)
    return drawn.accuracy(drawn.propose(images.num_classes)[0])


def cluster_images(images: Images, seed: int) -> float:
    """k-means once, over caption and label of each image."""
    vectors, drawn = images.joint_vectors(), images.draw(seed)
    model = KMeans(images.num_classes, n_init=1, random_state=seed).fit(vectors[drawn])
    return images.accuracy(model.predict(vectors).astype(np.int64))


def cluster_like_bertopic(images: Images, seed: int) -> float:
    """UMAP to 5 dimensions, HDBSCAN with BERTopic's defaults, topics reduced to K, outliers to the nearest topic."""
    vectors = images.joint_vectors()
    clusters = HDBSCAN(min_cluster_size=10, copy=True).fit_predict(reduce_by_umap(vectors, 5, seed))
    return images.accuracy(reduce_topics(vectors, clusters, images.num_classes))


def cluster_like_toponymy(images: Images, seed: int) -> float:
    """UMAP to 2 dimensions, and those leaves of HDBSCAN that are nearest to K in number, as Toponymy has it."""
    vectors = images.joint_vectors()
    points = reduce_by_umap(vectors, 2, seed)
    smallest, largest = 2, len(points) // 2
    found = []
    while largest - smallest > 1:
        size = (smallest + largest) // 2
        leaves = HDBSCAN(min_cluster_size=size, min_samples=5, cluster_selection_method="leaf", copy=True)
        clusters = leaves.fit_predict(points)
        found.append(clusters)
        smallest, largest = (size, largest) if clusters.max() + 1 >= images.num_classes else (smallest, size)
    nearest = min(found, key=lambda clusters: abs(int(clusters.max()) + 1 - images.num_classes))
    return images.accuracy(reduce_topics(vectors, nearest, images.num_classes))


def reduce_by_umap(vectors: Vectors, dimensions: int, seed: int) -> Vectors:
    """Return the map that both peers begin with."""
    from umap import UMAP

    min_dist = 0.0 if dimensions > 2 else 0.1
    umap = UMAP(
        n_neighbors=15, n_components=dimensions, min_dist=min_dist, metric="cosine", random_state=seed, n_jobs=1
    )
    return np.asarray(umap.fit_transform(vectors), np.float64)


def reduce_topics(vectors: Vectors, clusters: Clusters, num_groups: int) -> Clusters:
    """Return at most `num_groups` clusters, joined by the cosine of their mean vectors; outliers go to the nearest."""
    if clusters.max() < 0:
        return np.zeros_like(clusters)
    centers = np.stack([vectors[clusters == number].mean(axis=0) for number in range(clusters.max() + 1)])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    topics = np.where(clusters < 0, (vectors @ centers.T).argmax(axis=1), clusters)
    if len(centers) <= num_groups:
        return topics
    joined = AgglomerativeClustering(num_groups, metric="cosine", linkage="average").fit_predict(centers)
    return np.asarray(joined[topics], np.int64)


METHODS: dict[str, Callable[[Images, int], float]] = {
    "consensus of labels": group_labels,
    "the same without a tenth": group_most,
    "labels once": group_once,
    "k-means of images": cluster_images,
}
PEERS: dict[str, Callable[[Images, int], float]] = {
    "BERTopic's core": cluster_like_bertopic,
    "Toponymy's core": cluster_like_toponymy,
}


def measure_method(name: str, method: Callable[[Images, int], float], images: Images, seeds: int) -> dict[str, Any]:
    """Return a row of the table."""
    started = time.perf_counter()
    accuracies = [method(images, seed) for seed in range(seeds)]
    seconds = round((time.perf_counter() - started) / seeds, 2)
    figures = {"accuracy": round(mean(accuracies), 4), "sd": round(pstdev(accuracies), 4)}
    return {"what": name, **figures, "least": round(min(accuracies), 4), "seeds": seeds, "seconds": seconds}


def recorded(images: Images) -> dict[str, Any]:
    """Return the row of the recorded answers of Step 3, over the images that have one."""
    with_answer = images.assigned >= 0
    if not with_answer.any():
        return {"what": "recorded answers", "seeds": 0}
    table = np.zeros((int(images.assigned.max()) + 1, images.num_classes))
    np.add.at(table, (images.assigned[with_answer], images.truth[with_answer]), 1)
    accuracy = table[linear_sum_assignment(table, maximize=True)].sum() / with_answer.sum()
    return {"what": "recorded answers", "accuracy": round(float(accuracy), 4), "seeds": 1}


def find_numbers(images: Images, seeds: int, max_groups: int) -> list[int]:
    """Return the number of groups that each seed finds."""
    found = []
    for seed in range(seeds):
        drawn = draw_labels(images, seed)
        choice = choose_number(drawn.propose_few, labels=drawn.labels, weights=drawn.weights, max_groups=max_groups)
        found.append(choice.num_groups)
    return found


def measure_levels(images: Images, seed: int) -> tuple[float, float]:
    """Return the accuracy of the coarser of two levels, and of as many groups alone."""
    drawn = draw_labels(images, seed)
    numbers = [images.num_classes, min(FINER * images.num_classes, len(drawn.labels))]
    if numbers[0] >= numbers[1]:
        numbers = numbers[:1]
    levels = find_levels(drawn.propose, labels=drawn.labels, weights=drawn.weights, num_groups=numbers)
    return drawn.accuracy(levels[0].members), group_labels(images, seed)


def run_data(arguments: argparse.Namespace) -> None:
    """Measure everything on one file."""
    images, num_left_out = load_images(arguments.data)
    rows = [measure_method(name, method, images, arguments.seeds) for name, method in METHODS.items()]
    rows.append(recorded(images))
    rows += [
        measure_method(name, method, images, arguments.peer_seeds)
        for name, method in PEERS.items()
        if arguments.peer_seeds
    ]
    numbers = find_numbers(images, arguments.number_seeds, arguments.max_clusters)
    coarse, flat = measure_levels(images, 0)
    figures = {
        "data": arguments.data.name,
        "images": len(images.truth),
        "without_label": num_left_out,
        "labels": len(images.labels),
        "classes": images.num_classes,
        "accuracy": rows[0]["accuracy"],
        "sd": rows[0]["sd"],
        "k_found": numbers,
        "coarse_level": round(coarse, 4),
        "flat": round(flat, 4),
        "peers": {row["what"]: row.get("accuracy") for row in rows[1:]},
    }
    sizes = f"{len(images.truth):,} images, {len(images.labels):,} labels, {images.num_classes} classes"
    print_results(f"{arguments.data.name}: {sizes}", rows, figures)


def group_many() -> None:
    """Group drawn labels: blobs of unit vectors, whose counts fall as in a language (Zipf)."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(SCALE_IMAGES - SCALE_LABELS, (p := 1 / np.arange(1, SCALE_LABELS + 1)) / p.sum()) + 1
    centers = rng.normal(size=(4 * SCALE_GROUPS, SCALE_DIMENSIONS)).astype(np.float32)
    vectors = centers[rng.integers(len(centers), size=SCALE_LABELS)]
    vectors += rng.normal(size=vectors.shape).astype(np.float32)
    labels = [f"label {number}" for number in range(SCALE_LABELS)]
    proposals = propose_groupings(vectors, labels=labels, weights=counts, num_groups=SCALE_GROUPS, seed=0)
    del vectors
    print(find_consensus(proposals, labels=labels, weights=counts, num_groups=SCALE_GROUPS).num_groups)


def run_scale() -> None:
    """Measure time and memory of `group_many`, in a process of its own."""
    usage = measure(__file__, "--group_many")
    row = {"what": f"{SCALE_LABELS:,} labels of {SCALE_IMAGES:,} images", **vars(usage)}
    print_results("consensus of many labels", [row], {"seconds": usage.seconds, "peak_gb": usage.peak_gb})
    check(
        (f"at most {MAX_SECONDS} s: {usage.seconds}", usage.seconds <= MAX_SECONDS),
        (f"at most {MAX_GB} GB: {usage.peak_gb}", usage.peak_gb <= MAX_GB),
    )


def main() -> None:
    """Measure one file, or the time that many labels take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--peer_seeds", type=int, default=3, help="UMAP takes long; 0 leaves the peers out")
    parser.add_argument("--number_seeds", type=int, default=5, help="for how many seeds the number of groups is found")
    parser.add_argument("--max_clusters", type=int, default=30)
    parser.add_argument("--scale", action="store_true", help="a million images, drawn vectors")
    parser.add_argument("--group_many", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scale:
        run_scale()
    elif arguments.data is None and not arguments.group_many:
        parser.error("give --data FILE.jsonl, or --scale")
    with threadpool_limits(1):
        if arguments.group_many:
            group_many()
        elif arguments.data is not None:
            run_data(arguments)


if __name__ == "__main__":
    main()
