"""How pictures become files: the ordinary formats, the awkward ones, and files that are broken on purpose.

The functions write into the folder of one observation and know nothing of what the pictures show.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, ImageDraw

JPEG_QUALITY = 90
TRANSPARENT = 255
"""Palette index that is see-through in a palette image."""
ROTATED_90_CLOCKWISE = 6
"""EXIF orientation of a picture that the viewer has to turn clockwise."""

ERROR_PAGE = "<!doctype html>\n<html><head><title>404 Not Found</title></head><body>The image has gone.</body></html>\n"


def _save_jpeg(image: Image.Image, folder: Path) -> None:
    image.save(folder / "image.jpg", quality=JPEG_QUALITY)


def _save_cmyk(image: Image.Image, folder: Path) -> None:
    image.convert("CMYK").save(folder / "image.jpg", quality=JPEG_QUALITY)


def _save_rotated(image: Image.Image, folder: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = ROTATED_90_CLOCKWISE
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "image.jpg", quality=JPEG_QUALITY, exif=exif)


def _save_png(image: Image.Image, folder: Path) -> None:
    image.save(folder / "image.png")


def _save_palette(image: Image.Image, folder: Path) -> None:
    """Save a palette PNG whose rounded corners are transparent."""
    opaque = Image.new("L", image.size)
    ImageDraw.Draw(opaque).rounded_rectangle((0, 0, image.width - 1, image.height - 1), 48, fill=255)
    indexed = image.quantize(TRANSPARENT)
    indexed.putpalette([*(indexed.getpalette() or [])[: 3 * TRANSPARENT], 255, 255, 255])
    canvas = Image.new("P", image.size, TRANSPARENT)
    canvas.putpalette(indexed.getpalette() or [])
    canvas.paste(indexed, (0, 0), opaque)
    canvas.save(folder / "image.png", transparency=TRANSPARENT)


def _save_webp(image: Image.Image, folder: Path) -> None:
    image.save(folder / "image.webp", quality=JPEG_QUALITY)


def _save_gif(image: Image.Image, folder: Path) -> None:
    image.quantize(256).save(folder / "image.gif")


def _save_tiff(image: Image.Image, folder: Path) -> None:
    image.save(folder / "image.tiff", compression="tiff_adobe_deflate")


def _save_bmp(image: Image.Image, folder: Path) -> None:
    image.save(folder / "image.bmp")


FORMATS: dict[str, Callable[[Image.Image, Path], None]] = {
    "jpeg": _save_jpeg,
    "cmyk": _save_cmyk,
    "rotated": _save_rotated,
    "png": _save_png,
    "palette": _save_palette,
    "webp": _save_webp,
    "gif": _save_gif,
    "tiff": _save_tiff,
    "bmp": _save_bmp,
}


def save_frames(first: Image.Image, last: Image.Image, folder: Path) -> None:
    """Save two frames of a video ad, named by their times in milliseconds."""
    first.save(folder / "image_480.jpg", quality=JPEG_QUALITY)
    last.save(folder / "image_1040.jpg", quality=JPEG_QUALITY)


def _break_truncated(image: Image.Image, folder: Path) -> None:
    whole = BytesIO()
    image.save(whole, "JPEG", quality=JPEG_QUALITY)
    (folder / "image.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 3])


def _break_empty(image: Image.Image, folder: Path) -> None:
    (folder / "image.jpg").write_bytes(b"")


def _break_text(image: Image.Image, folder: Path) -> None:
    (folder / "image.jpg").write_text(ERROR_PAGE, encoding="utf-8")


def _break_missing(image: Image.Image, folder: Path) -> None:
    """Leave the folder without any image."""


DEFECTS: dict[str, Callable[[Image.Image, Path], None]] = {
    "truncated": _break_truncated,
    "empty": _break_empty,
    "text": _break_text,
    "missing": _break_missing,
}
