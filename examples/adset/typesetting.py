"""Type: faces made from Pillow's built-in font, and text that is measured, wrapped and shrunk until it fits.

Knows text and sizes in pixels; knows nothing of canvases, colors or ads. The built-in font is the only one that is the
same on each machine, so variety comes from weight (a stroke), stretch, slant, tracking and capitals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from PIL import Image, ImageChops, ImageDraw, ImageFont

CAP_HEIGHT = 0.70
"""Height of a capital letter of the built-in font, as a share of its size."""
MIN_SIZE_PX = 18
"""What an ad has to say is never smaller; text that is part of a picture may be."""
SHRINK_STEP = 0.95
UPRIGHT_WEIGHT = 0.4
"""Share of a face's weight that also thickens horizontal strokes; all of it would close the gap of an i."""


class TextOverflowError(ValueError):
    """A text does not fit its box at the smallest legible size."""


class MissingGlyphError(ValueError):
    """The built-in font has no glyph for a character."""


@dataclass(frozen=True, slots=True)
class Face:
    """A cut of the built-in font; lengths are shares of the type size.

    Attributes:
        weight: how much each letter is widened on either side; 0 is regular, .045 is heavy.
        stretch: horizontal scale; below 1 is condensed.
        slant: horizontal shear; .2 is italic.
        tracking: space added between letters.
        upper: whether the text is set in capitals.
    """

    weight: float = 0.0
    stretch: float = 1.0
    slant: float = 0.0
    tracking: float = 0.0
    upper: bool = False


@dataclass(frozen=True, slots=True)
class Typeset:
    """Text broken into lines at the size at which it fits."""

    lines: tuple[str, ...]
    face: Face
    size: int
    leading: float

    @property
    def height(self) -> int:
        return round(len(self.lines) * self.size * self.leading)

    @property
    def width(self) -> int:
        return max(round(line_width(line, self.face, self.size)) for line in self.lines)


@cache
def font_at(size: int) -> ImageFont.FreeTypeFont:
    """Return the built-in font at `size` pixels, with the layout engine that every build of Pillow has."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OSError("this Pillow has no FreeType, so its built-in font cannot be scaled: install Pillow from a wheel")
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


@cache
def has_glyph(character: str) -> bool:
    """Return whether the built-in font can draw `character`."""
    missing = font_at(40).getmask("\uffff")
    mask = font_at(40).getmask(character)
    return character == " " or (mask.size, bytes(mask)) != (missing.size, bytes(missing))


def line_width(text: str, face: Face, size: int) -> float:
    """Return the width in pixels of one line, including what its stroke and slant add."""
    letters = font_at(size).getlength(text) + _spacing(face) * size * max(len(text) - 1, 0)
    return letters * face.stretch + 2 * face.weight * size + abs(face.slant) * size


def wrap(text: str, face: Face, size: int, width: float) -> tuple[str, ...] | None:
    """Break `text` at spaces into as few lines as fit `width` pixels; None where a word alone is too wide."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            if line_width(word, face, size) > width:
                return None
            longer = f"{line} {word}".strip()
            if line and line_width(longer, face, size) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return tuple(lines)


def balance(text: str, face: Face, size: int, width: float) -> tuple[str, ...]:
    """Break `text` into as many lines as `wrap` does, of lengths as even as possible."""
    best = wrap(text, face, size, width)
    assert best is not None
    narrow = width
    while narrow > width * 0.5:
        narrow *= 0.96
        lines = wrap(text, face, size, narrow)
        if lines is None or len(lines) > len(best):
            break
        best = lines
    return best


def fit(
    text: str,
    face: Face,
    size: int,
    width: float,
    height: float,
    *,
    leading: float = 1.2,
    min_size: int = MIN_SIZE_PX,
) -> Typeset:
    """Set `text` at `size` or the largest smaller size at which it fits `width` x `height` pixels.

    Raises:
        TextOverflowError: it does not fit at `min_size`; shorten it.
        MissingGlyphError: the built-in font lacks a character.
    """
    text = text.upper() if face.upper else text
    absent = sorted({character for character in text if character != "\n" and not has_glyph(character)})
    if absent:
        raise MissingGlyphError(f"the built-in font has no {' '.join(absent)} (in {text!r}): write it differently")
    while size >= min_size:
        lines = wrap(text, face, size, width)
        if lines is not None and len(lines) * size * leading <= height:
            return Typeset(balance(text, face, size, width), face, size, leading)
        size = min(size - 1, round(size * SHRINK_STEP))
    raise TextOverflowError(f"{text!r} does not fit {width:.0f}x{height:.0f} px at {min_size} px: shorten it")


def scaled(typeset: Typeset, factor: int) -> Typeset:
    """Return the same lines at `factor` times the size, for a supersampled canvas."""
    return replace(typeset, size=typeset.size * factor)


def render_line(text: str, face: Face, size: int) -> tuple[Image.Image, int]:
    """Draw one line as a mask.

    Returns:
        The mask (mode "L") and the row of its baseline.
    """
    margin = round((face.weight + 0.3 * face.slant) * size) + 1
    font, spacing = font_at(size), _spacing(face) * size
    width = round(font.getlength(text) + spacing * len(text)) + 2 * margin
    baseline, height = margin + size, round(size * 1.35) + 2 * margin
    mask = Image.new("L", (max(width, 1), height))
    pen = ImageDraw.Draw(mask)
    for index, part in enumerate(text if spacing else [text]):
        x = margin + font.getlength(text[:index]) + index * spacing
        pen.text(
            (x, baseline), part, fill=255, font=font, anchor="ls", stroke_width=UPRIGHT_WEIGHT * face.weight * size
        )
    return _deform(_thicken(mask, face.weight * size), face, baseline), baseline


def _spacing(face: Face) -> float:
    """Return the space added between letters, so that bold ones do not touch, as a share of the type size."""
    return face.tracking + face.weight


def _thicken(mask: Image.Image, weight: float) -> Image.Image:
    """Widen the letters by `weight` pixels on either side, in steps that double."""
    reach, step = round((1 - UPRIGHT_WEIGHT) * weight), 1
    while reach > 0:
        shift = min(step, reach)
        left, right = ImageChops.offset(mask, -shift, 0), ImageChops.offset(mask, shift, 0)
        mask = ImageChops.lighter(mask, ImageChops.lighter(left, right))
        reach, step = reach - shift, 2 * step
    return mask


def _deform(mask: Image.Image, face: Face, baseline: int) -> Image.Image:
    """Apply the stretch and slant of `face` to a mask; the baseline stays where it is."""
    if face.stretch == 1 and face.slant == 0:
        return mask
    width = round(mask.width * face.stretch + face.slant * mask.height)
    matrix = (1 / face.stretch, face.slant / face.stretch, -face.slant * baseline / face.stretch, 0, 1, 0)
    return mask.transform((width, mask.height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
