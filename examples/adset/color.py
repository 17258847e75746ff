"""Colors as `#rrggbb`: mixing, and the contrast that text needs."""

from __future__ import annotations

from functools import cache

from PIL import ImageColor

Color = str


@cache
def mix(first: Color, second: Color, share: float) -> Color:
    """Return the color that is `share` of the way from `first` to `second`."""
    pairs = zip(ImageColor.getrgb(first)[:3], ImageColor.getrgb(second)[:3], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def contrast(first: Color, second: Color) -> float:
    """Return the contrast ratio of WCAG 2.2, from 1 (none) to 21 (black on white)."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def most_legible(ground: Color, *inks: Color) -> Color:
    """Return the one of `inks` that stands out most from `ground`."""
    return max(inks, key=lambda ink: contrast(ground, ink))


def _luminance(color: Color) -> float:
    """Return the relative luminance of WCAG 2.2, in [0, 1]."""
    channels = (value / 255 for value in ImageColor.getrgb(color)[:3])
    linear = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
