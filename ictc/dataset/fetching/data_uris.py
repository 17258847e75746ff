"""Images that an address itself holds: `data:image/png;base64,…` (RFC 2397)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from hashlib import sha256
from urllib.parse import unquote_to_bytes

_DATA_URI = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_SPACE = re.compile(rb"\s+")


def is_data_uri(address: str) -> bool:
    """Whether an address holds its content."""
    return address[:5].lower() == "data:" and "," in address[:300]


def shorten(address: str) -> str:
    """Return what stands for a data URI in records and results: its type, and a digest of the whole."""
    kind = re.sub(r"[^\w/+.-]", "", address[5 : address.index(",")].partition(";")[0])
    return f"data:{kind};sha256,{sha256(address.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


def decode_data_uri(address: str) -> bytes:
    """Return the content.

    Raises:
        ValueError: it is not valid.
    """
    match = _DATA_URI.match(address)
    if match is None:
        raise ValueError("no data URI")
    content = unquote_to_bytes(address[match.end() :])
    if not match[1].lower().endswith(";base64"):
        return content
    compact = _SPACE.sub(b"", content).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        raise ValueError("not valid base64") from None
