"""The command line: the only place that parses arguments, prints or exits."""

from ictc.cli.main import main

__all__ = ["main"]
