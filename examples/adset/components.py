"""What several layouts share: logos, buttons, badges, stages, patterns, and columns of text.

Knows palettes and canvases; knows nothing of whole ads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from adset.canvas import Box, Canvas, Horizontal, Point, Style, Vertical, arc, burst
from adset.color import Color
from adset.content import Brand
from adset.typesetting import Face, Typeset, line_width

BOLD = Face(weight=0.034)
REGULAR = Face(weight=0.008)


@dataclass(frozen=True, slots=True)
class Block:
    """One paragraph of a column.

    Attributes:
        share: the most of the column's height that it may take, in [0, 1].
        gap: pixels left free below it.
        fill: color of the button drawn around it, if it is one.
    """

    text: str
    style: Style
    share: float
    gap: float = 0.0
    fill: Color | None = None

    @property
    def pad(self) -> tuple[float, float]:
        """Space around the words of a button, horizontally and vertically."""
        return (self.style.size * 1.1, self.style.size * 0.55) if self.fill else (0.0, 0.0)


def draw_column(canvas: Canvas, box: Box, blocks: list[Block], valign: Vertical = "top") -> None:
    """Draw `blocks` below one another; together they never leave `box`."""
    room = box.h - sum(block.gap for block in blocks)
    boxes = [Box(box.x, 0, box.w, room * block.share).inset(*block.pad) for block in blocks]
    typesets = [canvas.fit(inner, block.text, block.style) for inner, block in zip(boxes, blocks, strict=True)]
    heights = [set_.height + 2 * block.pad[1] for set_, block in zip(typesets, blocks, strict=True)]
    free = box.h - sum(heights) - sum(block.gap for block in blocks)
    y = box.y + {"top": 0.0, "middle": free / 2, "bottom": free}[valign]
    for block, inner, typeset, height in zip(blocks, boxes, typesets, heights, strict=True):
        if block.fill:
            _draw_button_shape(canvas, box, y, block, typeset)
        canvas.text(inner._replace(y=y + block.pad[1]), block.text, block.style)
        y += height + block.gap


def _draw_button_shape(canvas: Canvas, box: Box, y: float, block: Block, typeset: Typeset) -> None:
    assert block.fill is not None
    width, height = typeset.width + 2 * block.pad[0], typeset.height + 2 * block.pad[1]
    free = {"left": 0.0, "center": (box.w - width) / 2, "right": box.w - width}[block.style.align]
    canvas.rounded(Box(box.x + free, y, width, height), height / 2, block.fill)


def draw_badge(
    canvas: Canvas, center: Point, radius: float, words: str, *, fill: Color, ink: Color, turn: float
) -> None:
    """Draw a starburst with a few words in it, turned by `turn` degrees."""
    badge = Canvas(2 * radius, 2 * radius, None)
    badge.polygon(burst(badge.box.center, radius), fill)
    badge.ring(badge.box.center, radius * 0.8, radius * 0.02, ink)
    style = Style(Face(weight=0.045), round(radius * 0.62), ink, align="center", valign="middle", leading=1.1)
    badge.text(badge.box.inset(radius * 0.36), words, style)
    canvas.paste_turned(badge, center, turn)


def draw_stars(canvas: Canvas, corner: Point, size: float, color: Color, count: int = 5) -> None:
    """Draw a row of five-pointed stars, `size` pixels each."""
    for index in range(count):
        center = (corner[0] + size * (0.5 + 1.15 * index), corner[1] + size / 2)
        tips = arc(center, size / 2, -0.25, 0.75, steps=5)[:5]
        dents = arc(center, size * 0.2, -0.15, 0.85, steps=5)[:5]
        canvas.polygon([point for pair in zip(tips, dents, strict=True) for point in pair], color)


def draw_logo(
    canvas: Canvas, box: Box, brand: Brand, *, color: Color, ground: Color, align: Horizontal = "left"
) -> None:
    """Draw a brand's mark and name on one line as high as `box`."""
    face = Face(weight=max(brand.face.weight, 0.02), slant=brand.face.slant, tracking=brand.face.tracking)
    style = Style(face, round(box.h * 0.66), color, valign="middle")
    name = canvas.fit(box._replace(w=box.w - 1.3 * box.h), brand.name, style)
    width = 1.3 * box.h + line_width(name.lines[0], name.face, name.size)
    x = box.x + {"left": 0.0, "center": (box.w - width) / 2, "right": box.w - width}[align]
    draw_mark(canvas, (x + box.h / 2, box.y + box.h / 2), box.h / 2, brand.mark, color=color, ground=ground)
    canvas.text(Box(x + 1.3 * box.h, box.y, width - 1.3 * box.h + 2, box.h), brand.name, style)


def draw_mark(canvas: Canvas, center: Point, radius: float, mark: str, *, color: Color, ground: Color) -> None:
    """Draw the shape that stands for a brand: `color` on `ground`."""
    _MARKS[mark](canvas, center, radius, color, ground)


def _ring(canvas: Canvas, center: Point, r: float, color: Color, ground: Color) -> None:
    canvas.disc(center, r, color)
    canvas.disc(center, r * 0.55, ground)
    canvas.disc(center, r * 0.26, color)


def _dot(canvas: Canvas, center: Point, r: float, color: Color, ground: Color) -> None:
    canvas.rounded(Box(center[0] - r, center[1] - r, 2 * r, 2 * r), r * 0.5, color)
    canvas.disc((center[0] + r * 0.2, center[1] - r * 0.2), r * 0.45, ground)


def _bars(canvas: Canvas, center: Point, r: float, color: Color, ground: Color) -> None:
    for index, height in enumerate((0.9, 1.8, 1.3)):
        x = center[0] - r + index * r * 0.72
        canvas.rounded(Box(x, center[1] + r * 0.9 - height * r, r * 0.5, height * r), r * 0.2, color)


def _half(canvas: Canvas, center: Point, r: float, color: Color, ground: Color) -> None:
    canvas.disc(center, r, color)
    canvas.disc((center[0] + r * 0.38, center[1] - r * 0.22), r * 0.74, ground)


def _wing(canvas: Canvas, center: Point, r: float, color: Color, ground: Color) -> None:
    for index in range(3):
        y, reach = center[1] - r * 0.75 + index * r * 0.55, 1 - index * 0.28
        left, right = center[0] - r + index * r * 0.28, center[0] - r + 2 * r * reach
        canvas.polygon([(left, y), (right, y), (right - r * 0.4, y + r * 0.36), (left + r * 0.3, y + r * 0.36)], color)


def _peak(canvas: Canvas, center: Point, r: float, color: Color, ground: Color) -> None:
    x, y = center
    canvas.polygon([(x - r, y + r * 0.8), (x - r * 0.2, y - r * 0.8), (x + r * 0.6, y + r * 0.8)], color)
    canvas.polygon(
        [(x + r * 0.3, y + r * 0.05), (x + r * 0.5, y - r * 0.3), (x + r, y + r * 0.8), (x + r * 0.68, y + r * 0.8)],
        color,
    )


def _leaf(canvas: Canvas, center: Point, r: float, color: Color, ground: Color) -> None:
    x, y = center
    canvas.polygon(arc((x - r, y - r), 2 * r, 0, 0.25) + arc((x + r, y + r), 2 * r, 0.5, 0.75), color)
    canvas.stroke([(x - r * 0.45, y - r * 0.45), (x + r * 0.7, y + r * 0.7)], r * 0.14, ground)


def _paw(canvas: Canvas, center: Point, r: float, color: Color, ground: Color) -> None:
    x, y = center
    canvas.ellipse(Box(x - r * 0.6, y - r * 0.05, r * 1.2, r), color)
    for dx, dy in ((-0.78, -0.2), (-0.3, -0.66), (0.3, -0.66), (0.78, -0.2)):
        canvas.disc((x + dx * r, y + dy * r), r * 0.27, color)


_MARKS: dict[str, Callable[[Canvas, Point, float, Color, Color], None]] = {
    "ring": _ring,
    "dot": _dot,
    "bars": _bars,
    "half": _half,
    "wing": _wing,
    "peak": _peak,
    "leaf": _leaf,
    "paw": _paw,
}


def draw_stage(canvas: Canvas, box: Box, color: Color, rng: Random) -> None:
    """Draw the ground on which an illustration stands, in one of several shapes."""
    square, shape = box.square(), rng.choice(("disc", "arch", "tile", "halo", "diamond"))
    center, radius = square.center, square.w / 2
    if shape == "disc":
        canvas.disc(center, radius, color)
    elif shape == "arch":
        canvas.rounded(square.inset(square.w * 0.06, 0), radius, color)
        canvas.rounded(square.inset(square.w * 0.06, 0).cut_top(radius)[1], 16, color)
    elif shape == "tile":
        canvas.rounded(square.inset(square.w * 0.03), radius * 0.3, color)
    elif shape == "halo":
        canvas.disc(center, radius, color, 0.45)
        canvas.disc(center, radius * 0.86, color)
    else:
        canvas.polygon(burst(center, radius, spikes=12, depth=0.07), color)


def draw_pattern(canvas: Canvas, box: Box, color: Color, rng: Random) -> None:
    """Fill `box` with one of several quiet patterns in `color`."""
    pattern = rng.choice((_dots, _diagonals, _rings, _confetti, _waves))
    pattern(canvas, box, color, rng)


def _dots(canvas: Canvas, box: Box, color: Color, rng: Random) -> None:
    step, radius = rng.randint(38, 56), rng.randint(4, 7)
    for row in range(int(box.h // step) + 1):
        for column in range(int(box.w // step) + 1):
            shift = step / 2 * (row % 2)
            canvas.disc((box.x + column * step + shift, box.y + row * step), radius, color)


def _diagonals(canvas: Canvas, box: Box, color: Color, rng: Random) -> None:
    step = rng.randint(70, 120)
    for index in range(int((box.w + box.h) // step) + 1):
        x = box.x - box.h + index * step
        lean = [
            (x, box.y + box.h),
            (x + box.h, box.y),
            (x + box.h + step * 0.35, box.y),
            (x + step * 0.35, box.y + box.h),
        ]
        canvas.polygon(lean, color)


def _rings(canvas: Canvas, box: Box, color: Color, rng: Random) -> None:
    center = (box.x + box.w * rng.choice((0.0, 1.0)), box.y + box.h * rng.choice((0.0, 1.0)))
    for index in range(1, 9):
        canvas.ring(center, index * box.w * 0.11, box.w * 0.03, color)


def _confetti(canvas: Canvas, box: Box, color: Color, rng: Random) -> None:
    for _ in range(int(box.w * box.h / 14000)):
        x, y, size = box.x + rng.random() * box.w, box.y + rng.random() * box.h, 6 + 10 * rng.random()
        turn = rng.random()
        canvas.polygon(arc((x, y), size, turn, turn + 1, steps=rng.choice((3, 4, 24)))[:-1], color)


def _waves(canvas: Canvas, box: Box, color: Color, rng: Random) -> None:
    shift = rng.random()
    for layer, share in enumerate((0.42, 0.22)):
        crest = box.y + box.h * (1 - share)
        points = [(box.x + box.w * step / 60, crest) for step in range(61)]
        sway = [arc((0, 0), box.h * 0.05, x / box.w * 1.3 + shift + layer * 0.4, 0, steps=1)[0][1] for x, _ in points]
        top = [(x, y + dy) for (x, y), dy in zip(points, sway, strict=True)]
        canvas.polygon([*top, (box.x + box.w, box.y + box.h), (box.x, box.y + box.h)], color, 0.6)
