"""What the two scripts have in common: arguments, progress and errors. Imports nothing heavy before it can explain."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ictc.analytics.extra import analysis_packages
from ictc.errors import IctcError

if TYPE_CHECKING:
    from study_figures.finding import FigureSpec


def main(description: str, load_figures: Callable[[], Sequence[FigureSpec[Any]]], findings_name: str) -> None:
    """Make the figures of the study that the command line names, and exit."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "study", type=Path, nargs="+", help="folders with results, or with such folders inside; one K or two"
    )
    parser.add_argument(
        "--output_dir", "--output-dir", type=Path, required=True, help="folder for figures and findings"
    )
    arguments = parser.parse_args()
    try:
        with analysis_packages():
            specs = load_figures()
        publish(arguments.study, specs, arguments.output_dir, findings_name)
    except IctcError as error:
        print(f"{Path(sys.argv[0]).stem}: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def publish(
    directories: Sequence[Path], specs: Sequence[FigureSpec[Any]], output_dir: Path, findings_name: str
) -> None:
    """Make each figure and then the findings, with a line for each.

    Raises:
        ConfigError: the directories hold no study.
        StorageError: results are damaged, or the disk refused.
    """
    from study_figures.publishing import make_figure, write_findings
    from study_figures.reading import load_study

    study = load_study(directories)
    runs = ", ".join(f"{run.name} ({len(run.rows):,} ads)" for run in study.runs.values())
    print(f"Study: {runs}", flush=True)
    output_dir.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for spec in specs:
        outcome = make_figure(spec, study, output_dir)
        print(f"  {spec.name}: {f'skipped: {outcome.skipped}' if outcome.skipped else outcome.title}", flush=True)
        outcomes.append(outcome)
    write_findings(study, outcomes, output_dir / findings_name)
    drawn = sum(not outcome.skipped for outcome in outcomes)
    print(
        f"{drawn} of {len(specs)} figures as PNG and SVG, {findings_name}.md and {findings_name}.json in {output_dir}"
    )
