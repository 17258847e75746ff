"""What a certified Step 3 costs: `python benchmarks/cascade.py --data FILE.jsonl --target .99`, or with `--scale`.

FILE.jsonl has a line an image with image_id, truth, caption, label and assigned: what a model said of it in Steps 1, 2a
and 3. What it assigned stands for its answers. A seed draws another audit and other first questions. Calls are counted
against those of the full Step 3, which asks about each distinct pair of caption and label once; agreement is over all
images, with what the model said of each; a bound is violated where the agreement is lower.

Left out, and counted: images without a label or an assignment, and those whose assignment is no class. Where most
assignments are classes of the truth, those are the classes; else the model assigned to names of its own, and every name
is one that does not begin with "none". Accuracy is Hungarian, as in `ictc evaluate`.

`--scale` makes a collection of 10^6 images with 10^4 labels, and a quarter of one, and measures time and memory.
`--recluster` makes other clusters of a finished run of `--images` texts, by the command, with an engine that answers so
many requests a second: once asking about all, once with the target.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from statistics import mean, median
from typing import Any

import numpy as np
import numpy.typing as npt
from measuring import MAIN, Usage, check, measure, print_results
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from ictc.engines.scripted import WORDS
from ictc.inference.cascade import Aim, Inferred, ask_and_infer
from ictc.inference.inputs import Inputs, Question, read_inputs

Answers = npt.NDArray[np.int64]

SCALE_IMAGES, SCALE_LABELS, SCALE_CLUSTERS, SCALE_WHIMS = 1_000_000, 10_000, 20, 0.002
"""Of the last, the share of images whose answer hangs on nothing that is known of them."""
ENGINE_WINDOW = 64
MOST_CALLS, MOST_GB, MOST_GROWTH = 0.03, 1.0, 5.0
"""For four times as many images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """A collection and what a model said of it.

    Attributes:
        place_of: the input of each image, shape (M,).
        said: what the model said of each image, shape (M,).
        answers: what it says where an input is asked about, shape (N,): of equal inputs, what it said of the first.
        truth: shape (M,).
    """

    inputs: Inputs
    place_of: Answers
    said: Answers
    answers: Answers
    truth: Answers

    def accuracy(self, assigned: Answers) -> float:
        """Return the share of images whose cluster stands for their class, under the best pairing."""
        table = np.zeros((assigned.max() + 1, self.truth.max() + 1))
        np.add.at(table, (assigned, self.truth), 1)
        return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(assigned))


def load_recorded(path: Path) -> Recorded:
    """Return the recorded answers of a file, and say what was left out of it."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    classes = find_classes(rows)
    known = [row for row in rows if row["label"] is not None and row["assigned"] in classes]
    print(f"{path.name}: {len(known):,} of {len(rows):,} images; the others have no label, or no class as assignment")
    print(f"classes: {len(classes)}, distinct labels: {len({row['label'] for row in known}):,}")
    keys = [digest(f"{row['label']}\n{row['caption']}") for row in known]
    pairs = zip(keys, known, strict=True)
    inputs = read_inputs(Question(key, label=row["label"], text=row["caption"]) for key, row in pairs)
    place = {key: number for number, key in enumerate(inputs.keys)}
    place_of = np.array([place[key] for key in keys])
    said = number([row["assigned"] for row in known])
    answers = np.empty(len(inputs.keys), np.int64)
    answers[place_of[::-1]] = said[::-1]
    truth = number([row["truth"] for row in known])
    return Recorded(inputs=inputs, place_of=place_of, said=said, answers=answers, truth=truth)


def find_classes(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Return the names that are classes."""
    truth, assigned = {row["truth"] for row in rows}, Counter(row["assigned"] for row in rows if row["assigned"])
    if 2 * sum(count for name, count in assigned.items() if name in truth) > assigned.total():
        return truth
    return {name for name in assigned if not name.casefold().startswith("none")}


def number(names: Sequence[str]) -> Answers:
    """Return the number of each name, in the order of names."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def digest(text: str) -> str:
    """Return a digest as the steps have them."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def answer_all(inputs: Inputs, answers: Answers, aim: Aim) -> Inferred:
    """Return what comes of a collection whose answers are known."""
    asking = ask_and_infer(inputs, aim)
    rows = next(asking)
    while True:
        try:
            rows = asking.send(answers[rows].tolist())
        except StopIteration as ended:
            inferred: Inferred = ended.value
            return inferred


def measure_seed(recorded: Recorded, aim: Aim) -> dict[str, Any]:
    """Return what one seed comes to."""
    began = time.perf_counter()
    inferred = answer_all(recorded.inputs, recorded.answers, aim)
    seconds = time.perf_counter() - began
    certificate = inferred.certificate
    assigned = np.where(inferred.was_asked[recorded.place_of], recorded.said, inferred.answers[recorded.place_of])
    agreement = float((assigned == recorded.said).mean())
    left = ~inferred.was_asked
    doubt = float((recorded.inputs.counts[left] * (1 - inferred.probabilities[left])).sum())
    return {
        "seed": aim.seed,
        "calls": certificate.calls / len(recorded.inputs.keys),
        "agreement": agreement,
        "bound": certificate.bound,
        "violated": agreement < certificate.bound - 1e-12,
        "expected": 1 - doubt / len(recorded.said),
        "accuracy": recorded.accuracy(assigned),
        "audits": certificate.audits,
        "audited": certificate.audited,
        "disagreements": certificate.disagreements,
        "seconds": seconds,
    }


def compare(arguments: argparse.Namespace) -> None:
    """Print what each seed comes to, and their means."""
    recorded = load_recorded(arguments.data)
    aims = [Aim(target=arguments.target, delta=arguments.delta, seed=seed) for seed in range(arguments.seeds)]
    rows = [measure_seed(recorded, aim) for aim in aims]
    summary = {
        "target": arguments.target,
        "delta": arguments.delta,
        "images": len(recorded.said),
        "inputs": len(recorded.inputs.keys),
        **{name: mean(row[name] for row in rows) for name in ("calls", "agreement", "bound", "violated", "accuracy")},
        "accuracy_full": recorded.accuracy(recorded.said),
        "calls_median": median(row["calls"] for row in rows),
        "agreement_median": median(row["agreement"] for row in rows),
        "agreement_least": min(row["agreement"] for row in rows),
    }
    print_results(f"Certified at {arguments.target}, by seed; all of them in the line below", rows, summary)


@dataclass(frozen=True, kw_only=True)
class World:
    """A collection that is made up: labels of which some are frequent, each in a cluster of its own accord.

    Attributes:
        whims: share of images whose answer hangs on nothing that is known of them, in [0, 1].
    """

    num_images: int
    num_labels: int
    num_clusters: int
    whims: float
    seed: int = 0

    def draw(self) -> tuple[Inputs, Answers]:
        """Return the inputs and their answers."""
        rng = np.random.default_rng(self.seed)
        frequency = np.arange(1, self.num_labels + 1) ** -0.5
        labels = rng.choice(self.num_labels, self.num_images, p=frequency / frequency.sum())
        answers = rng.integers(self.num_clusters, size=self.num_labels)[labels]
        answers = np.where(
            rng.random(len(labels)) < self.whims, rng.integers(self.num_clusters, size=len(labels)), answers
        )
        inputs = read_inputs(self._questions(labels, rng))
        place = {digest(str(image)): image for image in range(self.num_images)}
        return inputs, answers[[place[key] for key in inputs.keys]]

    def _questions(self, labels: Answers, rng: np.random.Generator) -> Iterator[Question]:
        """Yield inputs with two words that tell something of the label, and six that tell nothing."""
        telling = 3000 + labels[:, None] % 997 * 2 + rng.integers(2, size=(len(labels), 2))
        words = np.hstack([telling, rng.integers(3000, size=(len(labels), 6))])
        for image, label in enumerate(labels.tolist()):
            text = " ".join(f"w{word}" for word in words[image].tolist())
            yield Question(digest(str(image)), label=f"thing{label} kind{label % 1000}", text=text)


def infer_world(num_images: int, arguments: argparse.Namespace) -> None:
    """Answer a collection of this size, and write what came of it."""
    world = World(
        num_images=num_images,
        num_labels=num_images * SCALE_LABELS // SCALE_IMAGES,
        num_clusters=SCALE_CLUSTERS,
        whims=SCALE_WHIMS,
    )
    inputs, answers = world.draw()
    inferred = answer_all(inputs, answers, Aim(target=arguments.target, delta=arguments.delta, seed=0))
    agreement = float((inferred.answers == answers).mean())
    arguments.to.write_text(json.dumps({"agreement": agreement, **asdict(inferred.certificate)}))


def run_scale(arguments: argparse.Namespace) -> None:
    """Measure time and memory of many images, each number in a process of its own."""
    rows = [measure_world(num_images, arguments) for num_images in (SCALE_IMAGES // 4, SCALE_IMAGES)]
    growth, last = rows[1]["cpu_s"] / rows[0]["cpu_s"], rows[1]
    print_results("Made-up collections", rows, {"target": arguments.target, "growth": growth, **last})
    check(
        (f"at most {MOST_CALLS:.0%} of the calls: {last['calls']:.2%}", last["calls"] <= MOST_CALLS),
        (f"at most {MOST_GB} GB: {last['peak_gb']}", last["peak_gb"] <= MOST_GB),
        (f"at most {MOST_GROWTH} times the CPU for 4 times the images: {growth:.1f}", growth <= MOST_GROWTH),
        (f"at least the bound agrees: {last['agreement']:.4f}", last["agreement"] >= last["bound"]),
    )


def run_recluster(arguments: argparse.Namespace) -> None:
    """Time `ictc recluster` with an engine of fixed speed, asking about all and with the target."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder / "texts.csv", arguments.images)
        table = ("import", folder / "texts.csv", "--output_dir", folder / "source", "--label_column", "label")
        measure("-c", MAIN, *table, "--criterion", "the topic", "--engine", "scripted", "--no_cluster")
        full = time_recluster(folder, "full", arguments)
        some = time_recluster(folder, "some", arguments, "--assign_target", arguments.target)
        found = json.loads((folder / "some" / "step3_metadata.json").read_text())["certificate"]
        said = [json.loads((folder / out / "step3_final_assignment.json").read_text()) for out in ("full", "some")]
    agreement = mean(said[0][image] == said[1][image] for image in said[0])
    rows = [{"what": "all asked", **vars(full)}, {"what": f"certified at {arguments.target}", **vars(some)}]
    figures = {
        "images": arguments.images,
        "per_second": arguments.per_second,
        "ratio": some.seconds / full.seconds,
        "calls": found["calls"] / arguments.images,
        "bound": found["bound"],
        "agreement": agreement,
    }
    print_results("A new K of a finished run", rows, figures)
    check(
        (f"at most an eighth of the seconds: {figures['ratio']:.3f}", figures["ratio"] <= 1 / 8),
        (f"at least the bound agrees: {agreement:.4f}", agreement >= found["bound"]),
    )


def time_recluster(folder: Path, out: str, arguments: argparse.Namespace, *flags: object) -> Usage:
    """Return what the command takes."""
    latency_s = ENGINE_WINDOW / arguments.per_second
    engine = {"latency_s": latency_s, "window": ENGINE_WINDOW, "by_label": 1 - SCALE_WHIMS}
    places = ("--source_dir", folder / "source", "--output_dir", folder / out)
    return measure(
        *("-c", MAIN, "recluster", *places, "--num_clusters", 8, "--engine", "scripted"),
        *("--engine_options", json.dumps(engine), *flags),
    )


def write_texts(path: Path, num_texts: int) -> None:
    """Write texts of words that mean nothing, with the words of their label among them in every other one."""
    random = Random(0)
    labels = [f"{random.choice(WORDS)}{number} {random.choice(WORDS)}" for number in range(max(num_texts // 100, 10))]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "text", "label"))
        for number in range(num_texts):
            label = labels[int(len(labels) * random.random() ** 2)]
            words = random.choices(WORDS, k=8) + (label.split() if number % 2 else [])
            writer.writerow((f"text_{number}", " ".join(words), label))


def measure_world(num_images: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a collection of this size took, and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "came.json"
        aim = ("--target", arguments.target, "--delta", arguments.delta)
        usage = measure(__file__, "--world", num_images, "--to", to, *aim)
        came = json.loads(to.read_text())
    measured = {"seconds": usage.seconds, "cpu_s": usage.cpu_s, "peak_gb": usage.peak_gb}
    return {**came, "images": f"{num_images:,}", "calls": came["calls"] / num_images, **measured}


def main() -> None:
    """Measure one file, or what many images take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="recorded answers, a line an image")
    parser.add_argument("--target", type=float, default=0.99, help="least share of images that agree")
    parser.add_argument("--delta", type=float, default=0.05, help="probability of missing it")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds are tried")
    parser.add_argument("--scale", action="store_true", help="a million images, made up")
    parser.add_argument("--recluster", action="store_true", help="a finished run, by the command")
    parser.add_argument("--images", type=int, default=100_000, help="of --recluster")
    parser.add_argument("--per_second", type=float, default=200, help="requests that its engine answers")
    parser.add_argument("--world", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scale:
        run_scale(arguments)
    elif arguments.recluster:
        run_recluster(arguments)
    elif arguments.data is None and arguments.world is None:
        parser.error("give --data FILE.jsonl, --scale or --recluster")
    with threadpool_limits(1):
        if arguments.world is not None:
            infer_world(arguments.world, arguments)
        elif arguments.data is not None:
            compare(arguments)


if __name__ == "__main__":
    main()
