"""Compare the clusters of a run with the known truth: `python examples/agreement.py RESULTS_DIR TRUTH_CSV`.

Only ads count: the truth of interface screens and broken files is that they are in no cluster. An ad without a
cluster counts as wrong in the accuracy. Needs NumPy, SciPy and scikit-learn, which the extra `lite` brings.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path

SORTED_OUT = {"ui_only": "ui_only_images.json", "broken": "broken_images.json"}
WORDS_OF_KIND = {"ui_only": "interface screens set apart", "broken": "broken files found"}


def load_truth(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of the table by image id."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def load_clusters(results_dir: Path) -> dict[str, str]:
    """Return the cluster of each image by its id."""
    rows = json.loads((results_dir / "ictc_final_results.json").read_text(encoding="utf-8"))["results"]
    return {row["image_id"]: row["cluster"] for row in rows}


def match_clusters(counts: Counter[tuple[str, str]]) -> dict[str, str]:
    """Return for each cluster the category that it stands for: the pairing with the most images in agreement.

    Args:
        counts: how many images are in (cluster, category).
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    clusters = sorted({cluster for cluster, _ in counts})
    categories = sorted({category for _, category in counts})
    table = np.array([[counts[cluster, category] for category in categories] for cluster in clusters])
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {clusters[row]: categories[column] for row, column in zip(rows, columns, strict=True)}


def print_agreement(clusters: dict[str, str], categories: dict[str, str]) -> None:
    """Print the accuracy, the NMI and what each cluster is made of.

    Args:
        clusters: of each image in a cluster.
        categories: of each ad.
    """
    from sklearn.metrics import normalized_mutual_info_score

    common = sorted(clusters.keys() & categories.keys())
    counts = Counter((clusters[image_id], categories[image_id]) for image_id in common)
    matches = match_clusters(counts)
    accuracy = sum(counts[pair] for pair in matches.items()) / len(categories)
    nmi = normalized_mutual_info_score(*([names[image_id] for image_id in common] for names in (clusters, categories)))
    num_categories = len(set(categories.values()))
    print(f"\nAgreement with the truth ({len(common)} of {len(categories)} ads clustered, {num_categories} categories)")
    print(f"  accuracy (Hungarian)  {accuracy:.2f}\n  NMI                   {nmi:.2f}\n")
    width = max(map(len, matches), default=0)
    print(f"  {'cluster':{width}}  holds (* the category that it stands for)")
    for cluster in sorted({cluster for cluster, _ in counts}, key=lambda cluster: matches.get(cluster, "~")):
        print(f"  {cluster:{width}}  {describe_members(cluster, counts, matches)}")


def describe_members(cluster: str, counts: Counter[tuple[str, str]], matches: dict[str, str]) -> str:
    """Return one row of the table cluster × category, such as "7 cars*, 1 travel"."""
    members = sorted((-count, category) for (name, category), count in counts.items() if name == cluster)
    stars = {category: "*" if matches.get(cluster) == category else "" for _, category in members}
    return ", ".join(f"{-count} {category}{stars[category]}" for count, category in members)


def print_sorted_out(results_dir: Path, truth: dict[str, dict[str, str]]) -> None:
    """Print how many interface screens and broken files the run recognized."""
    print()
    for kind, name in SORTED_OUT.items():
        wanted = {image_id for image_id, row in truth.items() if row["kind"] == kind}
        found = json.loads((results_dir / name).read_text(encoding="utf-8")).keys()
        mistaken = len(found - wanted)
        print(f"  {WORDS_OF_KIND[kind]}: {len(found & wanted)} of {len(wanted)}, {mistaken} other images beside them")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how well the clusters of a run agree with the truth.")
    parser.add_argument("results_dir", type=Path, nargs="?", help="the --output_dir of the run")
    parser.add_argument("truth_csv", type=Path, help="table with the columns image_id, kind and category")
    parser.add_argument("--column", default="category", help="column of the truth to compare with (category)")
    parser.add_argument("--count_categories", action="store_true", help="only print how many categories there are")
    arguments = parser.parse_args()
    try:
        truth = load_truth(arguments.truth_csv)
        categories = {image_id: row[arguments.column] for image_id, row in truth.items() if row["kind"] == "ad"}
        if arguments.count_categories:
            print(len(set(categories.values())))
        elif arguments.results_dir is None:
            parser.error("which run? give its RESULTS_DIR before TRUTH_CSV")
        else:
            print_agreement(load_clusters(arguments.results_dir), categories)
            print_sorted_out(arguments.results_dir, truth)
    except OSError as error:
        sys.exit(f"agreement: {error.filename}: {error.strerror}; run ictc on these images first")
    except KeyError as error:
        sys.exit(f"agreement: no column {error} in {arguments.truth_csv}")


if __name__ == "__main__":
    main()
