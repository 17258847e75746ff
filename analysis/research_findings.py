"""The 5 figures of the research questions: `python analysis/research_findings.py DIR... --output_dir OUT`.

Do the tracks see different things (rq1), and what does K change (rq2)? A study is the results of one track or more, at
one K or two, over the same images. Needs the extra analysis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from study_figures.command import main

if TYPE_CHECKING:
    from study_figures.finding import FigureSpec


def load_figures() -> tuple[FigureSpec[Any], ...]:
    """Return the figures, importing what draws them."""
    from study_figures.catalog import RESEARCH

    return RESEARCH


if __name__ == "__main__":
    main("Draw the 5 figures of the research questions, and write their findings.", load_figures, "research_findings")
