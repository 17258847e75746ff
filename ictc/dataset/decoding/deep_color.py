"""Colors of 16 bits each, of which Pillow keeps the upper eight: too few where a sensor fills the lower 10 or 12 only.

The lower bytes come from a second look at the same file, its byte order read the other way round.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageChops, ImageFile

from ictc.dataset.decoding.pixels import white_level

_OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_OTHER_MODE = {
    **{
        f"{name};{order}": f"{name};{other}" for name in ("RGB", "RGBA", "RGBX") for order, other in _OTHER_BYTE.items()
    },
    "LA;16B": "RGBA",  # the four bytes of a pixel, as there is no other way to the second
}
"""Pillow's names of how colors are stored, and those by which it reads the byte that it leaves out."""


def load_colors(image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """Load an opened image, its colors as bright as the sensor's range makes them.

    Args:
        reopen: opens the same file anew.
    """
    others = [_reading_other_byte(tile) for tile in image.tile]
    tiles = [tile for tile in others if tile is not None]
    image.load()
    if not tiles or len(tiles) < len(others):
        return image
    white = white_level(256 * max(high for _, high in _color_extremes(image)) + 255)
    if white == 2**16 - 1:
        return image
    with reopen() as lower:
        lower.tile = tiles
        lower.load()
        red, green, blue, *_ = lower.split()
        is_gray = tiles[0].args == _OTHER_MODE["LA;16B"]
        return _join(image, (green, green, green) if is_gray else (red, green, blue), white)


def _reading_other_byte(tile: Any) -> Any | None:
    """Return the tile as it has to be for the other byte of each color, None if a color has one byte only."""
    raw_mode, *rest = [tile.args] if isinstance(tile.args, str) else tile.args or [""]
    other = _OTHER_MODE.get(raw_mode)
    return None if other is None else tile._replace(args=(other, *rest) if rest else other)


def _color_extremes(image: Image.Image) -> list[tuple[int, int]]:
    return [band.getextrema() for band in image.split()[:3]]  # type: ignore[misc]


def _join(upper: Image.Image, lower: tuple[Image.Image, ...], white: int) -> Image.Image:
    """Return colors made of both bytes, on a scale that ends at `white`; an alpha channel stays."""
    tables = [[min(255, round(255 * step * level / white)) for level in range(256)] for step in (256, 1)]
    pairs = zip(upper.split()[:3], lower, strict=True)
    colors = [ImageChops.add(high.point(tables[0]), low.point(tables[1])) for high, low in pairs]
    return Image.merge(upper.mode, [*colors, *upper.split()[3:]])
