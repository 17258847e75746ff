"""The command that clusters a whole collection by a criterion, ready to be pasted into a shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ictc.config import EngineSettings, InputSettings, RunSettings, SettingsGroup

LONGEST_NAME = 40


def command_for_images(settings: RunSettings, criterion: str) -> str:
    """Return `ictc run` with what the settings say of images and models."""
    flags = {**changed_flags(settings, InputSettings), **_of(criterion), **changed_flags(settings, EngineSettings)}
    return shlex.join(["ictc", "run", *iter_words(flags)])


def command_for_run(source_dir: str, *, criterion: str, overrides: Mapping[str, Any]) -> str:
    """Return `ictc recluster` of a run.

    Args:
        overrides: settings of the models that differ from those of the run, by flag.
    """
    flags = {"source_dir": source_dir, **_of(criterion), **overrides}
    return shlex.join(["ictc", "recluster", *iter_words(flags)])


def changed_flags(settings: RunSettings, group: type[SettingsGroup]) -> dict[str, Any]:
    """Return the settings of a group that are not what they are by default, by flag, without secrets."""
    flags = settings.to_flags()
    defaults = {name: field.get_default(call_default_factory=True) for name, field in group.model_fields.items()}
    return {name: flags[name] for name in group.model_fields if name in flags and flags[name] != defaults[name]}


def iter_words(flags: Mapping[str, Any]) -> Iterator[str]:
    """Yield flags as the words of a command."""
    for name, value in flags.items():
        if value is False or value is None:
            continue
        yield f"--{name}"
        if value is not True:
            yield json.dumps(value) if isinstance(value, dict) else str(value)


def _of(criterion: str) -> dict[str, str]:
    return {"output_dir": f"out_{file_name(criterion)}", "criterion": criterion}


def file_name(criterion: str) -> str:
    """Return a criterion as a part of the name of a folder.

    >>> file_name("Tone & mood")
    'tone_mood'
    """
    return re.sub(r"\W+", "_", criterion.lower()).strip("_")[:LONGEST_NAME]
