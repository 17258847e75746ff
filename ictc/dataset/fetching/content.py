"""What the first bytes of a file say it is. Knows magic numbers, and nothing of names."""

from __future__ import annotations

import re

HEAD_BYTES = 32
"""Enough to tell."""

_FORMATS = {
    (".jpg", ".jpeg", ".jpe", ".jfif"): rb"\xff\xd8\xff",
    (".png", ".apng"): rb"\x89PNG\r\n\x1a\n",
    (".gif",): rb"GIF8[79]a",
    (".webp",): rb"RIFF.{4}WEBP",
    (".tif", ".tiff"): rb"II[*+]\x00|MM\x00[*+]",
    (".bmp", ".dib"): rb"BM.{4}\x00{4}",
    (".avif", ".heif"): rb".{4}ftyp(?:avi[fs]|mif1|msf1)",
    (".heic", ".heif"): rb".{4}ftyp(?:hei[cxms]|hev[cxms])",
}
"""How files of each format begin, by the suffixes of their names, the commonest first."""

_BEGINNINGS = {suffixes: re.compile(pattern, re.DOTALL) for suffixes, pattern in _FORMATS.items()}
_IMAGE = re.compile(b"|".join(_FORMATS.values()), re.DOTALL)

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


def is_image_content(head: bytes) -> bool:
    """Whether a file begins as an image does."""
    return _IMAGE.match(head) is not None


def suffixes_of_content(head: bytes) -> tuple[str, ...]:
    """Return the suffixes that the name of an image may have by how it begins, the commonest first; () if none."""
    return next((suffixes for suffixes, pattern in _BEGINNINGS.items() if pattern.match(head)), ())


def name_compression(head: bytes) -> str | None:
    """Return how a file is compressed, None if it is not in a way that we know."""
    return next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
