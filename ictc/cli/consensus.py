"""`ictc consensus`: one clustering from runs with several K."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ictc.analytics.extra import analysis_packages
from ictc.errors import ConfigError

if TYPE_CHECKING:
    from ictc.analytics.consensus import Report
    from ictc.analytics.ensemble import Ensemble

MOST_RUNS = 12
"""Pairs of images are counted over all sets of runs, of which there are 2^R."""


def consensus(
    *directories: Path,
    output_dir: Path,
    num_clusters: Annotated[int | None, Parameter(validator=Number(gte=2))] = None,
    seed: int = 42,
) -> None:
    """Combine runs of one track with several K: which images stay together, and which clusters dissolve.

    Every image gets a consensus cluster with its support. Example:

    ictc consensus out_k5 out_k7 out_k10 --output_dir out_consensus

    Args:
        directories: --output_dir of two or more runs of the same track and criterion over the same images.
        output_dir: Folder for the tables.
        num_clusters: Number of consensus clusters. Unset: the middle one of the runs' K.
        seed: Of k-means and of the bootstrap.
    """
    with analysis_packages():
        from ictc.analytics.consensus import make_report
    ensemble = load_runs(directories)
    report = make_report(ensemble, num_clusters=num_clusters, seed=seed)
    print_report(ensemble, report)
    print_checked(directories)
    write_report(ensemble, report, output_dir)
    print(f"\nWritten to {output_dir}")


def load_runs(directories: tuple[Path, ...]) -> Ensemble:
    """Read the runs and fold their images.

    Raises:
        ConfigError: the runs cannot be combined.
    """
    from ictc.analytics.ensemble import fold
    from ictc.analytics.results import find_results, load_results

    runs = [load_results(directory, ["image_id"]) for directory in find_results(directories)]
    if not 2 <= len(runs) <= MOST_RUNS:
        raise ConfigError(f"give the directories of 2 to {MOST_RUNS} runs; here are the results of {len(runs)}")
    criteria = sorted({f"{run.track}: {run.criterion}" for run in runs})
    if len(criteria) > 1:
        raise ConfigError(f"these runs ask different things ({'; '.join(criteria)}); ictc archetypes combines tracks")
    return fold(runs)


def print_checked(directories: tuple[Path, ...]) -> None:
    """Print of each run that people coded a sample of how often they agree with it."""
    from ictc.analytics.results import find_results
    from ictc.validation.result import find_validation
    from ictc.validation.shares import count_cells, measure_accuracy

    for directory in find_results(directories):
        found = find_validation(directory)
        if found is None:
            continue
        if found.codings is None:
            print(f"\n{found.problem}")
            continue
        value, low, high = (float(one[0]) for one in measure_accuracy(count_cells(found.codings)))
        name, items = found.codings.run.name, f"{found.codings.item}s"
        agree = f"people agree with {name} on {value:.1%} of all {items} ({low:.1%} to {high:.1%})"
        print(f"\nBy what {found.source}, {agree}; consensus clusters are raw")


def print_report(ensemble: Ensemble, report: Report) -> None:
    """Print everything for people."""
    from ictc.analytics.consensus import FATES, summarize_fates
    from ictc.analytics.tables import format_columns, format_table

    num_runs, num_groups = len(ensemble.names), len(ensemble.sizes)
    print(f"{ensemble.num_images:,} images in {num_runs} runs, {num_groups:,} combinations of clusters")
    if ensemble.num_left_out:
        print(f"  left out: {ensemble.num_left_out:,} (no cluster in some run)")
    print(f"  {report.together:.1%} of the pairs that share a cluster in one run share one in all")
    print(f"  {report.pac:.3f} PAC, the share of pairs that some runs put together and others apart")
    agreement = {"first": "", "second": "", "ari": "{:.3f}", "ami": "{:.3f}", "nmi": "{:.3f}"}
    clusters = {"cluster_id": "", "cluster": "", "size": "", "share": "{:.1%}", "support": "{:.2f}"}
    fates = {"run": "", "cluster": "", "size": "", "jaccard": "{:.2f}", **dict.fromkeys(FATES, "")}
    print("\nAgreement of the runs\n" + format_table(format_columns(report.agreement, agreement)))
    print("\nConsensus clusters\n" + format_table(format_columns(report.consensus.clusters, clusters)))
    print("\nWhat becomes of each cluster: the number of other runs in which it stays, splits, merges or dissolves")
    print(format_table(format_columns(summarize_fates(report.fates), fates)))


def write_report(ensemble: Ensemble, report: Report, output_dir: Path) -> None:
    """Write every table as CSV, and all but those with a row an image or combination together as JSON."""
    from ictc.analytics.consensus import assignment_table, group_table
    from ictc.analytics.tables import to_records, write_csv
    from ictc.storage.json_files import write_json

    groups = group_table(ensemble, report.consensus).sort_values("size", ascending=False, kind="stable")
    write_csv(assignment_table(ensemble, report.consensus), output_dir / "consensus_assignment.csv")
    write_csv(groups, output_dir / "consensus_groups.csv")
    write_csv(report.consensus.clusters, output_dir / "consensus_clusters.csv")
    write_csv(report.fates, output_dir / "cluster_fates.csv")
    write_csv(report.agreement, output_dir / "agreement.csv")
    summary = {
        "runs": ensemble.names,
        "images": ensemble.num_images,
        "left_out": ensemble.num_left_out,
        "pairs_together_in_m_runs": report.pair_counts,
        "share_of_pairs_always_together": report.together,
        "pac": report.pac,
        "clusters": to_records(report.consensus.clusters),
        "cluster_fates": to_records(report.fates),
        "agreement": to_records(report.agreement),
    }
    write_json(output_dir / "consensus.json", summary)
