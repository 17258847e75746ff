"""What the body of a server's answer is. Its bytes decide, as servers call images anything, and pages images.

Knows the compression that servers apply although none was asked for; a body is unpacked piece by piece, so that none
takes more memory than a piece.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from ictc.dataset.fetching import content

PIECE_BYTES = 2**16
HEAD_BYTES = 512
"""Enough to know a page by."""

OTHER_CONTENT_TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/binary")
"""What servers call something of which they don't know what it is."""

GZIP_ENCODINGS = ("gzip", "x-gzip")
FOREIGN_ENCODINGS = ("br", "zstd", "compress", "x-compress", "dcb", "dcz")
"""Compressions that nobody asked for, and that take packages to undo."""

COMPRESSIONS = (*GZIP_ENCODINGS, "deflate", *FOREIGN_ENCODINGS)
"""What else servers write there, such as `identity`, changes nothing."""

GZIP = 16 + zlib.MAX_WBITS
GZIP_MAGIC = b"\x1f\x8b"

_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE | re.DOTALL
)


class NoImageError(Exception):
    """A body is not an image, or cannot be unpacked; the message is the reason.

    Attributes:
        is_cut: whether a part of it is missing.
    """

    def __init__(self, reason: str, *, is_cut: bool = False) -> None:
        super().__init__(reason)
        self.is_cut = is_cut


class Body:
    """The body of one answer, as it comes in.

    Args:
        content_type: as the server says, in lower case; "" if it says none.
        encoding: its `Content-Encoding`.
    """

    def __init__(self, content_type: str, *, encoding: str) -> None:
        self._content_type = content_type
        names = (name.strip() for name in encoding.lower().split(","))
        self._encodings = [name for name in names if name in COMPRESSIONS]
        self._start = b""
        self._head = b""
        self._wbits: int | None = None
        self._unpacker: Any = None
        self._has_begun = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk holds, unpacked; raises NoImageError as soon as it is clear that it is none."""
        if not self._has_begun:
            self._start += chunk
            if len(self._start) < content.HEAD_BYTES:
                return
            chunk = self._begin()
        yield from self._unpack(chunk)

    def finish(self) -> Iterator[bytes]:
        """Yield what is left at the end; raises NoImageError if it was no image, or a part is missing."""
        if not self._has_begun:
            yield from self._unpack(self._begin())
        if self._unpacker is not None and not self._unpacker.eof:
            raise NoImageError("its compressed body ends too early", is_cut=True)
        if len(self._head) < HEAD_BYTES:
            self._judge()

    def _begin(self) -> bytes:
        self._has_begun = True
        self._wbits = _choose_wbits(self._encodings, self._start)
        if self._wbits is not None:
            self._unpacker = zlib.decompressobj(self._wbits)
        return self._start

    def _unpack(self, chunk: bytes) -> Iterator[bytes]:
        if self._unpacker is None:
            yield self._noted(chunk)
            return
        try:
            while chunk := self._next_member(chunk) if self._unpacker.eof else chunk:
                yield self._noted(self._unpacker.decompress(chunk, PIECE_BYTES))
                chunk = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        except zlib.error:
            raise NoImageError("its compressed body is damaged") from None

    def _next_member(self, rest: bytes) -> bytes:
        """Begin another member of a gzip body, which may follow padding; return b"" if none follows."""
        rest = rest.lstrip(b"\0")
        if self._wbits != GZIP or not rest.startswith(GZIP_MAGIC[:1]):  # the other byte may be in the next chunk
            return b""
        self._unpacker = zlib.decompressobj(GZIP)
        return rest

    def _noted(self, piece: bytes) -> bytes:
        if len(self._head) < HEAD_BYTES:
            self._head += piece[:HEAD_BYTES]
            if len(self._head) >= HEAD_BYTES:
                self._judge()
        return piece

    def _judge(self) -> None:
        """Raises NoImageError if the first bytes are of something else."""
        if not self._head or content.is_image_content(self._head):
            return
        kind = self._content_type
        if not kind.startswith("image/") and kind not in OTHER_CONTENT_TYPES:
            raise NoImageError(f"the server sent {_printable(kind)}, no image")
        if _PAGE.match(self._head):
            raise NoImageError("the server sent a page, no image")


def _choose_wbits(encodings: Sequence[str], start: bytes) -> int | None:
    """Return which format zlib is to unpack, None if there is nothing to unpack, whatever the server says.

    Raises:
        NoImageError: it takes what we don't have.
    """
    if not encodings or content.is_image_content(start):
        return None
    if len(encodings) > 1 or encodings[0] in FOREIGN_ENCODINGS:
        raise NoImageError(f"the server sent it compressed ({', '.join(encodings)}), which was not asked for")
    if encodings[0] in GZIP_ENCODINGS:
        return GZIP if start.startswith(GZIP_MAGIC) else None
    has_header = len(start) > 1 and start[0] & 15 == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:80]
