"""The entries of a JSON file of any size, one at a time; memory holds one of them, and no digit or name is lost.

It is the decoder of Python's standard library, over a window that moves along the file. A parser of streams, such as
ijson, would do as well but for foreign text: the fast one writes `?` for half a surrogate pair, or fails, and refuses
the `NaN` that Python writes; of two values of one name it keeps the last and says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, BinaryIO

from ictc.dataset.catalog.table_lines import iter_text
from ictc.errors import InputError

INT64 = range(-(2**63), 2**63)

_SPACE = re.compile(r"[ \t\n\r]*")
_DIGITS = re.compile(r"[0-9.eE+-]*")
_CUT_CHARS = 16
"""An error so near to the end of the window may come from its end."""
_STRING_IS_OPEN = "Unterminated string"


class NamedTwiceError(Exception):
    """An object has two values of one name."""


def unique_names(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these pairs.

    Raises:
        NamedTwiceError: two have the same name.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise NamedTwiceError(repr(name))
        found[name] = value
    return found


def read_constant(name: str) -> str | None:
    """Return what stands for `NaN`, `Infinity` or `-Infinity`, which JSON does not have."""
    return None if name == "NaN" else name


def storable(value: Any, integers: range | None = None) -> Any:
    """Return a value whose texts every output can hold: half a surrogate pair is spelled out.

    Args:
        integers: those that are kept as they are; others become text. All are, unless given.
    """
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {storable(name): storable(inner, integers) for name, inner in value.items()}
        case list():
            return [storable(inner, integers) for inner in value]
        case int() if integers is not None and value not in integers:
            return str(value)
    return value


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list or an object.

    Attributes:
        line: where it begins, from 1.
        name: None in a list.
        within: the name of the outer object's entry that it lies in, "" for the file itself.
    """

    line: int
    name: str | None
    value: Any
    _: KW_ONLY
    within: str = ""


def iter_entries(file: BinaryIO, within: str = "") -> Iterator[Entry]:
    """Yield the entries of the list or object that a file holds.

    Args:
        within: of an object whose entry of this name is a list or an object itself, that one's entries come one by one.

    Raises:
        InputError: the file is no JSON, in no known encoding, or names something twice in an entry; with the line.
        OSError: it can't be read.
    """
    window = Window(iter_text(file))
    yield from _iter_container(window, name="", within=within)
    window.check_end()


def _iter_container(window: Window, *, name: str, within: str) -> Iterator[Entry]:
    is_object = window.take("{[") == "{"
    closing = "}" if is_object else "]"
    if window.peek() == closing:
        window.take(closing)
        return
    while True:
        line = window.line
        key = None
        if is_object:
            key = window.read_name()
            window.take(":")
        if within and key == within and window.peek() in ("{", "["):
            yield from _iter_container(window, name=key, within="")
        else:
            yield Entry(line, key, window.read_value(), within=name)
        if window.take("," + closing) == closing:
            return


class Window:
    """A part of a JSON text, which moves along it.

    Attributes:
        line: of the next character that is no space, once `peek` has looked for it.
    """

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self._text = ""
        self._place = 0
        self._counted = 0  # the place up to which lines are counted
        self._lines_before = 0
        self._is_whole = False
        self._decoder = json.JSONDecoder(object_pairs_hook=unique_names, parse_constant=read_constant)

    @property
    def line(self) -> int:
        """The line of the next character that is no space, from 1."""
        self.peek()
        return self._count_lines() + 1

    def _count_lines(self) -> int:
        self._lines_before += self._text.count("\n", self._counted, self._place)
        self._counted = self._place
        return self._lines_before

    def peek(self) -> str:
        """Return the next character that is no space, "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._place)
            assert match is not None
            self._place = match.end()
            if self._place < len(self._text) or not self._read_on():
                return self._text[self._place : self._place + 1]

    def take(self, expected: str) -> str:
        """Return the next character that is no space, which must be one of `expected`.

        Raises:
            InputError: it is another.
        """
        found = self.peek()
        if not found or found not in expected:
            wanted = " or ".join(expected)
            raise InputError(f"line {self.line}: {wanted} is missing before {found or 'the end'!r}; correct it.")
        self._place += 1
        return found

    def read_name(self) -> str:
        """Return the next value, which must be a text.

        Raises:
            InputError: it is none.
        """
        line, name = self.line, self.read_value()
        if not isinstance(name, str):
            raise InputError(f"line {line}: a name in quotes is missing; correct it.")
        return name

    def read_value(self) -> Any:
        """Return the next value.

        Raises:
            InputError: it is no JSON, or names something twice.
        """
        line = self.line
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if not (self._may_be_cut(error) and self._read_on()):
                    where = self._text.count("\n", self._counted, error.pos) + self._lines_before + 1
                    raise InputError(f"line {where} is not JSON ({error.msg}); correct it.") from None
            except NamedTwiceError as error:
                raise InputError(f"line {line}: names {error} twice; correct it.") from None
            except (ValueError, RecursionError) as error:  # an integer of thousands of digits, a list in lists in lists
                raise InputError(f"line {line} holds what can't be read ({error}); correct it.") from None
            else:
                if not (self._may_go_on(end) and self._read_on()):
                    self._place = end
                    return storable(value, INT64)

    def check_end(self) -> None:
        """Refuse a text that goes on.

        Raises:
            InputError: something follows.
        """
        if self.peek():
            raise InputError(f"line {self.line}: something follows the end; remove it.")

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether an error may come from the end of the window, and not from the text."""
        return error.msg.startswith(_STRING_IS_OPEN) or error.pos > len(self._text) - _CUT_CHARS

    def _may_go_on(self, end: int) -> bool:
        """Whether what ends there may be the beginning of a longer number."""
        match = _DIGITS.match(self._text, end)
        assert match is not None
        return match.end() == len(self._text)

    def _read_on(self) -> bool:
        """Move the window on, if the text does; a value that is longer makes it grow by half at least."""
        if self._is_whole:
            return False
        self._count_lines()
        parts = [self._text[self._place :]]
        wanted, read = len(parts[0]) // 2, 0
        for text in self._texts:
            parts.append(text)
            read += len(text)
            if read > wanted:
                break
        else:
            self._is_whole = True
        self._text, self._place, self._counted = "".join(parts), 0, 0
        return read > 0
