"""What a figure is made of, and sentences whose every number is a value beside them."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from matplotlib.figure import Figure

from ictc.analytics.tables import printable
from study_figures.reading import Study

Data = TypeVar("Data")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#!|~$@]|&(?=[#\w])|:(?=//)|(?<=www)\.)")


@dataclass(frozen=True)
class Finding:
    """A sentence.

    Attributes:
        template: with fields such as "{share:.1%}"; it holds no number of its own.
        values: of the fields.
    """

    template: str
    values: dict[str, Any]

    @property
    def is_known(self) -> bool:
        """Whether all numbers exist; those of degenerate data may not, such as the entropy of a single cluster."""
        return not any(isinstance(value, float) and math.isnan(value) for value in self.values.values())

    @property
    def text(self) -> str:
        """The sentence on one line."""
        return self._render(printable)

    @property
    def markdown(self) -> str:
        """The sentence with everything escaped that Markdown would read as markup in names."""
        return self._render(escape_markdown)

    def _render(self, show: Callable[[str], str]) -> str:
        shown = {name: show(value) if isinstance(value, str) else value for name, value in self.values.items()}
        return string.Formatter().vformat(self.template, (), shown)


def finding(template: str, **values: Any) -> Finding:
    """Return a sentence; NumPy numbers become Python's, for JSON."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    return Finding(template, plain)


def escape_markdown(text: str) -> str:
    """Return text on one line that Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\1", printable(text))


@dataclass(frozen=True)
class FigureSpec(Generic[Data]):
    """A figure.

    Attributes:
        name: of its files, without suffix.
        title: what it shows.
        compute: returns its data; raises `Unavailable` where the study lacks them.
        draw: returns it.
        describe: returns the findings.
    """

    name: str
    title: str
    compute: Callable[[Study], Data]
    draw: Callable[[Data], Figure]
    describe: Callable[[Data], list[Finding]]
