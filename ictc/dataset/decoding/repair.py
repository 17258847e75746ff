"""Files whose pixels are whole although something beside them is not: what to read instead.

Nothing is guessed: where several readings of a file are given, they have to give the same pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
JPEG_END = b"\xff\xd9"

PADDING_BYTES = 16
"""So often is one byte repeated at the end of a padded file: what fills up a block, or space that was reserved."""

PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"))
"""Of a PNG file, what its pixels are made from, and the way up. Texts, histories and color profiles nobody reads."""

_FILLER = b"".join(bytes(range(1, 255)) + bytes((0xFF, 0xD0 + number % 8)) for number in range(16))
"""What would change the pixels of a JPEG file, if any of them were missing: data, and marks to go on after."""


def repaired(content: bytes, reason: str) -> list[bytes]:
    """Return other forms of a file that failed, [] if nothing can be done; its pixels are whole if all give the same.

    Args:
        reason: why the file failed.
    """
    if content.startswith(PNG_SIGNATURE):
        return [PNG_SIGNATURE + b"".join(_pixel_chunks(content))]
    if content.startswith(JPEG_SIGNATURE) and "truncated" in reason:
        body = without_padding(content).removesuffix(JPEG_END[:1])
        return [body + JPEG_END, body + _FILLER + JPEG_END]
    return []


def has_padding(content: bytes) -> bool:
    """Whether a file, or the end of one, ends in padding: zeros mostly, 255 from flash memory."""
    return content.endswith(content[-1:] * PADDING_BYTES)


def without_padding(content: bytes) -> bytes:
    """Return a JPEG file without the padding at its end: it would pass for pixels."""
    return content.rstrip(content[-1:]) if has_padding(content) else content


def _pixel_chunks(content: bytes) -> Iterator[bytes]:
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        if kind in PIXEL_CHUNKS:
            yield content[start:end]
        start = end
