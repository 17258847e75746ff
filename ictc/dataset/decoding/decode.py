"""Decode one image file of any kind into upright RGB pixels that a model takes as they are.

Knows Pillow and the pathologies of image files; a file never raises, it becomes a `BrokenImage` with the reason, or an
`UnreadableImage` if its bytes can't be had. Knows nothing of processes: `ictc.dataset.decoding.pool` runs this where a
crash costs one image.
"""

from __future__ import annotations

import codecs
import os
import warnings
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image, PngImagePlugin, UnidentifiedImageError, features

from ictc.dataset.decoding.deep_color import load_colors
from ictc.dataset.decoding.fit import fit_to_tokens
from ictc.dataset.decoding.pixels import UnusablePixels, place, to_rgb, turn_upright
from ictc.dataset.decoding.repair import JPEG_SIGNATURE, PADDING_BYTES, has_padding, repaired, without_padding
from ictc.dataset.decoding.watched import ReadTimer, open_watched
from ictc.dataset.file_errors import UnreadableFile, UnusableFile
from ictc.records import BrokenImage, DecodedImage, UnreadableImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF")
"""Formats that are opened, whatever the file is called; others (EPS runs a program, for one) never are."""

MAX_IMAGE_PIXELS = 2**28
"""16,384 × 16,384: more than the 200 megapixels of a phone camera, and at 4 bytes each 1 GiB in memory."""

MAX_REPAIRED_BYTES = 2**28
"""A larger file is not read into memory as a whole."""

Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
PngImagePlugin.MAX_TEXT_CHUNK = 2**24  # an editor's history of a few MB may say which way is up

_TOO_MANY_PIXELS = f"has more than {MAX_IMAGE_PIXELS / 1e6:.0f} megapixels, or claims to (a decompression bomb?)"

NO_MEMORY = "there is not enough memory to decode it"
UNTIMED = ReadTimer()

_HEAD_BYTES = 256
"""Enough to tell what a file is that is no image."""

_KNOWN_BEGINNINGS = {
    b"version https://git-lfs.github.com/spec/": "is a Git LFS pointer, not the image: run git lfs pull",
    b"<!doctype html": "is a web page, not an image",
    b"<html": "is a web page, not an image",
    b"ii*\0": "is a TIFF file that is truncated or of an unsupported kind",
    b"mm\0*": "is a TIFF file that is truncated or of an unsupported kind",
}
"""In lower case, what files begin with, and why Pillow knows no such file."""


def decode_image(
    path: Path, max_image_tokens: int, timer: ReadTimer = UNTIMED
) -> DecodedImage | BrokenImage | UnreadableImage:
    """Decode the first frame of an image file, upright, on white, resized to whole image tokens.

    Args:
        path: the file; its suffix doesn't matter.
        max_image_tokens: the most that the image may cost, at least 64.
        timer: notes how long reading takes.

    Returns:
        The pixels, which cost 64 to `max_image_tokens` tokens; or why there are none, without the path.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_watched(path, timer) as file:
                decoded = _decode_known(file, max_image_tokens)
    except UnreadableFile as error:
        return error.as_result()
    except MemoryError:
        return UnreadableImage(NO_MEMORY)
    except Exception as error:
        return BrokenImage(_reason(error))
    if decoded.num_tokens > max_image_tokens:
        return BrokenImage(f"costs {decoded.num_tokens} image tokens where {max_image_tokens} are allowed")
    return decoded


def _decode_known(file: IO[bytes], max_image_tokens: int) -> DecodedImage:
    try:
        return _decode(file, max_image_tokens)
    except UnidentifiedImageError:
        raise UnusableFile(_name_format(file)) from None


def _decode(file: IO[bytes], max_image_tokens: int) -> DecodedImage:
    try:
        return _decode_pixels(_written_part(file), max_image_tokens)
    except (OSError, SyntaxError, ValueError) as error:
        return _decode_repaired(file, max_image_tokens, error)


def _written_part(file: IO[bytes]) -> IO[bytes]:
    """Return a JPEG file without its padding: zeros where a download broke off would pass for gray pixels."""
    file.seek(0)
    if file.read(len(JPEG_SIGNATURE)) != JPEG_SIGNATURE:
        return file
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - PADDING_BYTES))
    if size > MAX_REPAIRED_BYTES or not has_padding(file.read()):
        return file
    file.seek(0)
    return BytesIO(without_padding(file.read()))


def _decode_repaired(file: IO[bytes], max_image_tokens: int, error: Exception) -> DecodedImage:
    """Return the pixels of a file in which only something beside them is damaged; raise `error` if there are none."""
    if file.seek(0, os.SEEK_END) > MAX_REPAIRED_BYTES:
        raise error
    file.seek(0)
    content = file.read()
    try:
        forms = repaired(content, str(error))
        decoded = [_decode_pixels(BytesIO(form), max_image_tokens) for form in forms]
    except Exception:
        raise error from None
    if not decoded or any(other != decoded[0] for other in decoded):
        raise error
    return decoded[0]


def _decode_pixels(file: IO[bytes], max_image_tokens: int) -> DecodedImage:
    with Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        if width < 1 or height < 1:
            raise UnusableFile("has no pixels")
        if width * height > MAX_IMAGE_PIXELS:
            raise UnusableFile(_TOO_MANY_PIXELS)
        fit = fit_to_tokens(width, height, max_image_tokens=max_image_tokens)
        image.draft(None, (fit.content_width, fit.content_height))
        loaded = load_colors(image, lambda: Image.open(file, formats=FORMATS))
        canvas = turn_upright(place(to_rgb(loaded), fit), image)
    return DecodedImage(width=canvas.width, height=canvas.height, rgb=canvas.tobytes())


def _reason(error: Exception) -> str:
    """Say in words for the user, and without the path, why a file was not decoded."""
    match error:
        case UnusableFile() | UnusablePixels():
            return str(error)
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return _TOO_MANY_PIXELS
    if "truncated" in str(error).lower():
        return "the file is truncated"
    details = " ".join(str(error).split())
    return f"the file is damaged ({type(error).__name__}: {details[:200]})"


def _name_format(file: IO[bytes]) -> str:
    """Say why Pillow knows no such file."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head[4:8] == b"ftyp":
        return _name_heif(head)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    reasons = [reason for beginning, reason in _KNOWN_BEGINNINGS.items() if text.startswith(beginning)]
    return reasons[0] if reasons else "is not an image, or not of a supported format"


def _name_heif(head: bytes) -> str:
    brands = {head[start : start + 4] for start in (8, *range(16, min(int.from_bytes(head[:4]), len(head)), 4))}
    if features.check("avif") and brands & {b"avif", b"avis"}:
        return "is a truncated or damaged AVIF file"
    brand = head[8:12].decode("ascii", "replace").strip()
    return f"is of the HEIF family ({brand}), which cannot be decoded here; convert it to JPEG or PNG"
