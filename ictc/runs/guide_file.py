"""What people know of the clusters beforehand, as a file: `--guide`. Knows its form, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictc.config.levels import MAX_CLUSTERS
from ictc.errors import ConfigError
from ictc.records import Guide, GuideCluster
from ictc.steps.none_of_these import NONE_NAME, is_named_none
from ictc.tracks.answers import clean_text
from ictc.tracks.spelling import says_something, singular_form

Label = str


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, strict=True)


class _ClusterRow(_Strict):
    """A cluster that must be there."""

    name: str = Field(min_length=1, max_length=60)
    description: str = Field("", max_length=300)
    labels: list[Label] = Field(default_factory=list)


class _GuideFile(_Strict):
    """The whole file."""

    clusters: list[_ClusterRow] = Field(default_factory=list, max_length=MAX_CLUSTERS)
    together: list[list[Label]] = Field(default_factory=list)
    apart: list[list[Label]] = Field(default_factory=list)


def load_guide_file(path: Path, *, allow_none: bool = False) -> Guide:
    """Return what a YAML or JSON file says of the clusters: `clusters`, `together` and `apart`, each a list.

    Args:
        allow_none: whether an image may end in no cluster, so that none may be called like that outcome.

    Raises:
        ConfigError: with the file, the place and what is wrong there.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        given = _GuideFile.model_validate(content or {})
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"--guide {path}: cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"--guide {path}: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part + 1) if isinstance(part, int) else part for part in problem["loc"])
        raise ConfigError(f"--guide {path}: {f'{where}: ' if where else ''}{problem['msg']}") from None
    guide = Guide(
        clusters=tuple(
            GuideCluster(
                name=clean_text(row.name),
                description=clean_text(row.description),
                labels=tuple(map(clean_text, row.labels)),
            )
            for row in given.clusters
        ),
        together=tuple(tuple(map(clean_text, labels)) for labels in given.together),
        apart=tuple(tuple(map(clean_text, labels)) for labels in given.apart),
    )
    _check(path, guide)
    if allow_none and any(is_named_none(cluster.name) for cluster in guide.clusters):
        raise ConfigError(
            f"--guide {path}: clusters: {NONE_NAME!r} is what --allow_none calls images that no cluster fits; leave "
            "the cluster out, give it another name, or leave out --allow_none"
        )
    return guide


def _check(path: Path, guide: Guide) -> None:
    names = [singular_form(cluster.name) for cluster in guide.clusters]
    for name in names:
        if not says_something(name):
            raise ConfigError(f"--guide {path}: the name {name!r} can't be seen")
        if names.count(name) > 1:
            raise ConfigError(f"--guide {path}: two clusters are named {name!r}")
    for kind, sets in (("together", guide.together), ("apart", guide.apart)):
        for labels in sets:
            if len(labels) < 2:
                raise ConfigError(f"--guide {path}: {kind}: {list(labels)} needs two labels or more")
    if not any((guide.clusters, guide.together, guide.apart)):
        raise ConfigError(f"--guide {path}: says nothing; give it clusters, together or apart")
