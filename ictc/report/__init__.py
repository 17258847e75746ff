"""What a person looks at after a run: the report page, samples for a closer look, and exports for other tools.

Knows exported results and image files; knows nothing of journals, engines at work or arguments. Needs the extra
`analysis`, so its packages are imported when a function here is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ictc.analytics.extra import analysis_packages
from ictc.report.options import PageOptions

__all__ = ["PageOptions", "write_report"]


def write_report(directories: Sequence[Path], output: Path, options: PageOptions | None = None) -> None:
    """Write one self-contained page about finished runs; it needs no network and no file beside it.

    Equal results and images give equal pages on one machine.

    Args:
        directories: folders with the results of a track, or with tracks inside; two or more are also compared.
        output: the HTML file; replaced as a whole.

    Raises:
        ConfigError: no results are there, or a package of the extra is missing.
        StorageError: a file of the results is damaged, or the page cannot be written.
    """
    with analysis_packages():
        from ictc.report.page import build_page
        from ictc.storage.atomic import write_atomic

        page = build_page(directories, options or PageOptions())
    write_atomic(output, page.encode())
