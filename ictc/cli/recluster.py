"""`ictc recluster`: a new K or a new question to images that were captioned before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from ictc.analytics.extra import analysis_packages
from ictc.cli.merge import explicit
from ictc.cli.run import costing_no_result, run_in_session
from ictc.config import ControlSettings, EngineSettings
from ictc.errors import ConfigError
from ictc.recluster import ReclusterRequest, find_source, recluster_source

OWN = Group("Recluster", sort_key=0)
DEFAULT_NUM_CLUSTERS = "10"


def recluster(
    *,
    source_dir: Annotated[Path, Parameter(group=OWN)],
    output_dir: Annotated[Path, Parameter(group=OWN)],
    track: Annotated[str | None, Parameter(group=OWN)] = None,
    num_clusters: Annotated[str | None, Parameter(group=OWN)] = None,
    criterion: Annotated[str | None, Parameter(group=OWN)] = None,
    clusters: Annotated[Path | None, Parameter(group=OWN)] = None,
    redo_2a: Annotated[bool, Parameter(group=OWN)] = False,
    keep_labels: Annotated[bool, Parameter(group=OWN)] = False,
    top_hooks: Annotated[int | None, Parameter(group=OWN)] = None,
    engine: Annotated[EngineSettings | None, Parameter(name="*", group=Group("Models", sort_key=4))] = None,
    control: Annotated[ControlSettings | None, Parameter(name="*", group=Group("Control", sort_key=5))] = None,
) -> None:
    """Make other clusters of images that a run has captioned, without looking at them again.

    The source is only read. Labels are reused for a new K, and made again for a new criterion. The model is loaded
    for text alone, and once for all K. Examples:

    ictc recluster --source_dir out/full_run --output_dir out/track1_k10 --num_clusters 10

    ictc recluster --source_dir out --output_dir out_k --track 1 --num_clusters 5,7,10,15

    ictc recluster --source_dir out --output_dir tone --criterion "Emotional Tone" --num_clusters 8

    ictc recluster --source_dir out --output_dir edited --clusters edited.json

    Args:
        source_dir: --output_dir of a run whose Steps 1 and 2a are finished.
        output_dir: New folder for the results, or for one folder each if several K are given.
        track: Which track of the source, if it holds several.
        num_clusters: K, or several, separated by commas. Unset: 10.
        criterion: What to cluster by, in words. Unset: as in the source.
        clusters: JSON file of clusters, such as an edited step2b_dynamic_clusters.json, to assign to.
        redo_2a: Make the labels again.
        keep_labels: Keep the labels although the criterion is new.
        top_hooks: How many of the most frequent labels Step 2b reads. Unset: as in the source.
    """
    if redo_2a and keep_labels:
        raise ConfigError("--redo_2a and --keep_labels contradict each other; give one of them")
    if clusters is not None and num_clusters is not None:
        raise ConfigError("--clusters says how many clusters there are; leave out --num_clusters")
    own = {"criterion": criterion, "clusters": clusters, "top_hooks": top_hooks}
    given = {name: value for name, value in own.items() if value is not None}
    request = ReclusterRequest(
        source_dir=source_dir,
        output_dir=output_dir,
        track=track,
        num_clusters=() if clusters is not None else parse_numbers(num_clusters or DEFAULT_NUM_CLUSTERS),
        redo_labels=True if redo_2a else False if keep_labels else None,
        overrides={**given, **explicit(engine), **explicit(control)},
    )
    source = find_source(request)
    run_in_session(
        output_dir,
        lambda reporter, stop: recluster_source(source, request, reporter, stop),
        verbose=control is not None and control.verbose,
    )
    if len(request.num_clusters) > 1:
        with costing_no_result("comparison", "the same command"):
            compare([target.directory.path for target in request.targets()], output_dir)


def parse_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of "5,7,10", each once, in order.

    Raises:
        ConfigError: something else stands there.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 2 <= int(part) <= 100 for part in parts):
        raise ConfigError(f"--num_clusters {text}: must be a number from 2 to 100, or several, such as 5,7,10")
    return tuple(dict.fromkeys(map(int, parts)))


def compare(directories: list[Path], output_dir: Path) -> None:
    """Print how balanced the clusterings are and how far they agree, and write it beside them."""
    with analysis_packages():
        from ictc.analytics.comparison import compare_clusterings
        from ictc.analytics.tables import format_columns, format_table, write_csv
    sizes, agreement = compare_clusterings(directories)
    shown = {"run": "", "num_clusters": "", "normalized_entropy": "{:.3f}", "largest_share": "{:.1%}", "sizes": ""}
    print("\nBalance of the clusters\n" + format_table(format_columns(sizes, shown)))
    pairs = {"first": "", "second": "", "ari": "{:.3f}", "ami": "{:.3f}", "nmi": "{:.3f}"}
    print(
        "\nAgreement: above .3 mostly a subdivision, else a reorganization\n"
        + format_table(format_columns(agreement, pairs))
    )
    write_csv(sizes, output_dir / "comparison_balance.csv")
    write_csv(agreement, output_dir / "comparison_agreement.csv")
    print(f"Comparison: {output_dir / 'comparison_balance.csv'}, {output_dir / 'comparison_agreement.csv'}")
