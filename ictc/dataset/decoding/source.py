"""What tells equal images: a digest of the bytes of a file, and of how the image looks.

Knows files and Pillow. That equal ones are asked about once is `ictc.stages.sharing`'s business.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from ictc.dataset.decoding.decode import UNTIMED, decode_image
from ictc.dataset.decoding.watched import ReadTimer, open_watched
from ictc.dataset.file_errors import UnreadableFile, UnusableFile
from ictc.records import DecodedImage, Source, UnreadableImage

LOOK_SIDE = 16
"""The look has a bit for each of 16×16 places: whether the image gets brighter there from left to right."""

MIN_STEP = 3
"""Brighter by so many of 256 levels: what compression adds to an even area is less."""

MIN_LOOK_BITS = 16
"""An image with fewer steps than this is nearly plain: its look tells too little to be compared."""

LOOK_TOKENS = 64
"""Looks are compared on small versions of the images; JPEG files decode to those quickly."""


def find_source(path: Path, *, look: bool, timer: ReadTimer = UNTIMED) -> Source | UnreadableImage | None:
    """Return the digest of a file, with how the image looks if asked; None if it is no file, or an empty one."""
    try:
        with open_watched(path, timer) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except UnusableFile:
        return None
    except UnreadableFile as error:
        return error.as_result()
    if not look:
        return Source.of_content(sha256)
    decoded = decode_image(path, LOOK_TOKENS, timer)
    if isinstance(decoded, UnreadableImage):
        return decoded
    return Source.of_content(sha256, look=_look(decoded) if isinstance(decoded, DecodedImage) else "")


def _look(decoded: DecodedImage) -> str:
    """Return the difference hash (dHash, N. Krawetz 2013) of an image, "" if it is nearly plain."""
    image = Image.frombytes("RGB", (decoded.width, decoded.height), decoded.rgb).convert("L")
    levels = image.resize((LOOK_SIDE + 1, LOOK_SIDE), Image.Resampling.BOX).tobytes()
    bits = 0
    for row in range(LOOK_SIDE):
        for column in range(LOOK_SIDE):
            place = row * (LOOK_SIDE + 1) + column
            bits = bits << 1 | (levels[place] + MIN_STEP <= levels[place + 1])
    if bits.bit_count() < MIN_LOOK_BITS:
        return ""
    return f"{bits:0{LOOK_SIDE**2 // 4}x}"
