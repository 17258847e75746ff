"""The `ictc` command: its subcommands, and what every kind of failure looks like from outside."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

import ictc
from ictc.cli.config_file import read_config_file
from ictc.cli.errors import describe_usage_error
from ictc.errors import IctcError
from ictc.runs.stopping import Interrupted
from ictc.secrecy import scrub

USAGE_EXIT_CODE = 2

app = App(
    name="ictc",
    help=ictc.__doc__,
    version=ictc.__version__,
    config=read_config_file,
    default_parameter=Parameter(name_transform=lambda name: name, negative=()),
    help_format="plaintext",
)
app.command("ictc.cli.run:run")
app.command("ictc.cli.plan:plan")
app.command("ictc.cli.merge:merge")
app.command("ictc.cli.recluster:recluster")
app.command("ictc.cli.retry:retry")
app.command("ictc.cli.status:status")
app.command("ictc.cli.verify:verify")
app.command("ictc.cli.report:report")
app.command("ictc.cli.sample:sample")
app.command("ictc.cli.export:export")
app.command("ictc.cli.evaluate:evaluate")
app.command("ictc.cli.consensus:consensus")
app.command("ictc.cli.archetypes:archetypes")
app.command("ictc.cli.trends:trends")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 1 for a failed run, 2 for a wrong command, 128+n after signal n."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error is one line on stderr."""
    try:
        result = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return fail(describe_usage_error(error), USAGE_EXIT_CODE)
    except IctcError as error:
        return fail(str(error), error.exit_code)
    except Interrupted as interruption:
        print(f"\nictc: {interruption}", file=sys.stderr)
        return interruption.exit_code
    except BrokenPipeError:  # whoever read the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        return fail(
            f"internal error: {type(error).__name__}: {error}; the log file has the details, please report it", 1
        )
    return int(result or 0)


def fail(message: str, exit_code: int) -> int:
    """Print one line and return `exit_code`."""
    print(f"ictc: error: {' '.join(scrub(message).split())}", file=sys.stderr)
    return exit_code
