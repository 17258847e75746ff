"""Lets processes start that leave the main module alone.

With `spawn`, multiprocessing imports the main module anew in each process, in case something that is unpickled there is
of it. A script that calls ictc without `if __name__ == "__main__"` would run once more in each process of its engine,
which dies of that. Nothing that an engine's processes are given is of the main module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from multiprocessing import spawn
from typing import Any

_is_spared: ContextVar[bool] = ContextVar("is_spared", default=False)


@contextmanager
def sparing_main_module() -> Iterator[None]:
    """Let processes that the block starts, in its thread, not import the main module; all others are as ever."""
    _teach_spawn()
    token = _is_spared.set(True)
    try:
        yield
    finally:
        _is_spared.reset(token)


@cache
def _teach_spawn() -> None:
    prepare = spawn.get_preparation_data

    def prepare_sparingly(name: str) -> dict[str, Any]:
        data = prepare(name)
        return {key: value for key, value in data.items() if not (_is_spared.get() and key.startswith("init_main_"))}

    spawn.get_preparation_data = prepare_sparingly
