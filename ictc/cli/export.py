"""`ictc export`: results for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ictc.analytics.extra import analysis_packages
from ictc.report.options import EmbeddingMethod, PageOptions

DEFAULTS = PageOptions()


def export(
    directory: Path,
    /,
    *,
    format: Literal["csv", "huggingface", "fiftyone", "datamap"],  # noqa: A002
    output: Path,
    ads_dir: Path | None = None,
    max_points: Annotated[int, Parameter(validator=Number(gte=1))] = DEFAULTS.max_points,
    embeddings: EmbeddingMethod = DEFAULTS.embeddings,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = DEFAULTS.seed,
) -> None:
    """Write results as CSV, for Hugging Face datasets, for FiftyOne, or as a map of the captions.

    What leaves is what the results hold, without paths of this machine. Examples:

    ictc export out --format csv --output results.csv

    ictc export out --format huggingface --output dataset

    Args:
        directory: --output_dir of a run of one track.
        format: csv and datamap are one file, huggingface and fiftyone are folders with the images.
        output: The file, replaced if it exists; or the folder, which must be new or empty.
        ads_dir: Folder of the images, if they have moved since the run.
        max_points: Most ads of a datamap.
        embeddings: How captions become vectors for a datamap; auto is MiniLM where it is installed, else TF-IDF.
        seed: Of the datamap.
    """
    with analysis_packages():
        from ictc.report.exports import EXPORTERS
        from ictc.report.images import build_finder
        from ictc.report.selection import load_single
        from ictc.report.words import words_for
    results = load_single(directory)
    options = PageOptions(ads_dir=ads_dir, max_points=max_points, embeddings=embeddings, seed=seed)
    with analysis_packages():
        summary = EXPORTERS[format](results, build_finder(results.directory, ads_dir=ads_dir), output, options)
    left_out = f"; {summary.num_left_out:,} left out" if summary.num_left_out else ""
    print(f"{summary.num_exported:,} {words_for(results.metadata).many}: {output}{left_out}")
