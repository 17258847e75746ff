"""What a model sees of an opened image: 8-bit RGB on white, upright, resized to whole image tokens.

Knows Pillow's modes and the orientation of cameras; knows nothing of files and of why one fails.
"""

from __future__ import annotations

from math import inf, isfinite, nan

from PIL import ExifTags, Image, ImageMath, ImageOps, TiffImagePlugin

from ictc.dataset.decoding.fit import Fit

SENSOR_BITS = (8, 10, 12, 14, 16)
"""How many of 16 bits carry the signal: what cameras have that store their levels as they are."""

NO_DATA_FROM = 1e36
"""Real numbers of this size are no levels but mark places without data, as -3.4e38 does."""

GDAL_NODATA = 42113
"""The tag of a TIFF file that says which level marks such places; geographers' programs write it."""

_ROWS_AT_ONCE = 256

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""


class UnusablePixels(Exception):
    """The pixels are nothing that can be shown; the message is the reason."""


def white_level(brightest: float) -> int:
    """Return which of 16-bit levels is white, from the brightest there is: the end of the sensor's range."""
    bits = next(bits for bits in SENSOR_BITS if brightest < 1 << bits)
    return (1 << bits) - 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Return any image as RGB, its transparent parts white.

    Raises:
        UnusablePixels: none is a finite number with data.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_8_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    on_white = Image.new("RGB", image.size, "white")
    on_white.paste(rgba, mask=rgba.getchannel("A"))
    return on_white


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale gray levels to 0..255: 16-bit levels by the sensor's range, wider ones and real numbers by extremes.

    Places without data are white and don't count.
    """
    levels, no_data = image.convert("F"), _no_data_level(image)
    gaps = _find_gaps(levels, no_data) if image.mode == "F" or isfinite(no_data) else None
    low, high = _extremes(levels, gaps)
    if low > high:
        raise UnusablePixels("its pixels are not finite numbers, or mark places without data")
    if image.mode != "F" and low >= 0 and high < 2**16:
        low, high = 0, white_level(high)
    scale = 255 / (high - low) if high > low else 0.0
    offset = 0.5 - low * scale
    gray = levels.point(lambda level: level * scale + offset).convert("L")
    gray = ImageOps.invert(gray) if _is_negative(image) else gray
    if gaps is not None:
        gray.paste(255, mask=gaps)
    return gray


def _no_data_level(image: Image.Image) -> float:
    """Return the level that marks places without data, as a TIFF file says; NaN if it says none."""
    try:
        return float(getattr(image, "tag_v2", {}).get(GDAL_NODATA, nan))
    except (TypeError, ValueError):
        return nan


def _find_gaps(levels: Image.Image, no_data: float) -> Image.Image:
    """Return a mask, 255 where there is no data; row by row, as each step of a comparison takes a copy."""
    mask = Image.new("L", levels.size, 255)
    for top in range(0, levels.height, _ROWS_AT_ONCE):
        box = (0, top, levels.width, min(top + _ROWS_AT_ONCE, levels.height))
        # NaN is not less than anything, and nothing equals it.
        has_data = ImageMath.lambda_eval(
            lambda images: (abs(images["level"]) < NO_DATA_FROM) * (images["level"] != no_data), level=levels.crop(box)
        )
        mask.paste(0, box, has_data.point(lambda yes: yes * 255 + 0).convert("L"))
    return mask


def _extremes(levels: Image.Image, gaps: Image.Image | None) -> tuple[float, float]:
    """Return the least and the greatest level outside the gaps, in which the levels get lost."""
    if gaps is None:
        low, high = levels.getextrema()
    else:
        levels.paste(inf, mask=gaps)
        low, _ = levels.getextrema()
        levels.paste(-inf, mask=gaps)
        _, high = levels.getextrema()
    return float(low), float(high)  # type: ignore[arg-type]


def _is_negative(image: Image.Image) -> bool:
    """Whether zero is white: of a TIFF file's 16-bit levels, Pillow leaves that to us."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 and image.mode.startswith("I;16")


def place(image: Image.Image, fit: Fit) -> Image.Image:
    """Resize to the content and lay it in the middle of the white canvas."""
    content_size = (fit.content_width, fit.content_height)
    # The filter of the model's own processor; LANCZOS takes a quarter longer.
    content = image.resize(content_size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if not fit.is_padded:
        return content
    canvas = Image.new("RGB", (fit.width, fit.height), "white")
    canvas.paste(content, ((fit.width - fit.content_width) // 2, (fit.height - fit.content_height) // 2))
    return canvas


def turn_upright(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Turn `image` as the EXIF orientation of `opened` says."""
    orientation = _orientation(opened)
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> object:
    """Return the EXIF orientation; a corrupt EXIF block must not cost a good image."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return None
