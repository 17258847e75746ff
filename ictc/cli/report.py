"""`ictc report`: the page that shows what came out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ictc.report.options import EmbeddingMethod, PageOptions


def report(
    *directories: Path,
    output: Path = Path("report.html"),
    ads_dir: Path | None = None,
    max_images: Annotated[int, Parameter(validator=Number(gte=0))] = PageOptions.max_images,
    max_points: Annotated[int, Parameter(validator=Number(gte=1))] = PageOptions.max_points,
    embeddings: EmbeddingMethod = PageOptions.embeddings,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = PageOptions.seed,
) -> None:
    """Make one page of the clusters with images, search, a map and how it was made; it opens without a network.

    Several runs, of other tracks or other K, are compared. Examples:

    ictc report out --output report.html

    ictc report out_k5 out_k10 --output compared.html

    Args:
        directories: --output_dir of the runs; tracks below are found.
        output: The HTML file; replaced if it exists.
        ads_dir: Folder of the images, if they have moved since the run.
        max_images: Most images in the page, examples of the clusters first.
        max_points: Most ads on the map; their captions are embedded, which takes the time.
        embeddings: How captions become vectors; auto is MiniLM where it is installed, else TF-IDF.
        seed: Of the samples and of the map.
    """
    from ictc.report import write_report

    options = PageOptions(ads_dir, max_images, max_points, embeddings, seed)
    write_report(directories or [Path()], output, options)
    print(f"Report: {output} ({output.stat().st_size / 1e6:,.1f} MB)")
