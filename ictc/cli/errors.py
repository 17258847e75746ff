"""Turns what the parser and the settings object to into one line for the user."""

from __future__ import annotations

import pydantic
from cyclopts import CycloptsError

from ictc.config.errors import describe_invalid


def describe_usage_error(error: CycloptsError) -> str:
    """Return one line: which flag, what is wrong, what would be right."""
    cause = error.__cause__
    if isinstance(cause, pydantic.ValidationError):
        return describe_invalid(cause)
    message = " ".join(str(error).split())
    command = " ".join(["ictc", *(error.command_chain or ())])
    return message if "--help" in message else f"{message} ({command} --help tells more)"
