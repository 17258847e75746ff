"""Flat illustrations, described as lines of text in `illustrations.yaml` and drawn on a canvas.

An illustration is a list of shapes on a grid of 100 x 100, the first one lowest. A shape is `COLOR KIND ARGUMENTS`:

    circle CX CY R  ·  ellipse CX CY RX RY  ·  rect X Y W H RADIUS  ·  text X Y W H WORDS
    path M X Y ...  (filled; the commands M, L, C, Q, Z of SVG, absolute)
    line WIDTH M X Y ...  (a stroke with round ends)

COLOR is `main`, `pop`, `dark`, `light` or `stage` of the palette, or `#rrggbb`; `+20` after it mixes in 20 % white,
`-20` black.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml

from adset.canvas import Box, Canvas, Point, Style
from adset.color import Color, mix
from adset.typesetting import Face

DATA_PATH = Path(__file__).parent.parent / "illustrations.yaml"
GRID = 100.0
CURVE_STEPS = 20


@cache
def load_illustrations(path: Path = DATA_PATH) -> dict[str, list[str]]:
    """Load the shapes of each illustration, by name."""
    shapes: dict[str, list[str]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return shapes


def draw_illustration(canvas: Canvas, name: str, box: Box, colors: Mapping[str, Color]) -> None:
    """Draw the illustration `name` in the largest square of `box`, in the named `colors`."""
    square = box.square()
    for shape in load_illustrations()[name]:
        _draw_shape(canvas, shape, square, colors)


def _draw_shape(canvas: Canvas, shape: str, box: Box, colors: Mapping[str, Color]) -> None:
    color_name, kind, arguments = shape.split(maxsplit=2)
    color, unit = _color(color_name, colors), box.w / GRID
    if kind == "path":
        canvas.polygon(_place(parse_path(arguments), box), color)
    elif kind == "line":
        width, path = arguments.split(maxsplit=1)
        canvas.stroke(_place(parse_path(path), box), float(width) * unit, color)
    elif kind == "text":
        *corners, words = arguments.split(maxsplit=4)
        x, y, w, h = (float(number) * unit for number in corners)
        style = Style(Face(weight=0.03), round(h), color, align="center", valign="middle", leading=1.1, min_size=6)
        canvas.text(Box(box.x + x, box.y + y, w, h * 1.2), words, style)
    else:
        x, y, *rest = (float(number) for number in arguments.split())
        _draw_round(canvas, kind, (box.x + x * unit, box.y + y * unit), [number * unit for number in rest], color)


def _draw_round(canvas: Canvas, kind: str, at: Point, sizes: list[float], color: Color) -> None:
    if kind == "circle":
        canvas.disc(at, sizes[0], color)
    elif kind == "ellipse":
        canvas.ellipse(Box(at[0] - sizes[0], at[1] - sizes[1], 2 * sizes[0], 2 * sizes[1]), color)
    elif kind == "rect":
        canvas.rounded(Box(at[0], at[1], sizes[0], sizes[1]), sizes[2], color)
    else:
        raise ValueError(f"{DATA_PATH.name}: {kind!r} is no shape: use circle, ellipse, rect, text, path or line")


def _color(name: str, colors: Mapping[str, Color]) -> Color:
    base, sign, share = re.fullmatch(r"(#?\w+)(?:([+-])(\d+))?", name).groups()  # type: ignore[union-attr]
    color = base if base.startswith("#") else colors[base]
    return mix(color, "#ffffff" if sign == "+" else "#000000", int(share) / 100) if sign else color


def _place(points: list[Point], box: Box) -> list[Point]:
    return [(box.x + x * box.w / GRID, box.y + y * box.h / GRID) for x, y in points]


@cache
def parse_path(path: str) -> list[Point]:
    """Return the points of a path of M, L, C, Q and Z commands; curves become `CURVE_STEPS` straight parts."""
    points: list[Point] = []
    for command, arguments in re.findall(r"([MLCQZ])([^MLCQZ]*)", path):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", arguments)]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command in "ML":
            points += pairs
        elif command == "Z":
            points.append(points[0])
        else:
            degree = {"Q": 2, "C": 3}[command]
            for start in range(0, len(pairs), degree):
                points += _bezier([points[-1], *pairs[start : start + degree]])
    return points


def _bezier(control: list[Point]) -> list[Point]:
    return [_point_at(control, step / CURVE_STEPS) for step in range(1, CURVE_STEPS + 1)]


def _point_at(control: list[Point], t: float) -> Point:
    """Evaluate a Bezier curve by de Casteljau's algorithm."""
    while len(control) > 1:
        control = [(a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t) for a, b in pairwise(control)]
    return control[0]
