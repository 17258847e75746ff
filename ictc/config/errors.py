"""What is wrong with settings, in one line, under the names that the user knows."""

from __future__ import annotations

from typing import Any, get_type_hints

from pydantic import ValidationError

from ictc.config.run import RunSettings


def describe_invalid(error: ValidationError) -> str:
    """Return everything that pydantic found wrong, in one line."""
    return "; ".join(describe_problem(dict(problem)) for problem in error.errors(include_url=False))


def describe_problem(problem: dict[str, Any]) -> str:
    """Return what pydantic found wrong with one setting."""
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
