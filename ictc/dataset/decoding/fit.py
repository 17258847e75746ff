"""Fit an image of any size onto the grid of image tokens, 32×32 pixels each.

Pure arithmetic: knows the limits of the Qwen3.5 processor (64 to 16,384 tokens, aspect ratio at most
200, `Qwen2VLImageProcessor.smart_resize` of transformers), and nothing of pixels or files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log, sqrt

from ictc.records import IMAGE_TOKEN_SIDE_PX

MIN_IMAGE_TOKENS = 64
"""The processor enlarges anything below 65,536 px; we do it first, so that its own resize does nothing."""

MAX_ASPECT_RATIO = 200
"""The processor refuses images that are longer than this."""

MAX_STRETCH = 1.1
"""Rounding to whole tokens may change the aspect ratio this much; beyond it the image is padded instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Where an image goes: resized to the content, which lies in the middle of a white canvas; all in pixels."""

    width: int
    height: int
    content_width: int
    content_height: int

    @property
    def is_padded(self) -> bool:
        return (self.width, self.height) != (self.content_width, self.content_height)


def fit_to_tokens(width: int, height: int, *, max_image_tokens: int) -> Fit:
    """Return the canvas nearest to `width` × `height` px that costs `MIN_IMAGE_TOKENS` to `max_image_tokens`.

    Both sides of the canvas are multiples of 32 px, and its aspect ratio is below `MAX_ASPECT_RATIO`. The
    image keeps its size where the limits allow, and its aspect ratio to within `MAX_STRETCH`.
    """
    if height > width:
        upright = fit_to_tokens(height, width, max_image_tokens=max_image_tokens)
        return Fit(
            width=upright.height,
            height=upright.width,
            content_width=upright.content_height,
            content_height=upright.content_width,
        )
    columns, rows = _nearest_grid(*_ideal_grid(width, height, max_tokens=max_image_tokens), max_tokens=max_image_tokens)
    canvas_width, canvas_height = columns * IMAGE_TOKEN_SIDE_PX, rows * IMAGE_TOKEN_SIDE_PX
    x_scale, y_scale = canvas_width / width, canvas_height / height
    if max(x_scale, y_scale) <= MAX_STRETCH * min(x_scale, y_scale):
        return Fit(width=canvas_width, height=canvas_height, content_width=canvas_width, content_height=canvas_height)
    scale = min(x_scale, y_scale)
    return Fit(
        width=canvas_width,
        height=canvas_height,
        content_width=max(1, round(width * scale)),
        content_height=max(1, round(height * scale)),
    )


def _ideal_grid(width: int, height: int, *, max_tokens: int) -> tuple[float, float]:
    """Return the columns and rows, as real numbers, that a wide image would take inside the limits."""
    height_within_aspect = max(height, width / MAX_ASPECT_RATIO)
    tokens = width * height_within_aspect / IMAGE_TOKEN_SIDE_PX**2
    allowed_tokens = min(max(tokens, MIN_IMAGE_TOKENS), max_tokens)
    scale = sqrt(allowed_tokens / tokens) / IMAGE_TOKEN_SIDE_PX
    return width * scale, height_within_aspect * scale


def _nearest_grid(columns: float, rows: float, *, max_tokens: int) -> tuple[int, int]:
    """Return the whole numbers of columns and rows inside the limits whose ratios to the ideal are nearest to 1."""

    def distance(grid: tuple[int, int]) -> float:
        return abs(log(grid[0] / columns)) + abs(log(grid[1] / rows))

    return min(_iter_grids(columns, rows, max_tokens=max_tokens), key=distance)


def _iter_grids(columns: float, rows: float, *, max_tokens: int) -> Iterator[tuple[int, int]]:
    """Yield for each number of rows near the ideal its best number of columns.

    Half to twice the ideal always holds a power of two, so there is a grid even where the least and
    the greatest number of tokens are both 64.
    """
    for num_rows in range(max(1, int(rows / 2)), ceil(2 * rows) + 1):
        least = ceil(MIN_IMAGE_TOKENS / num_rows)
        most = min(max_tokens // num_rows, MAX_ASPECT_RATIO * num_rows - 1)
        if least <= most:
            yield min(max(round(columns), least), most), num_rows
