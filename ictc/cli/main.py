"""The `ictc` command: its subcommands, and what every kind of failure looks like from outside."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from keyword import iskeyword
from typing import NoReturn

from cyclopts import App, CycloptsError, Group, Parameter

from ictc.cli.config_file import read_config_file
from ictc.cli.errors import describe_usage_error
from ictc.errors import IctcError
from ictc.runs.stopping import Interrupted
from ictc.secrecy import scrub, scrub_line
from ictc.version import __version__

USAGE_EXIT_CODE = 2

COMMANDS = {
    "Make clusters": ("run", "plan", "suggest", "import", "merge", "recluster", "retry"),
    "Keep an eye on runs": ("status", "verify"),
    "Look at clusters": ("report", "sample", "export"),
    "Measure": ("evaluate", "validate", "consensus", "archetypes", "trends"),
}
"""Every command, in the module of its name (`import_` for `import`), under the heading that `ictc --help` puts it."""

app = App(
    name="ictc",
    help="Cluster large image collections by a criterion written in words.",
    version=__version__,
    config=read_config_file,
    default_parameter=Parameter(name_transform=lambda name: name, negative=()),
    help_format="plaintext",
)
for position, (title, commands) in enumerate(COMMANDS.items(), 1):
    group = Group(title, sort_key=position)
    for command in commands:
        python_name = f"{command}_" if iskeyword(command) else command
        app.command(f"ictc.cli.{python_name}:{python_name}", name=command, group=group)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 1 for a failed run, 2 for a wrong command, 128+n after signal n."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error is one line on stderr."""
    if not arguments or arguments[0] in app.help_flags:
        import_commands()
    try:
        result = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return fail(describe_usage_error(error), USAGE_EXIT_CODE)
    except IctcError as error:
        return fail(str(error), error.exit_code)
    except Interrupted as interruption:
        print(f"\nictc: {scrub(str(interruption))}", file=sys.stderr)
        return interruption.exit_code
    except BrokenPipeError:  # whoever read the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        return fail(
            f"internal error: {type(error).__name__}: {error}; the log file has the details, please report it", 1
        )
    return int(result or 0)


def import_commands() -> None:
    """Import every command, so that the list of them can say what each does; one alone imports its own module."""
    for commands in COMMANDS.values():
        for command in commands:
            app[command]


def fail(message: str, exit_code: int) -> int:
    """Print one line and return `exit_code`."""
    print(f"ictc: error: {scrub_line(message)}", file=sys.stderr)
    return exit_code
