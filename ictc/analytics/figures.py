"""What all figures share: colors, text taken literally, and files that are the same bytes each time.

Names in a figure may come from images, so nothing in them is read as mathematics or markup.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from ictc.analytics.tables import printable
from ictc.storage.atomic import write_atomic

DPI = 200
PAGE_WIDTH_INCHES = 7.2
"""Width of a figure that a page of a paper shows at its full size."""
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Told apart with any color vision (Okabe and Ito 2008, "Color Universal Design"); gray in place of their black."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oo", "--")
SEQUENTIAL, DIVERGING = "Blues", "PuOr_r"
STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.hashsalt": "ictc",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.4,
    "figure.constrained_layout.use": True,
}


@contextmanager
def literal_text() -> Iterator[None]:
    """Draw the text of the block as it is; a character that the font lacks becomes a box without a warning."""
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def wrap_name(name: object, *, width: int = 24, most_lines: int = 3) -> str:
    """Return a name in lines of at most `width` characters, its end left out if it takes more than `most_lines`."""
    text = printable(str(name))
    if most_lines == 1:
        return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"
    at_hyphens = any(len(word) > width for word in text.split())
    lines = textwrap.wrap(text, width, max_lines=most_lines, placeholder=" …", break_on_hyphens=at_hyphens)
    return "\n".join(lines)


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as `stem`.png and `stem`.svg and return their paths.

    Raises:
        StorageError: the disk refused.
    """
    paths = []
    with literal_text():
        for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            content = BytesIO()
            figure.savefig(content, format=suffix, dpi=DPI, metadata=metadata)
            figure.set_layout_engine("none")  # the first format has placed everything
            paths.append(stem.with_name(f"{stem.name}.{suffix}"))
            write_atomic(paths[-1], content.getvalue())
    return paths
