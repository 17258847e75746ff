"""A canvas: shapes, gradients and text drawn at a multiple of the final size, then reduced for smooth edges.

Coordinates are pixels of the finished picture. Knows nothing of ads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Literal, NamedTuple

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

from adset.color import Color
from adset.typesetting import CAP_HEIGHT, MIN_SIZE_PX, Face, Typeset, fit, line_width, render_line, scaled

SUPERSAMPLING = 3

Point = tuple[float, float]
Horizontal = Literal["left", "center", "right"]
Vertical = Literal["top", "middle", "bottom"]


class Box(NamedTuple):
    """A rectangle: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float

    @property
    def center(self) -> Point:
        return self.x + self.w / 2, self.y + self.h / 2

    def inset(self, dx: float, dy: float | None = None) -> Box:
        dy = dx if dy is None else dy
        return Box(self.x + dx, self.y + dy, self.w - 2 * dx, self.h - 2 * dy)

    def cut_top(self, h: float) -> tuple[Box, Box]:
        """Return the upper `h` pixels and the rest."""
        return Box(self.x, self.y, self.w, h), Box(self.x, self.y + h, self.w, self.h - h)

    def cut_left(self, w: float) -> tuple[Box, Box]:
        """Return the left `w` pixels and the rest."""
        return Box(self.x, self.y, w, self.h), Box(self.x + w, self.y, self.w - w, self.h)

    def square(self) -> Box:
        """Return the largest square in the middle."""
        side = min(self.w, self.h)
        return Box(self.x + (self.w - side) / 2, self.y + (self.h - side) / 2, side, side)


@dataclass(frozen=True, slots=True)
class Style:
    """How a text looks: face, largest size in pixels, color, alignment, line distance as a share of the size."""

    face: Face
    size: int
    color: Color
    align: Horizontal = "left"
    valign: Vertical = "top"
    leading: float = 1.2
    min_size: int = MIN_SIZE_PX


def arc(center: Point, radius: float, start: float, end: float, steps: int = 48) -> list[Point]:
    """Return points on a circle; angles in turns, clockwise from the right."""
    turns = (start + (end - start) * step / steps for step in range(steps + 1))
    return [(center[0] + radius * cos(2 * pi * t), center[1] + radius * sin(2 * pi * t)) for t in turns]


def burst(center: Point, radius: float, spikes: int = 18, depth: float = 0.12) -> list[Point]:
    """Return the outline of a starburst."""
    radii = [radius * (1 - depth * (index % 2)) for index in range(2 * spikes)]
    return [arc(center, r, index / (2 * spikes), 0, steps=1)[0] for index, r in enumerate(radii)]


class Canvas:
    """A picture in the making; transparent where `color` is None."""

    def __init__(self, width: float, height: float, color: Color | None) -> None:
        self.box = Box(0, 0, width, height)
        self.texts: list[str] = []
        size = (round(width * SUPERSAMPLING), round(height * SUPERSAMPLING))
        self._image = Image.new("RGBA", size) if color is None else Image.new("RGB", size, color)
        self._pen = ImageDraw.Draw(self._image, "RGBA")

    def finish(self) -> Image.Image:
        """Return the picture at its final size."""
        return self._image.reduce(SUPERSAMPLING)

    def polygon(self, points: Iterable[Point], color: Color, opacity: float = 1.0) -> None:
        self._pen.polygon([_scale(point) for point in points], fill=_rgba(color, opacity))

    def ellipse(self, box: Box, color: Color, opacity: float = 1.0) -> None:
        self._pen.ellipse(_corners(box), fill=_rgba(color, opacity))

    def disc(self, center: Point, radius: float, color: Color, opacity: float = 1.0) -> None:
        self.ellipse(Box(center[0] - radius, center[1] - radius, 2 * radius, 2 * radius), color, opacity)

    def ring(self, center: Point, radius: float, width: float, color: Color, opacity: float = 1.0) -> None:
        box = Box(center[0] - radius, center[1] - radius, 2 * radius, 2 * radius)
        self._pen.ellipse(_corners(box), outline=_rgba(color, opacity), width=round(width * SUPERSAMPLING))

    def rounded(self, box: Box, radius: float, color: Color, opacity: float = 1.0) -> None:
        radius = min(radius, box.w / 2, box.h / 2) * SUPERSAMPLING
        self._pen.rounded_rectangle(_corners(box), radius, fill=_rgba(color, opacity))

    def frame(self, box: Box, radius: float, width: float, color: Color) -> None:
        radius = min(radius, box.w / 2, box.h / 2) * SUPERSAMPLING
        self._pen.rounded_rectangle(_corners(box), radius, outline=color, width=round(width * SUPERSAMPLING))

    def stroke(self, points: list[Point], width: float, color: Color) -> None:
        """Draw a line with round ends and joints."""
        scaled_points = [_scale(point) for point in points]
        self._pen.line(scaled_points, fill=color, width=round(width * SUPERSAMPLING), joint="curve")
        for point in (points[0], points[-1]):
            self.disc(point, width / 2, color)

    def gradient(self, box: Box, first: Color, second: Color, *, diagonal: bool = False) -> None:
        """Fill `box` from `first` at the top to `second` at the bottom (or at the bottom right)."""
        left, top, right, bottom = _corners(box)
        ramp = Image.linear_gradient("L")
        if diagonal:
            ramp = ImageChops.add(ramp, ramp.transpose(Image.Transpose.ROTATE_90), scale=2.0)
        mask = ramp.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        fill = Image.composite(Image.new("RGB", mask.size, second), Image.new("RGB", mask.size, first), mask)
        self._image.paste(fill, (left, top))

    def shadow(self, box: Box, radius: float, blur: float = 18, opacity: float = 0.25) -> None:
        """Draw the soft shadow of a rounded rectangle, slightly below it."""
        margin = 3 * blur
        outer = Box(box.x - margin, box.y - margin + blur / 2, box.w + 2 * margin, box.h + 2 * margin)
        mask = Image.new("L", (round(outer.w), round(outer.h)))
        shape = (round(margin), round(margin), round(margin + box.w), round(margin + box.h))
        ImageDraw.Draw(mask).rounded_rectangle(shape, radius, fill=round(255 * opacity))
        left, top, right, bottom = _corners(outer)
        soft = mask.filter(ImageFilter.GaussianBlur(blur)).resize((right - left, bottom - top))
        self._image.paste("#000000", (left, top), soft)

    def fit(self, box: Box, text: str, style: Style) -> Typeset:
        """Set `text` so that it fits `box`, without drawing it."""
        return fit(text, style.face, style.size, box.w, box.h, leading=style.leading, min_size=style.min_size)

    def text(self, box: Box, text: str, style: Style) -> Box:
        """Draw `text` as large as `style` allows and `box` has room for; return the part of `box` it takes up.

        Raises:
            TextOverflowError: it does not fit at the smallest legible size.
        """
        typeset = self.fit(box, text, style)
        free = box.h - typeset.height
        top = box.y + {"top": 0.0, "middle": free / 2, "bottom": free}[style.valign]
        self.texts.append(" ".join(typeset.lines))
        for index, line in enumerate(typeset.lines):
            width = line_width(line, typeset.face, typeset.size)
            x = box.x + {"left": 0.0, "center": (box.w - width) / 2, "right": box.w - width}[style.align]
            line_height = typeset.size * typeset.leading
            baseline = top + index * line_height + (line_height + typeset.size * CAP_HEIGHT) / 2
            self._line((x, baseline), line, scaled(typeset, SUPERSAMPLING), style.color)
        return Box(box.x, top, box.w, typeset.height)

    def _line(self, origin: Point, line: str, typeset: Typeset, color: Color) -> None:
        mask, baseline = render_line(line, typeset.face, typeset.size)
        x, y = _scale(origin)
        self._image.paste(color, (x, y - baseline), mask)

    def paste(self, other: Canvas, corner: Point, radius: float = 0.0) -> None:
        """Lay `other` onto this canvas, its corners rounded by `radius`."""
        mask = Image.new("L", other._image.size)
        ImageDraw.Draw(mask).rounded_rectangle(
            (0, 0, mask.width - 1, mask.height - 1), radius * SUPERSAMPLING, fill=255
        )
        self._image.paste(other._image, _scale(corner), mask)
        self.texts += other.texts

    def paste_turned(self, other: Canvas, center: Point, degrees: float) -> None:
        """Lay the transparent `other` onto this canvas, turned counterclockwise around its middle."""
        turned = other._image.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        x, y = _scale(center)
        self._image.paste(turned, (x - turned.width // 2, y - turned.height // 2), turned)
        self.texts += other.texts


def _scale(point: Point) -> tuple[int, int]:
    return round(point[0] * SUPERSAMPLING), round(point[1] * SUPERSAMPLING)


def _corners(box: Box) -> tuple[int, int, int, int]:
    return *_scale((box.x, box.y)), *_scale((box.x + box.w, box.y + box.h))


def _rgba(color: Color, opacity: float) -> tuple[int, ...]:
    return (*ImageColor.getrgb(color)[:3], round(255 * opacity))
