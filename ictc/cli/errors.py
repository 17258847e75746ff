"""Turns what the parser and the settings object to into one line for the user."""

from __future__ import annotations

from typing import Any, get_type_hints

import pydantic
from cyclopts import CycloptsError

from ictc.config import RunSettings


def describe_usage_error(error: CycloptsError) -> str:
    """Return one line: which flag, what is wrong, what would be right."""
    cause = error.__cause__
    if isinstance(cause, pydantic.ValidationError):
        return "; ".join(describe_setting_error(dict(problem)) for problem in cause.errors(include_url=False))
    message = " ".join(str(error).split())
    command = " ".join(["ictc", *(error.command_chain or ())])
    return message if "--help" in message else f"{message} ({command} --help tells more)"


def describe_setting_error(problem: dict[str, Any]) -> str:
    """Return what pydantic found wrong with one setting, under the name that the user knows."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    names = [part for part in problem["loc"] if isinstance(part, str)]
    if problem["type"] == "missing":
        return f"{', '.join(required_flags(names))} must be given (ictc run --help lists all flags)"
    if not names or message.startswith("--"):
        return message
    return f"--{names[-1]} {problem['input']}: {message[:1].lower()}{message[1:]}"


def required_flags(names: list[str]) -> list[str]:
    """Return the flags meant by a missing setting, given as its group, or as its group and its name."""
    group = get_type_hints(RunSettings)[names[0]]
    wanted = names[1:] or [name for name, field in group.model_fields.items() if field.is_required()]
    return [f"--{name}" for name in wanted]
