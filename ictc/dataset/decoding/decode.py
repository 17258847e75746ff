"""Decode one image file of any kind into upright RGB pixels that a model takes as they are.

Knows Pillow and the pathologies of image files; a file never raises, it becomes a `BrokenImage` with
the reason. Knows nothing of processes: `ictc.dataset.decoding.pool` runs this where a crash costs one image.
"""

from __future__ import annotations

import stat
import warnings
from math import isfinite
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from ictc.dataset.decoding.fit import Fit, fit_to_tokens
from ictc.records import BrokenImage, DecodedImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF")
"""Formats that are opened, whatever the file is called; others (EPS runs a program, for one) never are."""

MAX_IMAGE_PIXELS = 2**28
"""16,384 × 16,384: more than the 200 megapixels of a phone camera, and at 4 bytes each 1 GiB in memory."""

Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS

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

_TOO_MANY_PIXELS = f"has more than {MAX_IMAGE_PIXELS / 1e6:.0f} megapixels, or claims to (a decompression bomb?)"


class _UnusableFile(Exception):
    """The file is no image that we decode; the message is the reason."""


def decode_image(path: Path, max_image_tokens: int) -> DecodedImage | BrokenImage:
    """Decode the first frame of an image file, upright, on white, resized to whole image tokens.

    Args:
        path: the file; its suffix doesn't matter.
        max_image_tokens: the most that the image may cost, at least 64.

    Returns:
        The pixels, which cost 64 to `max_image_tokens` tokens; or why there are none, without the path.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            decoded = _decode(path, max_image_tokens)
    except MemoryError:
        return BrokenImage("there is not enough memory to decode it")
    except Exception as error:
        return BrokenImage(_reason(error, path))
    if decoded.num_tokens > max_image_tokens:
        return BrokenImage(f"costs {decoded.num_tokens} image tokens where {max_image_tokens} are allowed")
    return decoded


def _decode(path: Path, max_image_tokens: int) -> DecodedImage:
    _check_file(path)
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        if width < 1 or height < 1:
            raise _UnusableFile("has no pixels")
        if width * height > MAX_IMAGE_PIXELS:
            raise _UnusableFile(_TOO_MANY_PIXELS)
        fit = fit_to_tokens(width, height, max_image_tokens)
        image.draft(None, (fit.content_width, fit.content_height))
        image.load()
        canvas = _upright(_place(_to_rgb(image), fit), _orientation(image))
    return DecodedImage(canvas.width, canvas.height, canvas.tobytes())


def _check_file(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _UnusableFile("is not a regular file")
    if status.st_size == 0:
        raise _UnusableFile("the file is empty")


def _orientation(image: Image.Image) -> object:
    """Return the EXIF orientation; a corrupt EXIF block must not cost a good image."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return None


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_8_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    on_white = Image.new("RGB", image.size, "white")
    on_white.paste(rgba, mask=rgba.getchannel("A"))
    return on_white


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale gray levels to 0..255: 16-bit levels by their range, wider ones and real numbers by their extremes."""
    levels = image.convert("F")
    low, high = (float(level) for level in levels.getextrema())  # type: ignore[arg-type]
    if not (isfinite(low) and isfinite(high)):
        raise _UnusableFile("its pixels are not finite numbers")
    if image.mode != "F" and low >= 0 and high < 2**16:
        low, high = 0, 2**16 - 1
    scale = 255 / (high - low) if high > low else 0.0
    offset = 0.5 - low * scale
    return levels.point(lambda level: level * scale + offset).convert("L")


def _place(image: Image.Image, fit: Fit) -> Image.Image:
    """Resize to the content and lay it in the middle of the white canvas."""
    content_size = (fit.content_width, fit.content_height)
    # The filter of the model's own processor; LANCZOS takes a quarter longer.
    content = image.resize(content_size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if not fit.is_padded:
        return content
    canvas = Image.new("RGB", (fit.width, fit.height), "white")
    canvas.paste(content, ((fit.width - fit.content_width) // 2, (fit.height - fit.content_height) // 2))
    return canvas


def _reason(error: Exception, path: Path) -> str:
    """Say in words for the user, and without the path, why a file was not decoded."""
    match error:
        case _UnusableFile():
            return str(error)
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return _TOO_MANY_PIXELS
        case UnidentifiedImageError():
            return _reason_of_unknown_format(path)
        case OSError(strerror=str(cause)):
            return f"the file cannot be read: {cause}"
    if "truncated" in str(error).lower():
        return "the file is truncated"
    details = " ".join(str(error).replace(str(path), "the file").split())
    return f"the file is damaged ({type(error).__name__}: {details[:200]})"


def _reason_of_unknown_format(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("ascii", "replace").strip()
        return f"is of the HEIF family ({brand}), which cannot be decoded here; convert it to JPEG or PNG"
    return "is not an image, or not of a supported format"
