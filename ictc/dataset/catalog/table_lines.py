"""The lines of a text file of any size, in UTF-8 or in what its byte order mark says; memory holds a few of them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from ictc.errors import InputError

CHUNK_BYTES = 2**20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONGEST_MARK = 4
_PROBED_CHARS = 1000
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def iter_lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a file with their ends, which may be those of any system.

    Raises:
        InputError: it is in another encoding, which nothing tells.
    """
    rest: list[str] = []
    for text in iter_text(file):
        if "\n" not in text and "\r" not in text:
            rest.append(text)
            continue
        *lines, last = _LINE.findall("".join([*rest, text]))
        if last.endswith("\n"):
            lines.append(last)
            last = ""
        rest = [last]  # one that ends in \r may go on with \n
        yield from lines
    yield from _LINE.findall("".join(rest))


def iter_text(file: BinaryIO) -> Iterator[str]:
    """Yield the text of a file in pieces of any length.

    Raises:
        InputError: it is in another encoding, which nothing tells.
    """
    start = file.read(_LONGEST_MARK)
    mark, encoding = next((pair for pair in _BOMS if start.startswith(pair[0])), (b"", "utf-8"))
    decoder = codecs.getincrementaldecoder(encoding)()
    chunk, num_lines, is_first = start[len(mark) :] + file.read(CHUNK_BYTES), 0, True
    while chunk or is_first:
        following = file.read(CHUNK_BYTES)
        try:
            text = decoder.decode(chunk, final=not following)
        except UnicodeDecodeError as error:
            line = num_lines + error.object[: error.start].decode(encoding).count("\n") + 1
            raise InputError(f"line {line} is not valid {encoding.upper()}; save the table as UTF-8.") from None
        if is_first and "\0" in text[:_PROBED_CHARS]:
            raise InputError("is not text in UTF-8; save the table as UTF-8.")
        num_lines += text.count("\n")
        yield text
        chunk, is_first = following, False
