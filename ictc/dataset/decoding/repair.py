"""Files whose pixels are whole although something beside them is not: what to read instead.

Nothing is guessed: where several readings of a file are given, they have to give the same pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
JPEG_END = b"\xff\xd9"

_PADDING = bytes(16)

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
        body = _without_padding(content).removesuffix(JPEG_END[:1])
        return [body + JPEG_END, body + _FILLER + JPEG_END]
    return []


def _without_padding(content: bytes) -> bytes:
    """Return a file without the zeros that fill up the last block of a disk: they would pass for pixels."""
    return content.rstrip(b"\0") if content.endswith(_PADDING) else content


def _pixel_chunks(content: bytes) -> Iterator[bytes]:
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        if kind in PIXEL_CHUNKS:
            yield content[start:end]
        start = end
