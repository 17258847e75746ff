"""The confusion matrix: which classes the clusters hold, as a table and as a figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ictc.analytics.figures import literal_text
from ictc.analytics.tables import printable

MOST_NUMBERED = 30
"""Clusters or classes up to which each cell shows its number."""
INCHES_PER_CELL = 0.42
LARGEST_SIDE_INCHES = 24.0


def confusion_matrix(table: pd.DataFrame, matches: dict[Any, Any]) -> pd.DataFrame:
    """Return images by class (rows, largest first) and cluster (columns), each class's own cluster on the diagonal.

    Args:
        table: as from `contingency_table`, clusters by classes.
        matches: the class that each matched cluster stands for.
    """
    classes = table.sum().sort_values(ascending=False, kind="stable").index
    cluster_of = {matched: cluster for cluster, matched in matches.items()}
    matched = [cluster_of[name] for name in classes if name in cluster_of]
    rest = [cluster for cluster in table.index if cluster not in matches]
    return table.T.loc[classes, matched + rest]


def add_none(matrix: pd.DataFrame, classes: pd.Series, name: str) -> pd.DataFrame:
    """Return a confusion matrix with a last column for images that no cluster fits, if there are any.

    Args:
        matrix: as from `confusion_matrix`.
        classes: of those images; one that no image with a cluster has gets a row at the end.
        name: of the column.
    """
    if classes.empty:
        return matrix
    counts = classes.value_counts()
    rows = [*matrix.index, *(one for one in counts.index if one not in matrix.index)]
    column = counts.reindex(rows, fill_value=0)
    return matrix.reindex(rows, fill_value=0).assign(**{name: column})


def draw_confusion(matrix: pd.DataFrame, title: str) -> Figure:
    """Draw a confusion matrix: color is the share of the class, numbers are images.

    Args:
        matrix: as from `confusion_matrix`.
    """
    counts = matrix.to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows, columns = counts.shape
    size = [min(3.5 + INCHES_PER_CELL * side, LARGEST_SIDE_INCHES) for side in (columns, rows)]
    with literal_text():
        figure = Figure(figsize=(size[0] + 1.0, size[1]))
        axes = figure.add_subplot()
        image = axes.imshow(
            shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto" if max(rows, columns) > 60 else "equal"
        )
        figure.colorbar(image, ax=axes, label="share of the class", shrink=0.8)
        axes.set(xlabel="cluster", ylabel="class", title=printable(title))
        _name_axis(axes, "x", list(matrix.columns))
        _name_axis(axes, "y", list(matrix.index))
        if max(rows, columns) <= MOST_NUMBERED:
            _number_cells(axes, counts=counts, shares=shares)
    return figure


def _name_axis(axes: Axes, axis: str, names: list[Any]) -> None:
    """Put a name at each cell, or at every few where there are too many to read."""
    step = max(1, len(names) * 2 // 100)
    positions = range(0, len(names), step)
    labels = [printable(str(names[position])) for position in positions]
    if axis == "x":
        axes.set_xticks(positions, labels, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set_yticks(positions, labels)


def _number_cells(axes: Axes, *, counts: np.ndarray[Any, Any], shares: np.ndarray[Any, Any]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=7, color=color)
