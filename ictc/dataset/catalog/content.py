"""What the first bytes of a file say it is. Knows magic numbers, and nothing of names."""

from __future__ import annotations

import re

HEAD_BYTES = 32
"""Enough to tell."""

_IMAGE = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|RIFF.{4}WEBP"
    rb"|II[*+]\x00|MM\x00[*+]"  # TIFF
    rb"|BM.{4}\x00{4}"
    rb"|.{4}ftyp(avi[fs]|hei[cxms]|hev[cxms]|mif1|msf1)",
    re.DOTALL,
)

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


def name_compression(head: bytes) -> str | None:
    """Return how a file is compressed, None if it is not in a way that we know."""
    return next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
