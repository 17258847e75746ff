"""Cluster definitions as a file that people edit: `--clusters`. Knows its form, and says where it is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictc.config.levels import MAX_CLUSTERS, MAX_LEVEL_NAME, MIN_CLUSTERS
from ictc.errors import ConfigError
from ictc.records import ClusterDefinition, ClusterLevel, GivenClusters
from ictc.steps.none_of_these import is_named_none
from ictc.steps.synthesis.levels import iter_problems
from ictc.tracks.answers import clean_text
from ictc.tracks.spelling import plain_form

Row = TypeVar("Row", bound=BaseModel)


class DefinitionRow(BaseModel):
    """One cluster in the file."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, strict=True)

    cluster_id: int | None = Field(None, ge=1)
    name: str = Field(min_length=1, max_length=200)
    description: str = Field("", max_length=4000)
    include: str = Field("", max_length=4000)
    exclude: str = Field("", max_length=4000)


class NestedRow(DefinitionRow):
    """One cluster of a level; `parent` is the number of the cluster above, from 1, on the coarsest level none."""

    parent: int | None = Field(None, ge=1)


class LevelRow(BaseModel):
    """One level in a file of nested clusters; `num_clusters` is there for readers."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, strict=True)

    name: str = Field(min_length=1, max_length=MAX_LEVEL_NAME)
    num_clusters: int | None = None
    clusters: list[NestedRow]


Rows = Sequence[tuple[str, DefinitionRow]]
"""Clusters with where they stand, for people."""


def load_definitions_file(path: Path, *, allow_none: bool = False) -> GivenClusters:
    """Return the clusters of a file such as `step2b_dynamic_clusters.json`: a JSON list of objects with a name each.

    A list of levels, such as `step2b_levels.json`, has nested clusters. Clusters without a `cluster_id` are numbered as
    they stand.

    Args:
        allow_none: whether an image may end in no cluster, so that none may be called like that outcome.

    Raises:
        ConfigError: with the file, the line and what is wrong there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"--clusters {path}: cannot be read: {reason}") from None
    elements = list(_iter_elements(path, text))
    if any(isinstance(value, dict) and "clusters" in value for _, value in elements):
        return _read_levels(path, elements, allow_none=allow_none)
    rows = [(f"line {line}", _parse_row(path, line, value, DefinitionRow)) for line, value in elements]
    return GivenClusters(definitions=_read_clusters(path, rows, allow_none=allow_none))


def _read_levels(path: Path, elements: Sequence[tuple[int, Any]], *, allow_none: bool) -> GivenClusters:
    levels = []
    for line, value in elements:
        row = _parse_row(path, line, value, LevelRow)
        rows = [(f"level {row.name!r}, cluster {place}", one) for place, one in enumerate(row.clusters, start=1)]
        is_finest = value is elements[-1][1]
        clusters = _read_clusters(path, rows, allow_none=allow_none and is_finest)
        ordered = sorted(zip(clusters, row.clusters, strict=True), key=lambda pair: pair[0].cluster_id)
        levels.append(
            ClusterLevel(
                name=row.name,
                clusters=tuple(cluster for cluster, _ in ordered),
                parents=tuple(one.parent for _, one in ordered if one.parent is not None),
            )
        )
    for problem in iter_problems(levels):
        raise ConfigError(f"--clusters {path}: {problem}")
    return GivenClusters(definitions=levels[-1].clusters, levels=tuple(levels))


def _read_clusters(path: Path, rows: Rows, *, allow_none: bool) -> tuple[ClusterDefinition, ...]:
    _check_distinct(path, rows)
    if allow_none:
        for where, row in rows:
            _check_is_no_outcome(path, where, row)
    if not MIN_CLUSTERS <= len(rows) <= MAX_CLUSTERS:
        raise ConfigError(f"--clusters {path}: {len(rows)} clusters; there must be {MIN_CLUSTERS} to {MAX_CLUSTERS}")
    return tuple(_number(path, rows))


def _iter_elements(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Yield each element of the list with the line on which it begins."""
    decoder, position = json.JSONDecoder(), _skip_space(text, 0)
    if text[position : position + 1] != "[":
        raise ConfigError(
            f"--clusters {path}: line {_line(text, position)}: must be a JSON list of clusters, [{{…}}, …]"
        )
    position = _skip_space(text, position + 1)
    while text[position : position + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise ConfigError(f"--clusters {path}: line {error.lineno}, column {error.colno}: {error.msg}") from None
        yield _line(text, position), value
        position = _skip_space(text, end)
        separator = text[position : position + 1]
        if separator == ",":
            position = _skip_space(text, position + 1)
        elif separator != "]":
            raise ConfigError(f"--clusters {path}: line {_line(text, position)}: expected a comma or the closing ]")
    if rest := text[position + 1 :].strip():
        raise ConfigError(f"--clusters {path}: line {_line(text, text.rindex(rest))}: something follows the list")


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _parse_row(path: Path, line: int, value: Any, model: type[Row]) -> Row:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        where = f"line {line}" + (f", {field!r}" if field else "")
        raise ConfigError(f"--clusters {path}: {where}: {problem['msg']}") from None


def _check_distinct(path: Path, rows: Rows) -> None:
    known: dict[str, str] = {}
    for where, row in rows:
        name = plain_form(row.name)
        if not name:
            raise ConfigError(f"--clusters {path}: {where}: the name {row.name!r} can't be seen")
        if name in known:
            raise ConfigError(f"--clusters {path}: {where}: the name {row.name!r} is that of {known[name]}")
        known[name] = where


def _check_is_no_outcome(path: Path, where: str, row: DefinitionRow) -> None:
    if is_named_none(row.name):
        raise ConfigError(
            f"--clusters {path}: {where}: {row.name!r} is what --allow_none calls images that no cluster fits; "
            "leave the cluster out, give it another name, or leave out --allow_none"
        )


def _number(path: Path, rows: Rows) -> Iterator[ClusterDefinition]:
    """Yield the clusters, each in one line, numbered as they stand unless their own numbers are 1 to K."""
    given = sorted(row.cluster_id for _, row in rows if row.cluster_id is not None)
    if given and given != list(range(1, len(rows) + 1)):
        raise ConfigError(
            f'--clusters {path}: the numbers in "cluster_id" must be 1 to {len(rows)}, each once, or all be left out'
        )
    for place, (_, row) in enumerate(rows, start=1):
        words = row.model_dump(exclude={"cluster_id", "parent"})
        yield ClusterDefinition(row.cluster_id or place, **{name: clean_text(text) for name, text in words.items()})
