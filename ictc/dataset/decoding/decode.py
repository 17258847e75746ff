"""Decode one image file of any kind into upright RGB pixels that a model takes as they are.

Knows Pillow and the pathologies of image files; a file never raises, it becomes a `BrokenImage` with
the reason. Knows nothing of processes: `ictc.dataset.decoding.pool` runs this where a crash costs one image.
"""

from __future__ import annotations

import stat
import warnings
from io import BytesIO
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from ictc.dataset.decoding.deep_color import load_colors
from ictc.dataset.decoding.fit import fit_to_tokens
from ictc.dataset.decoding.pixels import UnusablePixels, place, to_rgb, turn_upright
from ictc.dataset.decoding.repair import repaired
from ictc.records import BrokenImage, DecodedImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF")
"""Formats that are opened, whatever the file is called; others (EPS runs a program, for one) never are."""

MAX_IMAGE_PIXELS = 2**28
"""16,384 × 16,384: more than the 200 megapixels of a phone camera, and at 4 bytes each 1 GiB in memory."""

MAX_REPAIRED_BYTES = 2**28
"""A larger file is not read into memory as a whole."""

Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
PngImagePlugin.MAX_TEXT_CHUNK = 2**24  # an editor's history of a few MB may say which way is up

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
    try:
        return _decode_pixels(path, max_image_tokens)
    except (OSError, SyntaxError, ValueError) as error:
        return _decode_repaired(path, max_image_tokens, error)


def _decode_repaired(path: Path, max_image_tokens: int, error: Exception) -> DecodedImage:
    """Return the pixels of a file in which only something beside them is damaged; raise `error` if there are none."""
    if path.stat().st_size > MAX_REPAIRED_BYTES:
        raise error
    try:
        forms = repaired(path.read_bytes(), str(error))
        decoded = [_decode_pixels(BytesIO(form), max_image_tokens) for form in forms]
    except Exception:
        raise error from None
    if not decoded or any(other != decoded[0] for other in decoded):
        raise error
    return decoded[0]


def _decode_pixels(source: Path | BytesIO, max_image_tokens: int) -> DecodedImage:
    with Image.open(source, formats=FORMATS) as image:
        width, height = image.size
        if width < 1 or height < 1:
            raise _UnusableFile("has no pixels")
        if width * height > MAX_IMAGE_PIXELS:
            raise _UnusableFile(_TOO_MANY_PIXELS)
        fit = fit_to_tokens(width, height, max_image_tokens)
        image.draft(None, (fit.content_width, fit.content_height))
        loaded = load_colors(image, lambda: Image.open(source, formats=FORMATS))
        canvas = turn_upright(place(to_rgb(loaded), fit), image)
    return DecodedImage(canvas.width, canvas.height, canvas.tobytes())


def _check_file(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _UnusableFile("is not a regular file")
    if status.st_size == 0:
        raise _UnusableFile("the file is empty")


def _reason(error: Exception, path: Path) -> str:
    """Say in words for the user, and without the path, why a file was not decoded."""
    match error:
        case _UnusableFile() | UnusablePixels():
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
