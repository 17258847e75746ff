"""`ictc evaluate`: how well clusters recover known classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from ictc.analytics.extra import analysis_packages
from ictc.cli.judging import check_judge, tell_judged
from ictc.config import ControlSettings, EngineSettings
from ictc.config.base import explicit
from ictc.errors import ConfigError
from ictc.intrusion.run import TRIPLES, JudgeRequest

if TYPE_CHECKING:
    from ictc.analytics.evaluation import Evaluation, Scores
    from ictc.analytics.labels import Clustering
    from ictc.validation.result import FoundValidation

MODELS, CONTROL = Group("Models of --judge", sort_key=4), Group("Control of --judge", sort_key=5)

TITLES = {
    "accuracy": "accuracy (Hungarian)",
    "accuracy_of_all": "  with no cluster counted as wrong",
    "nmi": "NMI",
    "ari": "ARI",
    "ami": "AMI",
    "bcubed_precision": "BCubed precision",
    "bcubed_recall": "BCubed recall",
    "bcubed_f1": "BCubed F1",
    "purity": "purity",
}

TITLES_OF_SETS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "jaccard": "Jaccard, mean of the images",
    "exact": "all clusters right",
    "best": "best cluster right",
}

SCORES_OF_LEVELS = ("accuracy", "nmi", "ari", "ami", "bcubed_f1", "purity")
"""What is told of every level."""

PER_CLASS_FORMATS = {
    "class": "",
    "cluster": "",
    "images": "",
    "precision": "{:.3f}",
    "recall": "{:.3f}",
    "f1": "{:.3f}",
}


def evaluate(
    path: Annotated[
        Path, Parameter(help="--output_dir of a run, or a CSV file with the columns image_id and cluster.")
    ],
    /,
    *,
    truth: Path | None = None,
    column: str = "truth",
    level: str | None = None,
    output_dir: Path | None = None,
    judge: bool = False,
    triples: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    engine: Annotated[EngineSettings | None, Parameter(name="*", group=MODELS)] = None,
    control: Annotated[ControlSettings | None, Parameter(name="*", group=CONTROL)] = None,
) -> None:
    """Compare clusters with the true classes: accuracy, NMI, ARI, AMI, BCubed, each class and the confusion matrix.

    Images without a cluster, also those that no cluster fits, or without a class are counted and told. Of a run with
    --multi_label the sets of clusters are compared, and the truth may have several classes in a cell, with semicolons
    between them. Without a truth --judge asks a model, of two images of a cluster and one of another, for the odd one
    out, by their captions: where it can't tell, the cluster holds nothing together. Clusters of shuffled images are
    judged beside them. The same command again resumes. Examples:

    ictc evaluate out --truth truth.csv

    ictc evaluate out_levels --truth truth.csv --level coarse

    ictc evaluate out --judge --triples 30

    ictc evaluate assignments.csv --truth truth.csv --column category --output_dir out_evaluation

    Args:
        truth: CSV file with the column image_id and one for the class; an empty class means none. Without it, what
            people said of a sample is told (ictc validate).
        column: Column of --truth that holds the class.
        level: Of nested clusters, the level to compare; all: each of them. Unset: the finest, and the scores of each.
        output_dir: Folder for evaluation.json, the tables as CSV and the confusion matrix as PNG and SVG; with all
            levels, for a folder of each. With --judge for judge.json; unset, it lies in "judge" in the
            directory of the run.
        judge: Ask a model about the captions of a run: the run's own unless --engine or the like say otherwise.
        triples: Questions about each cluster with --judge. Unset: 20.
    """
    overrides = {**explicit(engine), **explicit(control)}
    check_judge(truth, overrides if triples is None else {"triples": triples, **overrides}, judge=judge)
    if judge:
        tell_judged(
            JudgeRequest(
                directory=path, output_dir=output_dir, level=level, num_triples=triples or TRIPLES, overrides=overrides
            )
        )
    elif truth is None:
        tell_checked(path, level=level, output_dir=output_dir)
    else:
        compare_with_truth(path, truth=truth, column=column, level=level, output_dir=output_dir)


def compare_with_truth(path: Path, *, truth: Path, column: str, level: str | None, output_dir: Path | None) -> None:
    """Compare clusters with the true classes, and beside that tell what people say of a sample, if anything."""
    with analysis_packages():
        from ictc.analytics.evaluation import evaluate as compare
        from ictc.analytics.labels import choose_level, load_clusterings, read_labels
    clusterings = load_clusterings(path)
    chosen = choose_level(clusterings, level, path=path)
    folders = folders_of(chosen, output_dir)
    if chosen[0].fitting is not None:
        for one, folder in zip(chosen, folders, strict=True):
            tell_of_sets(one, truth, column=column, output_dir=folder)
        return
    classes = read_labels(truth, (column,))
    evaluated = {
        one.level: compare(one.clusters, truth=classes, outcomes=one.outcomes)
        for one in (clusterings if level is None else chosen)
    }
    for one, folder in zip(chosen, folders, strict=True):
        print_evaluation(evaluated[one.level], one, truth)
        if folder is not None:
            write_evaluation(evaluated, one, folder)
            print(f"Written to {folder}")
    if len(evaluated) > 1:
        print_levels(evaluated)
    if (validation := validation_beside(path, level)) is not None:
        print_checked(validation)


def validation_beside(path: Path, level: str | None = None) -> FoundValidation | None:
    """Return what people say of the run in a folder, None if nobody was asked or there is no run.

    Args:
        level: the finest if None; for all of them that which was coded.
    """
    from ictc.analytics.labels import is_all_levels
    from ictc.analytics.results import find_single_results
    from ictc.validation.result import find_validation

    wanted = None if is_all_levels(level) else level or ""
    return find_validation(find_single_results(path), level=wanted) if path.is_dir() else None


def tell_checked(path: Path, *, level: str | None, output_dir: Path | None) -> None:
    """Tell what people say of a run, where there is nothing else to compare it with.

    Raises:
        ConfigError: nobody was asked.
    """
    with analysis_packages():
        from ictc.analytics.tables import to_records
        from ictc.storage.json_files import write_json
        from ictc.validation.shares import correct_shares, count_cells
    validation = validation_beside(path, level)
    if validation is None:
        raise ConfigError(
            f"{path}: give --truth, a table of the true classes, or --judge; or let people code a sample: ictc validate"
        )
    if validation.codings is None:
        raise ConfigError(validation.problem)
    print(validation.codings.run.name)
    print_checked(validation)
    if output_dir is not None:
        shares = correct_shares(count_cells(validation.codings))
        write_json(output_dir / "evaluation.json", {"corrected_shares": to_records(shares.drop(columns="group"))})
        print(f"Written to {output_dir}")


def print_checked(validation: FoundValidation) -> None:
    """Print what people say of a run: how often they agree with the model, and corrected shares beside raw ones."""
    from ictc.analytics.tables import format_table
    from ictc.cli.validate import share_table
    from ictc.validation.shares import correct_shares, count_cells, measure_accuracy

    if validation.codings is None:
        print(f"\n{validation.problem}")
        return
    cells = count_cells(validation.codings)
    value, low, high = (float(one[0]) for one in measure_accuracy(cells))
    print(f"\nBy what {validation.source}, people agree with the model on {value:.1%} of all ({low:.1%} to {high:.1%})")
    print("Shares of the clusters, raw from the model and corrected for its errors")
    print(format_table(share_table(correct_shares(cells))))


def folders_of(chosen: Sequence[Clustering], output_dir: Path | None) -> list[Path | None]:
    """Return the folder for each of several levels, or that for the only one."""
    if output_dir is None or len(chosen) == 1:
        return [output_dir] * len(chosen)
    return [output_dir / f"level_{number}" for number in range(1, len(chosen) + 1)]


def tell_of_sets(clustering: Clustering, truth: Path, *, column: str, output_dir: Path | None) -> None:
    """Compare the clusters that fit each image with its classes, print what that says, and write it."""
    from ictc.analytics.labels import read_labels
    from ictc.analytics.several import evaluate_sets
    from ictc.analytics.tables import format_columns, format_table, to_records, write_csv
    from ictc.storage.json_files import write_json

    assert clustering.fitting is not None
    found = evaluate_sets(clustering.fitting, truth=read_labels(truth, (column,)))
    scores = asdict(found.scores)
    print(f"{clustering.name} against {truth}, of images in several clusters")
    print(f"{found.num_images:,} images compared, {found.num_without_cluster:,} with a class but no cluster")
    print("\n" + "\n".join(f"  {TITLES_OF_SETS[score]:36} {value:6.3f}" for score, value in scores.items()))
    print("\n" + format_table(format_columns(found.per_class, PER_CLASS_FORMATS)))
    if output_dir is not None:
        level = {"level": clustering.level} if clustering.level else {}
        counts = {**level, "images": found.num_images, "with_class_without_cluster": found.num_without_cluster}
        summary = {**counts, "scores": scores, "per_class": to_records(found.per_class)}
        write_json(output_dir / "evaluation.json", summary)
        write_csv(found.per_class, output_dir / "per_class.csv")
        print(f"Written to {output_dir}")


def print_evaluation(evaluation: Evaluation, clustering: Clustering, truth: Path) -> None:
    """Print everything for people."""
    from ictc.analytics.tables import format_columns, format_table

    num_clusters, num_classes = evaluation.table.shape
    print(f"{clustering.name} against {truth}")
    print(f"{evaluation.num_images:,} images compared: {num_clusters:,} clusters, {num_classes:,} classes")
    for line in describe_missing(evaluation, clustering):
        print(f"  {line}")
    print("\n" + "\n".join(score_lines(evaluation.scores)))
    for note in evaluation.notes:
        print(f"\n{note}")
    print("\n" + format_table(format_columns(evaluation.per_class, PER_CLASS_FORMATS)))


def print_levels(evaluated: Mapping[str, Evaluation]) -> None:
    """Print the scores of each level for people."""
    import pandas as pd

    from ictc.analytics.tables import format_columns, format_table

    formats = {"level": "", "clusters": "{:,}", **dict.fromkeys(SCORES_OF_LEVELS, "{:.3f}")}
    print("\nEach level\n" + format_table(format_columns(pd.DataFrame(scores_of_levels(evaluated)), formats)))


def scores_of_levels(evaluated: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Return a row a level: its name, how many clusters it has, and its scores."""
    return [{"level": level, "clusters": len(one.table), **asdict(one.scores)} for level, one in evaluated.items()]


def describe_missing(evaluation: Evaluation, clustering: Clustering) -> list[str]:
    """Return a line for each kind of image that could not be compared."""
    outcomes, lines = clustering.outcomes, []
    if count := len(evaluation.without_cluster):
        why = describe_counts(outcomes.reindex(evaluation.without_cluster).value_counts().to_dict())
        lines.append(f"with a class but no cluster: {count:,}{why}")
    if count := len(evaluation.without_class):
        clustered = {"clustered": int(evaluation.without_class.isin(clustering.clusters.index).sum())}
        why = describe_counts(clustered | outcomes.reindex(evaluation.without_class).value_counts().to_dict())
        lines.append(f"with an empty class in the truth: {count:,}{why}")
    if count := len(evaluation.without_truth):
        lines.append(f"with a cluster but not in the truth: {count:,}")
    return lines


def describe_counts(counts: dict[str, int]) -> str:
    """Return counts in brackets, such as " (3 ui_only, 4 broken)", "" if all are 0."""
    parts = [f"{count:,} {'no cluster fits' if name == 'none' else name}" for name, count in counts.items() if count]
    return f" ({', '.join(parts)})" if parts else ""


def score_lines(scores: Scores) -> list[str]:
    """Return a line for each score; what is the same for all images with a class is not said twice."""
    values = asdict(scores)
    if scores.accuracy_of_all == scores.accuracy:
        del values["accuracy_of_all"]
    return [f"  {TITLES[name]:36} {value:6.3f}" for name, value in values.items()]


def write_evaluation(evaluated: Mapping[str, Evaluation], clustering: Clustering, output_dir: Path) -> None:
    """Write the scores as JSON, the tables as CSV and the confusion matrix as a figure.

    Args:
        evaluated: by level, that of the clustering among them.
    """
    from ictc.analytics.confusion import add_none, confusion_matrix, draw_confusion
    from ictc.analytics.figures import save_figure
    from ictc.analytics.tables import to_records, write_csv
    from ictc.storage.json_files import write_json

    evaluation = evaluated[clustering.level]
    matched = confusion_matrix(evaluation.table, evaluation.matches)
    matrix = add_none(matched, evaluation.fitting_none, clustering.none_name)
    num_clusters, num_classes = evaluation.table.shape
    summary = {
        **({"level": clustering.level} if clustering.level else {}),
        "images": evaluation.num_images,
        "clusters": num_clusters,
        "classes": num_classes,
        "with_class_without_cluster": len(evaluation.without_cluster),
        "with_class_fitting_none": len(evaluation.fitting_none),
        "with_cluster_not_in_truth": len(evaluation.without_truth),
        "empty_class": len(evaluation.without_class),
        "scores": asdict(evaluation.scores),
        **({"levels": scores_of_levels(evaluated)} if len(evaluated) > 1 else {}),
        "notes": evaluation.notes,
        "per_class": to_records(evaluation.per_class),
        "confusion": to_records(matrix.rename_axis("class").reset_index()),
    }
    write_json(output_dir / "evaluation.json", summary)
    write_csv(evaluation.per_class, output_dir / "per_class.csv")
    write_csv(matrix.rename_axis("class").reset_index(), output_dir / "confusion.csv")
    title = f"{evaluation.num_images:,} images, accuracy {evaluation.scores.accuracy:.3f}"
    save_figure(draw_confusion(matrix, title), output_dir / "confusion")
