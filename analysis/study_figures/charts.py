"""Kinds of charts that several figures use. Knows tables and axes; knows nothing of studies.

Color never stands alone: a number, a name, a marker or hatching says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from ictc.analytics.figures import COLORS, DIVERGING, HATCHES, MARKERS, PAGE_WIDTH_INCHES, SEQUENTIAL, wrap_name

SMALL = 6.5
"""Font size in points of the numbers inside a chart."""
PAGE_CHARACTERS = 84
"""How many characters of a name fit side by side on a page."""
NARROWEST_NAME = 8
"""Characters a line below which names are slanted."""
LEFT_TO_RIGHT = "\u200e"
"""Before a line of names and numbers: without it, a name from right to left would turn the line round."""
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g}%")
SMALLEST_NUMBERED_WEDGE = 0.02
ROOM_FOR_NUMBERS = 1.25
"""Length of an axis with numbers at the ends of bars, over the longest bar."""


def empty_figure(title: str, height: float) -> Figure:
    """Return a figure as wide as a page."""
    figure = Figure(figsize=(PAGE_WIDTH_INCHES, height))
    figure.suptitle(wrap_sentence(title, 88), x=0.01, ha="left", fontweight="bold", fontsize=10)
    return figure


def new_figure(title: str, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Return a figure as wide as a page and its axes, an array of shape (rows, columns)."""
    figure = empty_figure(title, height)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def join_axes(figure: Figure, axes: np.ndarray[Any, Any]) -> Axes:
    """Put one axes in the place of some that are neighbors in a grid."""
    first, last = axes.flat[0].get_subplotspec(), axes.flat[-1].get_subplotspec()
    for one in axes.flat:
        one.remove()
    rows = slice(first.rowspan.start, last.rowspan.stop)
    columns = slice(first.colspan.start, last.colspan.stop)
    return figure.add_subplot(first.get_gridspec()[rows, columns])


def wrap_sentence(text: str, width: int) -> str:
    """Return text of our own in lines; names in it are short already."""
    words, lines = text.split(" "), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def track_title(track: str) -> str:
    """Return a track's name as figures show it."""
    name = wrap_name(track, width=48, most_lines=1)
    return name[:1].upper() + name[1:]


def format_title(ad_format: str) -> str:
    """Return an ad format as figures show it, such as "Reel from search" for "REEL_FROM_SEARCH"."""
    return ad_format.removesuffix("_BASED").replace("_", " ").capitalize()


def ink_on(color: Any) -> str:
    """Return black or white, whichever is legible on `color` (luma of ITU-R BT.601)."""
    return "white" if np.dot(to_rgb(color), (0.299, 0.587, 0.114)) < 0.55 else "black"


def draw_table(
    axes: Axes,
    values: pd.DataFrame,
    texts: pd.DataFrame,
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    diverging: bool = False,
    row_width: int = 26,
    row_lines: int = 2,
    room: int = 70,
    marked: pd.DataFrame | None = None,
) -> Any:
    """Draw a table as a heat map with a text in each cell, and return the image for a color bar.

    Args:
        values: give the color, shape (R, C); unknown ones are gray.
        texts: shape (R, C).
        limits: values of the two ends of the colors.
        room: characters that fit side by side below the table.
        marked: which cells are framed and bold, shape (R, C).
    """
    colors = colormaps[DIVERGING if diverging else SEQUENTIAL].with_extremes(bad="#dddddd")
    numbers = values.to_numpy(dtype=float)
    image = axes.imshow(numbers, cmap=colors, norm=Normalize(*limits), aspect="auto")
    name_places(axes, list(values.columns), room)
    axes.set_yticks(
        range(values.shape[0]), [wrap_name(name, width=row_width, most_lines=row_lines) for name in values.index]
    )
    axes.tick_params(length=0, labelsize=7)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(numbers):
        bold = marked is not None and bool(marked.iat[row, column])
        ink = ink_on(image.to_rgba(value)[:3]) if np.isfinite(value) else "black"
        weight = "bold" if bold else "normal"
        axes.text(
            column, row, texts.iat[row, column], color=ink, fontsize=SMALL, fontweight=weight, ha="center", va="center"
        )
        if bold:
            axes.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor="black"))
    return image


def line_style(number: int) -> dict[str, Any]:
    """Return the color and marker of the line or the dots with this number."""
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}


def name_places(axes: Axes, names: Sequence[Any], room: int, below: Sequence[str] = ()) -> None:
    """Write the names of columns or groups below them, slanted where `room` characters are not enough for all.

    Args:
        below: a further line for each name.
    """
    width = room // max(len(names), 1)
    style: dict[str, Any] = {}
    if width >= NARROWEST_NAME:
        texts = [wrap_name(name, width=width, most_lines=4) for name in names]
    else:
        texts = [wrap_name(name, width=max(room // 3, 14), most_lines=1) for name in names]
        style = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    lines = [f"{text}\n{more}" for text, more in zip(texts, below, strict=True)] if below else texts
    axes.set_xticks(range(len(names)), lines, **style)


def draw_counts(axes: Axes, counts: pd.Series, *, color: str = COLORS[0], name_width: int = 30) -> None:
    """Draw horizontal bars, the first on top, each with its share and count."""
    total = max(counts.sum(), 1)
    shares = counts / total
    places = np.arange(len(counts))
    axes.barh(places, shares, color=color, height=0.72)
    for place, (count, share) in enumerate(zip(counts, shares, strict=True)):
        axes.annotate(
            f"{share:.1%}  ({count:,})",
            (share, place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
    axes.set_yticks(places, [wrap_name(name, width=name_width, most_lines=2) for name in counts.index])
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlim(0, shares.max() * ROOM_FOR_NUMBERS or 1)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.tick_params(axis="y", length=0, labelsize=7)


def draw_pie(axes: Axes, legend: Axes, counts: pd.Series, title: str, name_width: int = 40) -> None:
    """Draw a pie whose numbered wedges are named in the axes `legend`, with counts and shares."""
    total = max(counts.sum(), 1)
    colors = [COLORS[place % len(COLORS)] for place in range(len(counts))]
    wedges, _ = axes.pie(counts, colors=colors, startangle=90, counterclock=False, radius=1.0)
    for place, (wedge, count) in enumerate(zip(wedges, counts, strict=True)):
        wedge.set(edgecolor="white", linewidth=1.2, hatch=HATCHES[place // len(COLORS) % len(HATCHES)])
        angle = np.deg2rad((wedge.theta1 + wedge.theta2) / 2)
        if count >= SMALLEST_NUMBERED_WEDGE * total:
            color = ink_on(colors[place])
            at = 0.82 * np.cos(angle), 0.82 * np.sin(angle)
            axes.text(*at, str(place + 1), ha="center", va="center", color=color, fontweight="bold", fontsize=7)
    names = [
        f"{LEFT_TO_RIGHT}{place}  {wrap_name(name, width=name_width, most_lines=2)}{LEFT_TO_RIGHT}: "
        f"{count / total:.1%} ({count:,})"
        for place, (name, count) in enumerate(counts.items(), 1)
    ]
    axes.set_title(title)
    legend.set_axis_off()
    legend.legend(wedges, names, loc="upper center", frameon=False, fontsize=7, borderaxespad=0)


def draw_grouped_bars(
    axes: Axes, values: pd.DataFrame, pattern: str, errors: Any = None, room: int = PAGE_CHARACTERS // 2
) -> None:
    """Draw for each row a group of bars, one a column, with a number on each.

    Args:
        values: shape (R, C); unknown ones have no bar.
        errors: how far the bars' intervals reach down and up, shape (C, 2, R).
        room: characters that fit side by side below the bars.
    """
    width = 0.8 / values.shape[1]
    for place, name in enumerate(values.columns):
        at = np.arange(len(values)) + (place - (values.shape[1] - 1) / 2) * width
        bars = values[name].to_numpy(dtype=float)
        style: dict[str, Any] = {
            "color": COLORS[place % len(COLORS)],
            "hatch": HATCHES[place % len(HATCHES)],
            "edgecolor": "white",
        }
        above = np.zeros(len(bars)) if errors is None else errors[place][1]
        axes.bar(at, bars, width * 0.92, label=track_title(str(name)), **style)
        if errors is not None:
            axes.errorbar(at, bars, yerr=errors[place], fmt="none", ecolor="black", elinewidth=0.8, capsize=2)
        for x, value, up in zip(at, bars, above, strict=True):
            if np.isfinite(value):
                axes.annotate(
                    pattern.format(value), (x, value + up), (0, 2), textcoords="offset points", ha="center", fontsize=6
                )
    name_places(axes, list(values.index), room)
    axes.margins(y=0.12)


def draw_dots(
    axes: Axes,
    values: pd.DataFrame,
    low: pd.DataFrame | None = None,
    high: pd.DataFrame | None = None,
    styles: Sequence[int] | None = None,
) -> None:
    """Draw for each row one dot a column, each column with a marker of its own, with intervals if given.

    Args:
        styles: number of each column's marker and color; counted from the first if None.
    """
    spread = 0.6 / max(values.shape[1], 2)
    for place, name in enumerate(values.columns):
        at = np.arange(len(values)) + (place - (values.shape[1] - 1) / 2) * spread
        style = line_style(place if styles is None else styles[place])
        if low is not None and high is not None:
            axes.hlines(at, low[name], high[name], color=style["color"], linewidth=1.2)
        axes.plot(
            values[name], at, linestyle="none", markersize=5, label=wrap_name(name, width=18, most_lines=2), **style
        )
    axes.set_yticks(range(len(values)), [wrap_name(name, width=28, most_lines=2) for name in values.index])
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=7)
    for place in range(1, len(values)):
        axes.axhline(place - 0.5, color="#dddddd", linewidth=0.6)


def percent(shares: pd.DataFrame, digits: int = 0) -> pd.DataFrame:
    """Return shares as percentages without their sign; unknown ones are empty."""
    return shares.map(lambda share: f"{100 * share:.{digits}f}" if np.isfinite(share) else "")


def share_of_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return each count over its row's sum, NaN in empty rows."""
    sums = table.sum(axis=1)
    return table.div(sums.where(sums > 0), axis=0)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Put the legend of one axes below the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def hide_unused(axes: Sequence[Axes]) -> None:
    """Empty the places of a grid for which there is nothing to draw."""
    for one in axes:
        one.set_axis_off()
