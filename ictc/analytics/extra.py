"""What to tell when the packages of the extra `analysis` are missing. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ictc.errors import ConfigError


@contextmanager
def analysis_packages() -> Iterator[None]:
    """Turn a missing package, met while importing in the block, into one line that says how to install it.

    Raises:
        ConfigError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "ictc":
            raise
        raise ConfigError(f"this needs {error.name}: pip install 'ictc[analysis]'") from None
