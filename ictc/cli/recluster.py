"""`ictc recluster`: a new K or a new question to images that were captioned before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from ictc.analytics.extra import analysis_packages
from ictc.cli.terminal import Terminal
from ictc.config import ControlSettings, EngineSettings
from ictc.config.base import explicit
from ictc.interface.session import costing_no_result, recluster_images
from ictc.interface.settings import build_recluster

OWN = Group("Recluster", sort_key=0)


def recluster(
    *,
    source_dir: Annotated[Path, Parameter(group=OWN)],
    output_dir: Annotated[Path, Parameter(group=OWN)],
    track: Annotated[str | None, Parameter(group=OWN)] = None,
    num_clusters: Annotated[str | None, Parameter(group=OWN)] = None,
    levels: Annotated[str | None, Parameter(group=OWN)] = None,
    max_clusters: Annotated[int | None, Parameter(group=OWN)] = None,
    criterion: Annotated[str | None, Parameter(group=OWN)] = None,
    clusters: Annotated[Path | None, Parameter(group=OWN)] = None,
    redo_2a: Annotated[bool, Parameter(group=OWN)] = False,
    keep_labels: Annotated[bool, Parameter(group=OWN)] = False,
    top_hooks: Annotated[int | None, Parameter(group=OWN)] = None,
    synthesize_runs: Annotated[int | None, Parameter(group=OWN)] = None,
    guide: Annotated[Path | None, Parameter(group=OWN)] = None,
    allow_none: Annotated[bool | None, Parameter(group=OWN)] = None,
    multi_label: Annotated[bool | None, Parameter(group=OWN)] = None,
    assign_target: Annotated[float | None, Parameter(group=OWN)] = None,
    assign_delta: Annotated[float | None, Parameter(group=OWN)] = None,
    evidence: Annotated[bool | None, Parameter(group=OWN)] = None,
    engine: Annotated[EngineSettings | None, Parameter(name="*", group=Group("Models", sort_key=4))] = None,
    control: Annotated[ControlSettings | None, Parameter(name="*", group=Group("Control", sort_key=5))] = None,
) -> None:
    """Make other clusters of images that a run has captioned, without looking at them again.

    The source is only read. Labels are reused for a new K, and made again for a new criterion. The model is loaded
    for text alone, and once for all K. Examples:

    ictc recluster --source_dir out/full_run --output_dir out/track1_k10 --num_clusters 10

    ictc recluster --source_dir out --output_dir out_k --track 1 --num_clusters 5,7,10,15

    ictc recluster --source_dir out --output_dir nested --num_clusters 5,20 --levels coarse,fine

    ictc recluster --source_dir out --output_dir tone --criterion "Emotional Tone" --num_clusters 8

    ictc recluster --source_dir out --output_dir edited --clusters edited.json

    Args:
        source_dir: --output_dir of a run whose Steps 1 and 2a are finished.
        output_dir: New folder for the results, or for one folder each if several K are given.
        track: Which track of the source, if it holds several.
        num_clusters: K, or several, separated by commas, or auto: the fewest on which several sets of clusters agree
            best. Unset: 10. Several are a run each, but with --levels nested levels of one run.
        levels: Names of nested levels, the coarsest first, such as coarse,fine. Unset: no levels.
        max_clusters: With --num_clusters auto: the most that are tried. Unset: as in the source.
        criterion: What to cluster by, in words. Unset: as in the source.
        clusters: JSON file of clusters, such as an edited step2b_dynamic_clusters.json, to assign to.
        redo_2a: Make the labels again.
        keep_labels: Keep the labels although the criterion is new.
        top_hooks: How many of the most frequent labels Step 2b reads. Unset: as in the source.
        synthesize_runs: How many sets of clusters Step 2b asks for, and takes what they agree on. Unset: as in the
            source.
        guide: YAML file of what is known of the clusters: clusters that must be there, and labels that are together
            or apart. Unset: as in the source.
        allow_none: Let Step 3 say that no cluster fits an image. Unset: as in the source; --allow_none=false: no more.
        multi_label: Put an image into every cluster that fits it, with a score each. Unset: as in the source;
            --multi_label=false: into the best alone.
        assign_target: Let Step 3 ask about some images only and infer the others, such that at least this share has the
            answer that the model would have given. Unset: as in the source; 1: ask about all.
        assign_delta: With --assign_target: probability with which that may be missed. Unset: as in the source.
        evidence: Back each assignment with a quote, and give each cluster two rules. Unset: as in the source;
            --evidence=false: no more.
    """
    own = {
        "criterion": criterion,
        "levels": levels,
        "max_clusters": max_clusters,
        "clusters": clusters,
        "top_hooks": top_hooks,
        "synthesize_runs": synthesize_runs,
        "guide": guide,
        "allow_none": allow_none,
        "multi_label": multi_label,
        "assign_target": assign_target,
        "assign_delta": assign_delta,
        "evidence": evidence,
    }
    given = {name: value for name, value in own.items() if value is not None}
    request = build_recluster(
        source_dir=source_dir,
        output_dir=output_dir,
        track=track,
        num_clusters=num_clusters,
        is_nested=levels is not None,
        redo_2a=redo_2a,
        keep_labels=keep_labels,
        overrides={**given, **explicit(engine), **explicit(control)},
    )
    front = Terminal()
    recluster_images(request, front)
    if len(request.num_clusters) > 1:
        with costing_no_result("comparison", again="the same command", front=front):
            compare([target.directory.path for target in request.targets()], output_dir)


def compare(directories: list[Path], output_dir: Path) -> None:
    """Print how balanced the clusterings are and how far they agree, and write it beside them."""
    with analysis_packages():
        from ictc.analytics.comparison import compare_clusterings
        from ictc.analytics.results import load_results
        from ictc.analytics.tables import format_columns, format_table, write_csv
    runs = [load_results(directory, ["image_id"]) for directory in directories]
    if any(run.is_several for run in runs):
        print("No comparison: images may be in several clusters, and it is of divisions of the images")
        return
    sizes, agreement = compare_clusterings(runs)
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
