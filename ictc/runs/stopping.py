"""A stop that was asked for: how it travels from the signal to the end of the process."""

from __future__ import annotations

import asyncio


class Interrupted(Exception):
    """A stop was asked for and obeyed.

    Attributes:
        exit_code: what the process should exit with.
    """

    def __init__(self, message: str = "stopped", exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def raise_if_stopped(stop: asyncio.Event) -> None:
    """Raise `Interrupted` between steps if a stop was asked for."""
    if stop.is_set():
        raise Interrupted
