"""Which column of a table holds what: as the user says, else by its name, and never by a guess."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from ictc.errors import ConfigError

ID_COLUMNS = ("id", "image_id", "observation_id", "post_id", "response_id", "uuid")
TEXT_COLUMNS = ("text", "caption", "content", "body", "message", "comment", "answer", "response", "transcript")
IMAGE_COLUMNS = ("image_path", "image", "file_name", "path")
LABEL_COLUMN = "label"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of columns; of those that a user names, None is to be found by name, and "" means that there is none.

    Attributes:
        id: row numbers take its place where there is none.
        label: never found by name, as it may be the truth that clusters are compared with.
        image: a path or an address.
    """

    id: str | None = None
    text: str | None = None
    label: str | None = None
    image: str | None = None

    def given(self) -> Iterator[tuple[str, str]]:
        """Yield the flag and the name of each column that is named."""
        for one in fields(self):
            if name := getattr(self, one.name):
                yield f"--{one.name}_column", name

    @property
    def likely_names(self) -> tuple[str, ...]:
        """Names of which a table has one, in lower case."""
        return (*(name.lower() for _, name in self.given()), *TEXT_COLUMNS, *ID_COLUMNS)

    @property
    def image_names(self) -> tuple[str, ...]:
        """Names of a column of images, in lower case, best first."""
        if self.image is None:
            return IMAGE_COLUMNS
        return (self.image.lower(),) if self.image else ()


def choose_columns(given: Columns, names: Sequence[str]) -> Columns:
    """Return the columns of a table, all of which it has.

    Raises:
        ConfigError: it lacks one that is given, or nothing tells which holds the texts.
    """
    found = {flag: _find_given(name, flag=flag, names=names) for flag, name in given.given()}
    for flag, name in found.items():
        other = next((one for one, same in found.items() if same == name and one != flag), None)
        if other is not None:
            raise ConfigError(f"{other} and {flag} both name {name!r}; give each a column of its own")
    left = [name for name in names if name not in found.values()]
    image_id = found.get("--id_column") or _first(ID_COLUMNS if given.id is None else (), names=left)
    image = found.get("--image_column") or _first(given.image_names, names=left)
    text = found.get("--text_column") or _find_text(
        [name for name in left if name not in (image_id, image)], names=names
    )
    return Columns(id=image_id, text=text, label=found.get("--label_column"), image=image)


def _find_given(name: str, *, flag: str, names: Sequence[str]) -> str:
    matches = [one for one in names if one == name] or [one for one in names if one.lower() == name.lower()]
    if len(matches) != 1:
        raise ConfigError(f"{flag} {name}: no column, or several, of that name; {_describe(names)}; name one of them")
    return matches[0]


def _first(known: Sequence[str], *, names: Sequence[str]) -> str | None:
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[name] for name in known if name in by_name), None)


def _find_text(left: Sequence[str], *, names: Sequence[str]) -> str:
    candidates = [name for name in left if name.lower() in TEXT_COLUMNS]
    best = [name for name in candidates if name.lower() == TEXT_COLUMNS[0]]
    if len(best) == 1 or len(candidates) == 1:
        return (best or candidates)[0]
    if len(names) == 1:
        return names[0]
    which = f", {' or '.join(candidates)}?" if candidates else "? None has a name that tells:"
    raise ConfigError(f"which column holds the texts{which} {_describe(names)}; name it with --text_column")


def _describe(names: Sequence[str]) -> str:
    return f"the columns are {', '.join(names)}"
