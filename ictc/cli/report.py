"""`ictc report`: the page that shows what came out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ictc.report.options import PageOptions


def report(
    *directories: Path,
    output: Path = Path("report.html"),
    options: Annotated[PageOptions | None, Parameter(name="*")] = None,
) -> None:
    """Make one page of the clusters with images, search, a map and how it was made; it opens without a network.

    Several runs, of other tracks or other K, are compared. Examples:

    ictc report out --output report.html

    ictc report out_k5 out_k10 --output compared.html

    Args:
        directories: --output_dir of the runs; tracks below are found.
        output: The HTML file; replaced if it exists.
    """
    from ictc.report import write_report

    write_report(directories or [Path()], output, options)
    print(f"Report: {output} ({output.stat().st_size / 1e6:,.1f} MB)")
