"""The 15 figures that explore a study: `python analysis/eda_and_findings.py DIR... --output_dir OUT`.

A study is the results of one track or more, at one K or two, over the same images. Needs the extra analysis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from study_figures.command import main

if TYPE_CHECKING:
    from study_figures.finding import FigureSpec


def load_figures() -> tuple[FigureSpec[Any], ...]:
    """Return the figures, importing what draws them."""
    from study_figures.catalog import EXPLORATION

    return EXPLORATION


if __name__ == "__main__":
    main("Draw the 15 figures that explore a study, and write its findings.", load_figures, "findings")
