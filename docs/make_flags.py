"""Write `docs/flags.md` from the command line itself: `python docs/make_flags.py`."""

from __future__ import annotations

from inspect import Parameter
from itertools import groupby
from pathlib import Path
from typing import Any, cast, get_args

from cyclopts import Argument, Group

from ictc.cli.main import app

PAGE = Path(__file__).with_name("flags.md")
HEAD = """\
# Flags

This page is generated: `python docs/make_flags.py` writes it anew. `--ads_dir` may also be written `--ads-dir`, and so
on; a [configuration file](usage.md#a-configuration-file) takes the same names without the dashes.
"""


def flags_page() -> str:
    """Return the page: a section for each command, a table for each group of its flags."""
    commands = [name for name in app if not name.startswith("-")]
    return "\n".join([HEAD, *(section for name in commands for section in command_sections(name))])


def command_sections(command: str) -> list[str]:
    """Return what a command does, and its tables."""
    arguments = app[command].assemble_argument_collection(default_parameter=app.default_parameter, parse_docstring=True)
    flags = [flag for flag in arguments if flag.name != "*" and flag.show]
    tables = [group_table(name, list(group)) for name, group in groupby(flags, key=group_of)]
    summary = " ".join(app[command].help.split("\n\n")[0].split())
    return [f"## ictc {command}\n", f"{summary}\n", *tables]


def group_table(name: str, flags: list[Argument]) -> str:
    """Return the table of one group."""
    rows = (f"| `{flag.name}` | {describe_default(flag)} | {escape(describe(flag))} |" for flag in flags)
    return "\n".join([f"### {name}\n", "| flag | default | meaning |", "|---|---|---|", *rows, ""])


def describe(flag: Argument) -> str:
    """Return the help of a flag and, where they are few, its values."""
    values = [f"`{value}`" for value in get_args(flag.hint) if isinstance(value, str)]
    return f"{flag.parameter.help}" + (f" One of {', '.join(values)}." if values else "")


def describe_default(flag: Argument) -> str:
    """Return the default, or that there is none."""
    default: Any = flag.field_info.default
    if flag.required:
        return "required"
    if default in (None, {}, Parameter.empty):
        return ""
    return f"`{str(default).lower() if flag.hint is bool else default}`"


def escape(text: str) -> str:
    """Return the text with what a Markdown table would misread escaped."""
    return text.replace("|", "\\|")


def group_of(flag: Argument) -> str:
    """Return the heading that `--help` puts the flag under."""
    (group,) = cast("tuple[Group]", flag.parameter.group)
    return str(group.name)


if __name__ == "__main__":
    PAGE.write_text(flags_page(), encoding="utf-8")
