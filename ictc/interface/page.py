"""A report page as a notebook shows it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

MAX_EMBEDDED_CHARS = 2_500_000
"""Jupyter drops an output that makes more than 3 MB within three seconds (`iopub_data_rate_limit`)."""

HEIGHT_PX = 800


@dataclass(frozen=True)
class ReportPage:
    """The page that `Run.report` wrote; at the end of a cell it shows itself.

    Attributes:
        path: of the HTML file, which needs nothing beside it.
    """

    path: Path

    def _repr_html_(self) -> str:
        """Return a frame with the page, which may run its own scripts and reach nothing of the notebook.

        A small page is part of the output, so it also shows where the notebook goes; a large one stays in its file.
        """
        page = escape(self.path.read_text(encoding="utf-8"))
        place = os.path.relpath(self.path)  # what notebooks resolve addresses against; no name of a user goes along
        where = quote(place)
        source = f'srcdoc="{page}"' if len(page) <= MAX_EMBEDDED_CHARS else f'src="{where}"'
        return (
            f'<iframe {source} sandbox="allow-scripts" title="Report" width="100%" height="{HEIGHT_PX}" '
            'style="border: 1px solid #ccc"></iframe>'
            f'<p><a href="{where}" target="_blank">{escape(place)}</a></p>'
        )
